// The loop of attention forward over tiles of keys, for kernels that differ in which tiles they visit.
#pragma once

#include <cfloat>
#include <cstdint>

#include "attention/forward_block.cuh"
#include "attention/products.cuh"
#include "common/dropout.cuh"
#include "common/pipeline.cuh"

namespace llm_kernels {

// All tiles that a window shows, one beside the other.
template <int kBlockN>
struct ContiguousTiles {
  KeyTiles<kBlockN> tiles;
  int remaining;  // After this one.

  __device__ __forceinline__ explicit ContiguousTiles(const KeyTiles<kBlockN>& tiles)
      : tiles(tiles), remaining(tiles.last - tiles.first) {}

  __device__ __forceinline__ bool is_empty() const { return tiles.first > tiles.last; }
  __device__ __forceinline__ int tile() const { return tiles.first + remaining; }
  __device__ __forceinline__ bool is_cut() const { return !tiles.is_full(tile()); }
  __device__ __forceinline__ bool has_next() const { return remaining > 0; }
  // Loaders move from a tile to the one before it by themselves.
  template <typename KLoader, typename VLoader>
  __device__ __forceinline__ void look_ahead(KLoader&, VLoader&) const {}
  __device__ __forceinline__ void advance() { --remaining; }
  __device__ __forceinline__ void begin() const {}
  // Rows are queries from `query_first` on, in the numbering of `mask`.
  template <int kRowTiles, int kScoreTiles>
  __device__ __forceinline__ void hide_unseen(float (&scores)[kRowTiles][kScoreTiles][4], const KeyMask& mask,
                                              int query_first, unsigned lane) const {
    apply_mask(scores, mask, query_first, tile() * kBlockN, lane);
  }
};

// Where keys are seen in windows.
struct WindowedKeys {
  const FlashForwardParams& params;

  __device__ __forceinline__ KeyMask mask(int s_q, int s_k, int prefix) const {
    return KeyMask(s_q, s_k, params.window_left, params.window_right, prefix);
  }

  template <typename Traits>
  __device__ __forceinline__ ContiguousTiles<Traits::kBlockN> tiles(const KeyMask& mask,
                                                                    const BlockRows<Traits>& block, int last_row,
                                                                    uint32_t) const {
    return ContiguousTiles<Traits::kBlockN>(
        KeyTiles<Traits::kBlockN>(mask, block.query_of(0), block.query_of(last_row)));
  }
};

// Which tiles of keys a block visits, and what it sees of them, is what `source` says: `source.mask` gives the mask that is
// kept in shared memory, `source.tiles` a walk over the tiles, from last to first.
template <typename Traits, typename Source>
__device__ __forceinline__ void flash_forward(const FlashForwardParams& params, const Source& source) {
  using T = typename Traits::T;
  constexpr int kRowTiles = Traits::kRowTiles;
  constexpr bool kFeatures = Traits::kFeatures;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const typename Traits::QTile q_tile{ptx::shared_address(shared_memory)};
  const typename Traits::KTile k_tile{q_tile.base + Traits::QTile::kBytes};
  const typename Traits::VTile v_tile{k_tile.base + Traits::KTile::kBytes};
  const uint32_t mask_address = v_tile.base + Traits::VTile::kBytes;

  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const BlockRows<Traits> block(params);
  const Sequence queries = params.queries.at(block.batch);
  const Sequence keys = params.keys.at(block.batch);
  const int num_rows = queries.length * block.pack;
  // The grid is made for the longest sequence.
  if (block.first >= num_rows) return;
  const int last_row = min(block.first + Traits::kBlockM, num_rows) - 1 - block.first;
  const bool has_prefix = kFeatures && params.score.prefix != nullptr;
  const int prefix = has_prefix ? max(0, ptx::ld_global_4(params.score.prefix + block.batch)) : KeyMask::kNoPrefix;
  const KeyMask block_mask = source.mask(queries.length, keys.length, prefix);
  auto tiles = source.template tiles<Traits>(block_mask, block, last_row, mask_address + KeyMask::kStoredBytes);
  // Plain rows are queries in order, so that their own numbers do.
  if (thread == 0) block_mask.of_queries_from(kFeatures ? 0 : block.first).store(mask_address);

  float output[kRowTiles][Traits::kHeadDimV / 8][4] = {};
  OnlineSoftmax<kRowTiles> softmax;

  if (!tiles.is_empty()) {
    const int key_first = tiles.tile() * Traits::kBlockN;
    TileLoader<Traits::kBlockN, Traits::kHeadDim * Traits::kWidth, Traits::kThreads, kFeatures> k_loader(
        k_tile, params.k.row<T>(block.batch, keys.begin + key_first, block.kv_head), params.k.sequence_stride, thread,
        params.d);
    TileLoader<Traits::kBlockN, Traits::kHeadDimV * Traits::kWidth, Traits::kThreads, kFeatures> v_loader(
        v_tile, params.v.row<T>(block.batch, keys.begin + key_first, block.kv_head), params.v.sequence_stride, thread,
        params.d_v);

    if constexpr (kFeatures) {
      load_rows<Traits::kBlockM, Traits::kHeadDim * Traits::kWidth, Traits::kThreads>(q_tile, thread, params.d, [&](int row) -> const T* {
        if (row > last_row) return nullptr;
        return params.q.row<T>(block.batch, queries.begin + block.query_of(row), block.head_of(row));
      });
      commit_copies();
    } else {
      TileLoader<Traits::kBlockM, Traits::kHeadDim, Traits::kThreads> q_loader(
          q_tile, params.q.row<T>(block.batch, queries.begin + block.first, block.head), params.q.sequence_stride,
          thread);
      q_loader.load_cut(last_row + 1);
      commit_copies();
    }
    // Only these first tiles can reach past the last key.
    k_loader.load_cut(keys.length - key_first);
    commit_copies();
    v_loader.load_cut(keys.length - key_first);
    commit_copies();
    tiles.begin();
    // Not 0, so that a masked score of -inf stays -inf when scaled.
    const float scale_log2 = kFeatures ? params.score.exponent_scale() : fmaxf(fabsf(params.score.scale_log2), FLT_MIN);
    if (!kFeatures && params.score.scale_log2 < 0.0f) {
      wait_for_copies<2>();
      negate_own_copies<Traits>(q_tile, q_tile.chunk_address(thread >> 3, thread & 7));
    }
    const uint32_t q_address = q_tile.ldmatrix_address(lane) + Traits::warp_row(thread) * 128;
    const uint32_t k_address = k_tile.ldmatrix_address_n_by_k(lane);
    const uint32_t v_address = value_address<T>(v_tile, lane);
    ScoreRows<kRowTiles> rows;
    if constexpr (kFeatures) {
      rows.batch = block.batch;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          // Rows past the last count as the last.
          const int row = min(Traits::warp_row(thread) + i * 16 + h * 8 + static_cast<int>(lane / 4), last_row);
          rows.query[i][h] = block.query_of(row);
          rows.head[i][h] = block.head_of(row);
        }
      }
    }

