// Which keys a query sees: sequence end, causal mask and sliding window, aligned bottom-right.
//
// Query i stands at position p = i + (s_k - s_q) of the keys and sees key j when p - window_left <= j <= p +
// window_right and 0 <= j < s_k. A window of -1 is no limit; causal is window_right = 0. Keys below `prefix` are seen
// from any p <= j + window_left: a prefix lifts the right limit alone. Lengths and windows are at most 2^29, so that no
// sum here leaves 32 bits.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

struct KeyMask {
  int s_k;
  int diagonal;  // s_k - s_q.
  int window_left;
  int window_right;
  int prefix;

  static constexpr int kNoPrefix = -(1 << 30);

  __device__ __forceinline__ KeyMask(int s_q, int s_k, int window_left, int window_right, int prefix = kNoPrefix)
      : s_k(s_k), diagonal(s_k - s_q), window_left(window_left), window_right(window_right), prefix(prefix) {}

  // The same mask with queries numbered from `query_first` on.
  __device__ __forceinline__ KeyMask of_queries_from(int query_first) const {
    KeyMask mask = *this;
    mask.diagonal += query_first;
    return mask;
  }

  static constexpr int kStoredBytes = 16;

  // What differs from block to block goes through 16 bytes of shared memory: read back where it is needed, it costs no
  // registers in a loop.
  __device__ __forceinline__ void store(uint32_t shared) const {
    ptx::st_shared_16(shared, {static_cast<uint32_t>(s_k), static_cast<uint32_t>(diagonal),
                               static_cast<uint32_t>(prefix), 0});
  }
  static __device__ __forceinline__ KeyMask load(uint32_t shared, int window_left, int window_right) {
    const uint4 stored = ptx::ld_shared_16(shared);
    const int s_k = stored.x, diagonal = stored.y;
    return KeyMask(s_k - diagonal, s_k, window_left, window_right, stored.z);
  }

  // The same mask over the keys from `key_first` on, numbered from 0.
  __device__ __forceinline__ KeyMask from(int key_first) const {
    KeyMask mask = *this;
    mask.s_k -= key_first;
    mask.diagonal -= key_first;
    if (prefix != kNoPrefix) mask.prefix -= key_first;
    return mask;
  }

  // First key that query `query` sees; nothing below 0.
  __device__ __forceinline__ int begin(int query) const {
    return window_left < 0 ? 0 : max(0, query + diagonal - window_left);
  }

  // One past the last key that query `query` sees. The range is empty when this is not above `begin`. Where there never
  // is a prefix, the compiler knows it and leaves it out.
  __device__ __forceinline__ int end(int query) const {
    if (window_right < 0) return s_k;
    const int end = query + diagonal + window_right + 1;
    return min(s_k, prefix == kNoPrefix ? end : max(prefix, end));
  }
};

// The tiles of `kBlockN` keys that a block of queries visits, and which of them every query sees whole.
template <int kBlockN>
struct KeyTiles {
  int first, last;            // Visited tiles, both included; last < first when there is none.
  int full_first, full_last;  // Tiles that need no mask.

  // For queries `query_first` to `query_last`, both included.
  __device__ __forceinline__ KeyTiles(const KeyMask& mask, int query_first, int query_last) {
    // Both ends of the visible range grow with the query.
    first = mask.begin(query_first) / kBlockN;
    last = (mask.end(query_last) + kBlockN - 1) / kBlockN - 1;
    full_first = (mask.begin(query_last) + kBlockN - 1) / kBlockN;
    full_last = mask.end(query_first) / kBlockN - 1;
  }

  __device__ __forceinline__ bool is_full(int tile) const { return tile >= full_first && tile <= full_last; }
};

// The tiles of `kBlockM` queries that see a block of keys, and which of them see all of it, every query.
template <int kBlockM>
struct QueryTiles {
  int first, last;            // Visited tiles, both included; last < first when there is none.
  int full_first, full_last;  // Tiles that need no mask.

