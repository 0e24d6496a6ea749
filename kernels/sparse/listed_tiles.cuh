// The tiles of keys that a layout lists for a block of queries. In memory: src/sparse/block_layout.rs.
#pragma once

#include <cstdint>

#include "attention/forward_block.cuh"
#include "common/mask.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/sparse/block_sparse/params.rs. Whatever the words hold, nothing outside them is read.
struct BlockLayoutParams {
  const int32_t* words;  // Bands first.
  int32_t heads_at, offsets_at, tiles_at, masks_at, bits_at;  // Words before each part.
  int32_t num_heads;     // 1: all heads share a pattern.
  int32_t num_patterns, num_tiles, num_bands, num_masks;
  int32_t query_tiles;   // Rows of a pattern.
  int32_t tile_q;        // Queries of a row, a multiple of kBlockM.
  int32_t tile_k_log2;   // log2 of the keys of a listed tile, which are a multiple of kBlockN.
  int32_t padding;
};

static_assert(sizeof(BlockLayoutParams) == 64, "mirrored in Rust");

// A walk over the listed tiles, from last to first, in tiles of kBlockN keys. Tiles fall whatever the list holds, and lie
// within the sequence.
template <int kBlockN>
struct ListedTiles {
  static constexpr int kBlockNLog2 = kBlockN == 32 ? 5 : kBlockN == 64 ? 6 : 7;
  static_assert(1 << kBlockNLog2 == kBlockN, "one of these");

  // Addresses of the sequence's first rows of k and of v, and `begin`.
  static constexpr int kStoredBytes = 32;

  const BlockLayoutParams& layout;
  uint32_t shared;    // Of kStoredBytes, by which what the loop needs now and then costs no registers.
  int first, place;   // Among all listed tiles, counted in tiles of kBlockN: the row's first, this one.
  int current, next;  // Tile * 2, and 1 if some of it is hidden; below 0: none.

  __device__ __forceinline__ ListedTiles(const BlockLayoutParams& layout, int head, int query_first, int s_k,
                                         uint32_t shared)
      : layout(layout), shared(shared), first(0), place(0), current(-1), next(-1) {
    const unsigned named = ptx::ld_global_4(layout.words + layout.heads_at + (layout.num_heads > 1 ? head : 0));
    const int pattern = min(named, layout.num_patterns - 1u);
    const int row = min(query_first / static_cast<unsigned>(layout.tile_q), layout.query_tiles - 1u);
    const int32_t* offsets =
        layout.words + layout.offsets_at + (static_cast<int64_t>(pattern) * (layout.query_tiles + 1) + row);
    int low = min(max(ptx::ld_global_4(offsets), 0), layout.num_tiles);
    int end = min(max(ptx::ld_global_4(offsets + 1), low), layout.num_tiles);
    first = low << splits();
    // The last tile that begins within the sequence: of a sequence as long as the layout the very last.
    const int last_tile = (s_k - 1) >> layout.tile_k_log2;
    int middle = end - 1;
    while (low < end) {
      if ((ptx::ld_global_4(layout.words + layout.tiles_at + middle) >> 1) <= last_tile) {
        low = middle + 1;
      } else {
        end = middle;
      }
      middle = (low + end) >> 1;
    }
    if ((end << splits()) <= first || s_k == 0) return;
    // Of it, what begins within the sequence.
    const int last = (s_k - 1) >> kBlockNLog2;
    const unsigned word = ptx::ld_global_4(layout.words + layout.tiles_at + end - 1);
    const int split = min((1 << splits()) - 1, max(0, last - static_cast<int>(word >> 1 << splits())));
    place = (end - 1 << splits()) + split;
    current = min(packed(word, split), last * 2 + 1);
    if ((tile() + 1) * kBlockN > s_k) current |= 1;
  }

  // log2 of the tiles of kBlockN in a listed one.
  __device__ __forceinline__ int splits() const { return layout.tile_k_log2 - kBlockNLog2; }

  __device__ __forceinline__ int packed(unsigned word, int split) const {
    return (((word >> 1 << splits()) + split) * 2 + (word & 1)) & 0x7fffffff;
  }

  __device__ __forceinline__ bool is_empty() const { return current < 0; }
  __device__ __forceinline__ int tile() const { return current >> 1; }
  __device__ __forceinline__ bool is_cut() const { return current & 1; }
  __device__ __forceinline__ bool has_next() const { return next >= 0; }

