// What a tile of queries adds to the gradients, of 16-bit elements. Of f32: backward_products_f32.cuh.
#pragma once

#include <cstdint>

#include "attention/backward_block.cuh"
#include "common/mma.cuh"
#include "common/slab.cuh"

namespace llm_kernels {

// d_v += powers^T d_out, d_k += d_scores^T q, and what lies at `d_q` += d_scores k, if it `exists()`. `addresses`: where this
// thread stores d_scores and loads them, and where it loads k's columns of its warp. With one stage `load_next()` comes once
// q and d_out have been read.
template <typename Traits, int kScoreTiles, typename Exists, typename LoadNext>
__device__ __forceinline__ void add_products(float (&d_k)[Traits::kRowTiles][Traits::kColumns / 8][4],
                                             float (&d_v)[Traits::kRowTiles][Traits::kColumns / 8][4], float* d_q,
                                             Exists exists, const float (&powers)[Traits::kRowTiles][kScoreTiles][4],
                                             const float (&d_scores)[Traits::kRowTiles][kScoreTiles][4],
                                             uint32_t q_by_column, typename Traits::ScoreTile d_score_tile,
                                             uint32_t addresses, unsigned lane, int warp_row, int column_warp, int d,
                                             int value_d, LoadNext load_next) {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  using KTile = typename Traits::KTile;
  using ScoreTile = typename Traits::ScoreTile;
  constexpr int kRowTiles = Traits::kRowTiles;
  constexpr bool kFeatures = Traits::kFeatures;
  const ScoreTile power_tile{d_score_tile.base + ScoreTile::kBytes};  // Only where warps share columns.
  // Rounded, they are operands of the products with d_out and q as they are, where a warp has all queries of its
  // keys. The product with k needs every key: it goes through shared memory.
  FragmentA p[kRowTiles][kScoreTiles / 2], d_s[kRowTiles][kScoreTiles / 2];
  convert<T>(p, powers);
  convert<T>(d_s, d_scores);
  const uint4 own = ptx::ld_shared_16(addresses + ptx::thread_index() * 16);
  store_fragments<ScoreTile>(own.x, d_s);
  const int key_columns = kFeatures ? d - column_warp * Traits::kColumns : Traits::kColumns;
  const int value_columns = kFeatures ? value_d - column_warp * Traits::kColumns : Traits::kColumns;
  float partial[Traits::kBlockM / 16][Traits::kQueryColumns / Traits::kQuerySteps / 8][4];
  // Features: whether the step's columns exist.
  const auto has_columns = [&](int step) {
    return !kFeatures || static_cast<int>(ptx::thread_index() / 32 * Traits::kQueryColumns) + step * 32 < d;
  };
  const auto load_partial = [&](int step) {
    if (!has_columns(step)) return;
    load_slab<Traits::kHeadDim>(partial, d_q + slab_offset(0, step * 4, Traits::kHeadDim, 0), exists());
  };
  const auto multiply_keys = [&](int step) {
    if (!has_columns(step)) return;
#pragma unroll
    for (int depth = 0; depth < Traits::kBlockN / 16; ++depth) {
      FragmentA a[Traits::kBlockM / 16][1];
#pragma unroll
      for (int i = 0; i < Traits::kBlockM / 16; ++i) {
        a[i][0].load_k_by_m(ScoreTile::block_address(own.y, depth, i));
      }
      multiply<T, KTile>(partial, a, KTile::block_address(own.z, depth, step * 2));
    }
    store_slab<Traits::kHeadDim>(d_q + slab_offset(0, step * 4, Traits::kHeadDim, 0), partial);
  };
  if constexpr (Traits::kColumnWarps == 1) {
    load_partial(0);
    multiply<T, QTile, QTile::kBytes>(d_v, p, q_by_column, value_columns);
    __syncthreads();
    multiply_keys(0);
    multiply<T, QTile>(d_k, d_s, q_by_column, key_columns);
  } else {
    store_fragments<ScoreTile>(own.x + ScoreTile::kBytes, p);
    __syncthreads();
    FragmentA all[kRowTiles][Traits::kBlockM / 16];
    load_fragments(all, power_tile, warp_row, lane);
    multiply<T, QTile, QTile::kBytes>(d_v, all, q_by_column, value_columns);
    load_fragments(all, d_score_tile, warp_row, lane);
    multiply<T, QTile>(d_k, all, q_by_column, key_columns);
    if (Traits::kStages == 1) __syncthreads();
    if (Traits::kStages == 1) load_next();
#pragma unroll 1
    for (int step = 0; step < Traits::kQuerySteps; ++step) {
      load_partial(step);
      multiply_keys(step);
    }
  }
}

}  // namespace llm_kernels