  // For the `num_keys` keys from `key_first` on, of which the first exists.
  __device__ __forceinline__ QueryTiles(const KeyMask& mask, int key_first, int num_keys) {
    const int s_q = mask.s_k - mask.diagonal;
    const int key_last = min(key_first + num_keys, mask.s_k) - 1;
    // Query i stands at i + diagonal. Both ends of what sees a key grow with the key.
    const int begin = sees_from(mask, key_first);
    const int end = mask.window_left < 0 ? s_q : min(s_q, key_last - mask.diagonal + mask.window_left + 1);
    first = begin / kBlockM;
    last = begin < end ? (end - 1) / kBlockM : first - 1;
    // From where on the last key is seen, and up to where the first.
    const int all_begin = sees_from(mask, key_last);
    const int all_end = mask.window_left < 0 ? s_q + kBlockM : max(0, key_first - mask.diagonal + mask.window_left + 1);
    full_first = (all_begin + kBlockM - 1) / kBlockM;
    full_last = key_first + num_keys > mask.s_k ? -1 : all_end / kBlockM - 1;
  }

  // The first query whose right limit lets it see `key`.
  static __device__ __forceinline__ int sees_from(const KeyMask& mask, int key) {
    return mask.window_right < 0 || key < mask.prefix ? 0 : max(0, key - mask.diagonal - mask.window_right);
  }

  __device__ __forceinline__ bool is_full(int tile) const { return tile >= full_first && tile <= full_last; }
};

// Sets the scores of unseen keys to -inf. The accumulator columns start at key `key_first`; `query_of(i, h)` is the
// query of this lane's row [i][h].
template <int kRowTiles, int kScoreTiles, typename QueryOf>
__device__ __forceinline__ void apply_mask(float (&scores)[kRowTiles][kScoreTiles][4], const KeyMask& mask,
                                           int key_first, unsigned lane, QueryOf query_of) {
  // In the tile's own numbering nothing here is the same for every tile, so that the compiler does not keep it in
  // registers all through a loop that needs them.
  const KeyMask tile_mask = mask.from(key_first);
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int query = query_of(i, h);
      const int begin = tile_mask.begin(query);
      // Key j is seen when j - begin, as unsigned, is below the length of the range: one comparison for both ends.
      const uint32_t length = max(0, tile_mask.end(query) - begin);
      const uint32_t offset = (lane % 4) * 2 - begin;
#pragma unroll
      for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[i][j][2 * h + e];
          score = offset + (j * 8 + e) < length ? score : -CUDART_INF_F;
        }
      }
    }
  }
}

// Sets the scores of a row, in the columns of its word `word`, to -inf where a bit is 0. Bit 0 belongs to this lane's first
// column; scores are those of half `h` of a row tile.
template <int kColumns, int kScoreTiles>
__device__ __forceinline__ void apply_bits(float (&scores)[kScoreTiles][4], int h, int word, uint32_t bits) {
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
    // This lane has columns 0 and 1 of every 8, moved by twice its place in the quad.
    if (column % 8 >= 2) continue;
    float& score = scores[word * (kColumns / 8) + column / 8][2 * h + column % 8];
    score = bits >> column & 1 ? score : -CUDART_INF_F;
  }
}

// As `apply_mask` above where the accumulator rows are queries from `query_first` on.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void apply_mask(float (&scores)[kRowTiles][kScoreTiles][4], const KeyMask& mask,
                                           int query_first, int key_first, unsigned lane) {
  const auto query_of = [=](int i, int h) { return static_cast<int>(query_first + i * 16 + h * 8 + lane / 4); };
  apply_mask(scores, mask, key_first, lane, query_of);
}

// Sets the powers of unseen keys to 0, where rows are keys from `key_first` on and columns queries from `query_first`
// on.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void apply_mask_to_powers(float (&powers)[kRowTiles][kColumnTiles][4], const KeyMask& mask,
                                                     int key_first, int query_first, unsigned lane) {
  const KeyMask tile_mask = mask.from(key_first);
#pragma unroll
  for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int query = query_first + j * 8 + (lane % 4) * 2 + e;
      const int begin = tile_mask.begin(query);
      const uint32_t length = max(0, tile_mask.end(query) - begin);
      const uint32_t offset = lane / 4 - begin;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float& power = powers[i][j][2 * h + e];
          power = offset + (i * 16 + h * 8) < length ? power : 0.0f;
        }
      }
    }
  }
}

}  // namespace llm_kernels