  // Before the loop, when the loaders have copied this tile and moved on to the one before it.
  template <typename KLoader, typename VLoader>
  __device__ __forceinline__ void begin(const KLoader& k_loader, const VLoader& v_loader) const {
    if (ptx::thread_index() > 0) return;
    // Thread 0 copies from the first column of a tile's first row.
    const auto first_row = [&](const auto& loader) {
      const auto address =
          reinterpret_cast<uint64_t>(loader.source - loader.pass_bytes * (kBlockN / loader.kRowsPerPass) * (tile() - 1));
      return uint2{static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32)};
    };
    const uint2 k = first_row(k_loader), v = first_row(v_loader);
    ptx::st_shared_16(shared, {k.x, k.y, v.x, v.y});
    ptx::st_shared_4(shared + 16, first);
  }

  // Finds the next tile, long before it is needed.
  __device__ __forceinline__ void look_ahead() {
    next = -1;
    if (place > static_cast<int>(ptx::ld_shared_4(shared + 16))) {
      const int at = place - 1;
      const unsigned word = ptx::ld_global_4(layout.words + layout.tiles_at + (at >> splits()));
      // Below 0 after tile 0.
      next = min(packed(word, at & ((1 << splits()) - 1)), (current | 1) - 2);
    }
  }

  __device__ __forceinline__ void advance() {
    current = next;
    --place;
  }

  template <typename Loader>
  __device__ __forceinline__ void load_keys(const Loader& loader) const {
    load_next(loader, shared);
  }
  template <typename Loader>
  __device__ __forceinline__ void load_values(const Loader& loader) const {
    load_next(loader, shared + 8);
  }
  template <typename Loader>
  __device__ __forceinline__ void load_next(const Loader& loader, uint32_t stored) const {
    const unsigned thread = ptx::thread_index();
    const uint2 address = ptx::ld_shared_8(stored);
    const auto rows = reinterpret_cast<const char*>(static_cast<uint64_t>(address.y) << 32 | address.x);
    const int row = (next >> 1) * kBlockN + thread / 8;
    loader.load_from(rows + loader.pass_bytes / loader.kRowsPerPass * row + thread % 8 * 16);
  }

  // Rows are queries from `query_first` on, counted from the block's first, which is the diagonal of `block`.
  template <int kRowTiles, int kScoreTiles>
  __device__ __forceinline__ void hide_unseen(float (&scores)[kRowTiles][kScoreTiles][4], const KeyMask& block,
                                              int query_first, unsigned lane) const {
    const int code = ptx::ld_global_4(layout.words + layout.masks_at + (place >> splits()));
    KeyMask mask = block;
    mask.window_left = mask.window_right = -1;
    if (code < 0 && layout.num_bands > 0) {
      const int64_t band = min(~code, layout.num_bands - 1);
      const uint4 numbers = ptx::ld_global_16(layout.words + band * 4);
      mask.diagonal += static_cast<int>(numbers.x);
      mask.window_left = numbers.y, mask.window_right = numbers.z;
    }
    apply_mask(scores, mask, query_first, tile() * kBlockN, lane);
    if (code > 0 && layout.num_masks > 0) {
      const int row_words = 1 << (layout.tile_k_log2 - 5);
      const int row = block.diagonal % static_cast<unsigned>(layout.tile_q) + query_first + lane / 4;
      const int split = place & ((1 << splits()) - 1);
      const int32_t* bits = layout.words + layout.bits_at + split * (kBlockN / 32) +
                            (static_cast<int64_t>(min(code, layout.num_masks) - 1) * layout.tile_q + row) * row_words;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
          for (int word = 0; word < kBlockN / 32; ++word) {
            const uint32_t shown = ptx::ld_global_4(bits + (i * 16 + h * 8) * row_words + word);
            apply_bits<32>(scores[i], h, word, shown >> (lane % 4 * 2));
          }
        }
      }
    }
  }
};

// Where keys are seen as a layout says.
struct ListedKeys {
  const BlockLayoutParams& layout;

  // Places count from the start of a sequence.
  __device__ __forceinline__ KeyMask mask(int, int s_k, int) const { return KeyMask(s_k, s_k, -1, -1); }

  template <typename Traits>
  __device__ __forceinline__ ListedTiles<Traits::kBlockN> tiles(const KeyMask& mask, const BlockRows<Traits>& block,
                                                                int, uint32_t shared) const {
    return ListedTiles<Traits::kBlockN>(layout, block.head, block.first, mask.s_k, shared);
  }
};

}  // namespace llm_kernels
