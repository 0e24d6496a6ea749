// The products of the backward pass for f32 elements, in tf32 parts: see common/tf32.cuh.
//
// Tiles of q, k, v and d_out are row-major, panels of 32 columns; powers and derivatives lie in a WideTile [keys][queries].
// Columns of results are in the order of `output_chunk`: of an accumulator e of four, column g is column
// 4 output_chunk(g) + e of a panel.
#pragma once

#include <cstdint>

#include "attention/products.cuh"
#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "common/slab.cuh"
#include "common/tf32.cuh"
#include "common/wide_tile.cuh"

namespace llm_kernels {

// accumulators = A B^T + initial, the same for every 8 rows: A [m][depth] from `a_address` (ldmatrix_address), B [n][depth]
// from `b_address` (transposed_operand_address). Only the first `columns` are multiplied, in panels.
template <typename ATile, typename BTile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_by_transpose_f32(float (&accumulators)[kRowTiles][kColumnTiles][4],
                                                          uint32_t a_address, uint32_t b_address,
                                                          const float (&initial)[kColumnTiles][4], int columns) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) accumulators[i][j][e] = initial[j][e];
    }
  }
#pragma unroll 1
  for (int panel = 0; panel < ATile::kPanels && panel * 32 < columns; ++panel) {
    // Two steps of depth at a time.
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      uint32_t b[kColumnTiles][4];
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) ptx::ldmatrix_x4(b[j], (b_address ^ pair << 6) + j * 1024);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          FragmentA a;
          a.load(ATile::block_address(a_address, i, 2 * pair + step));
          const SplitA split(a.a);
#pragma unroll
          for (int j = 0; j < kColumnTiles; ++j) {
            mma_f32(accumulators[i][j], split, SplitB({b[j][2 * step], b[j][2 * step + 1]}));
          }
        }
      }
    }
    a_address += ATile::kPanelBytes;
    b_address += BTile::kPanelBytes;
  }
}

// This lane's address of B for `multiply_tiles`.
template <typename T, typename Tile>
__device__ __forceinline__ uint32_t transposed_operand_address(Tile tile, unsigned lane) {
  // Of f32 8 rows and 4 chunks.
  return kIsF32<T> ? tile.chunk_address(lane % 8, lane / 8) : tile.ldmatrix_address_n_by_k(lane);
}

// accumulators = A B^T + initial for tiles of keys and of queries, kAOffset and kBOffset bytes further on.
template <typename Traits, int kAOffset = 0, int kBOffset = 0, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_tiles(float (&accumulators)[kRowTiles][kColumnTiles][4], uint32_t a_address,
                                               uint32_t b_address, const float (&initial)[kColumnTiles][4],
                                               int columns) {
  using ATile = typename Traits::KTile;
  using BTile = typename Traits::QTile;
  if constexpr (kIsF32<typename Traits::T>) {
    multiply_by_transpose_f32<ATile, BTile>(accumulators, a_address + kAOffset, b_address + kBOffset, initial, columns);
  } else {
    multiply_by_transpose<typename Traits::T, ATile, BTile, Traits::kHeadDim / 16, kAOffset, kBOffset>(
        accumulators, a_address, b_address, initial, columns);
  }
}

// This lane's address of a row-major tile [depth][n] for the products below.
template <typename Tile>
__device__ __forceinline__ uint32_t operand_address(Tile tile, unsigned lane) {
  return tile.chunk_address(lane % 4, output_chunk(lane / 4));
}

// Four operands B of 8 rows from there on and the 32 columns of a panel.
struct PanelB {
  SplitB operands[4];

  __device__ __forceinline__ explicit PanelB(uint32_t address) : PanelB(ptx::ld_shared_16(address),
                                                                        ptx::ld_shared_16((address ^ 64) + 512)) {}

 private:
  // Rows t and t + 4.
  __device__ __forceinline__ PanelB(const uint4& x, const uint4& y)
      : operands{SplitB({x.x, y.x}), SplitB({x.y, y.y}), SplitB({x.z, y.z}), SplitB({x.w, y.w})} {}
};