    wait_for_copies<1>();
    __syncthreads();
#pragma unroll 1
    while (true) {
      // K of this tile is here; V of it is on the way.
      float scores[kRowTiles][Traits::kBlockN / 8][4];
      if constexpr (kIsF32<T>) {
        multiply_query_key_f32<Traits>(scores, q_address, k_address, params.d);
      } else {
        multiply_query_key<Traits>(scores, q_address, k_address, params.d);
      }

      // V is here, and K has been read by all: the next K comes in under softmax and P V. Which that is, is looked up
      // while the threads wait for each other.
      tiles.look_ahead(k_loader, v_loader);
      wait_for_copies();
      __syncthreads();
      if (tiles.has_next()) k_loader.load();
      commit_copies();

      const int key_first = tiles.tile() * Traits::kBlockN;
      const bool cut = tiles.is_cut();
      if (kFeatures || cut) {
        const unsigned thread = ptx::thread_index();
        const KeyMask mask = KeyMask::load(mask_address, params.window_left, params.window_right);
        if constexpr (kFeatures) {
          transform_scores<T>(scores, params.score, rows, key_first, mask.s_k, mask.diagonal, thread % 32);
          if (cut) apply_mask(scores, mask, key_first, thread % 32, [&](int i, int h) { return rows.query[i][h]; });
        } else {
          tiles.hide_unseen(scores, mask, Traits::warp_row(thread), thread % 32);
        }
      }
      softmax.update(scores, output, scale_log2);
      if constexpr (kFeatures) {
        if (params.score.dropout_threshold > 0) drop_out(scores, params.score, rows, key_first, lane);
      }
      if constexpr (kIsF32<T>) {
        multiply_power_value_f32<Traits>(output, scores, v_address, params.d_v);
      } else {
        multiply_power_value<Traits>(output, scores, v_address, params.d_v);
      }
      if (!tiles.has_next()) break;

      // The next K is here, and V has been read by all: the next V comes in under Q K^T.
      wait_for_copies();
      __syncthreads();
      v_loader.load();
      tiles.advance();
      commit_copies();
    }
  }
  store_output<Traits>(params, output, softmax, typename Traits::OutTile{q_tile.base});
}

}  // namespace llm_kernels