// accumulators += A B, A [m][32] in a WideTile from `a_address` (ldmatrix_address), B [32][n] from `b_address`
// (operand_address). Only the first `columns` of B count, in panels.
template <typename BTile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_f32(float (&accumulators)[kRowTiles][kColumnTiles][4], uint32_t a_address,
                                             uint32_t b_address, int columns) {
#pragma unroll
  for (int depth = 0; depth < 4; ++depth) {
    FragmentA a[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) a[i].load((a_address ^ depth << 5) + i * 2048);
#pragma unroll
    for (int panel = 0; panel < kColumnTiles / 4; ++panel) {
      if (panel * 32 >= columns) break;
      const PanelB b(b_address + depth * 1024 + panel * BTile::kPanelBytes);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const SplitA split(a[i].a);
#pragma unroll
        for (int e = 0; e < 4; ++e) mma_f32(accumulators[i][panel * 4 + e], split, b.operands[e]);
      }
    }
  }
}

// accumulators += A^T B, A [kDepth][m] in a WideTile from `a_address` (transposed_address), B [kDepth][32] from `b_address`
// (operand_address).
template <int kDepth, int kRowTiles>
__device__ __forceinline__ void multiply_transposed_f32(float (&accumulators)[kRowTiles][4][4], uint32_t a_address,
                                                        uint32_t b_address) {
#pragma unroll 2
  for (int depth = 0; depth < kDepth / 8; ++depth, a_address += 1024, b_address += 1024) {
    const PanelB b(b_address);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      const uint32_t address = a_address ^ i << 6;
      const uint32_t below = (address ^ 16) + 512;
      const SplitA a({ptx::ld_shared_4(address), ptx::ld_shared_4(address ^ 32), ptx::ld_shared_4(below),
                      ptx::ld_shared_4(below ^ 32)});
#pragma unroll
      for (int e = 0; e < 4; ++e) mma_f32(accumulators[i][e], a, b.operands[e]);
    }
  }
}

// The three products that follow powers and derivatives of a tile. Both go through `tile`, one after the other. Sums of
// d_q are at `d_q`, if some exist. `load_next` is called when nobody needs the queries any more.
template <typename Traits, int kRowTiles, int kScoreTiles, int kColumnTiles, typename LoadNext>
__device__ __forceinline__ void add_products_f32(
    float (&d_k)[kRowTiles][kColumnTiles][4], float (&d_v)[kRowTiles][kColumnTiles][4], float* d_q, bool exists,
    const float (&powers)[kRowTiles][kScoreTiles][4], const float (&d_scores)[kRowTiles][kScoreTiles][4],
    typename Traits::KTile k_tile, typename Traits::QTile q_tile, typename Traits::ScoreTile tile, int d, int value_d,
    LoadNext load_next) {
  using QTile = typename Traits::QTile;
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const int warp_row = thread / 32 / Traits::kColumnWarps * Traits::kWarpKeys;
  const int column_warp = thread / 32 % Traits::kColumnWarps;
  const int first_column = column_warp * Traits::kColumns;
  const uint32_t own = (tile.accumulator_address(lane) ^ column_warp * kScoreTiles << 5) + warp_row * 128;
  const uint32_t a_address = tile.ldmatrix_address(lane) + warp_row * 128;
  const uint32_t q_address = operand_address(q_tile, lane) + first_column / 32 * QTile::kPanelBytes;
  store_accumulators(own, powers);
  __syncthreads();
  multiply_f32<QTile>(d_v, a_address, q_address + QTile::kBytes, value_d - first_column);
  __syncthreads();
  store_accumulators(own, d_scores);
  __syncthreads();
  multiply_f32<QTile>(d_k, a_address, q_address, d - first_column);
  if (Traits::kStages == 1) {
    __syncthreads();
    load_next();
  }
  const int query_column = Traits::query_column(thread);
  const uint32_t d_s_address = tile.transposed_address(lane) ^ Traits::query_row(thread) << 2;
  const uint32_t k_address = operand_address(k_tile, lane) + query_column / 32 * Traits::KTile::kPanelBytes;
#pragma unroll 1
  for (int step = 0; step < Traits::kQuerySteps && query_column + step * 32 < d; ++step) {
    float sum[Traits::kQueryRows / 16][4][4];
    float* slab = d_q + slab_offset(0, step * 4, Traits::kHeadDim, 0);
    load_slab<Traits::kHeadDim>(sum, slab, exists);
    multiply_transposed_f32<Traits::kBlockN>(sum, d_s_address, k_address + step * Traits::KTile::kPanelBytes);
    store_slab<Traits::kHeadDim>(slab, sum);
  }
}

}  // namespace llm_kernels
