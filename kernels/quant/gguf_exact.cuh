// Products of packed matrices with many rows of activations as they are. See src/quant/gguf/README.md.
//
// A block computes kRows x kColumns of y in steps of 64 of k. In each a thread dequantises one group of 32 weights, in f32; tensor
// cores multiply both in tf32 parts (common/tf32.cuh). Activations were widened to f32 before.
#pragma once

#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/shared_tile.cuh"
#include "common/tf32.cuh"
#include "quant/gguf_group_weights.cuh"

namespace llm_kernels {

template <typename Format>
struct ExactTile {
  static constexpr int kThreads = 128;
  static constexpr int kRows = 64;
  static constexpr int kColumns = 64;
  static constexpr int kDepth = 64;  // Of a step.
  using Packed = PackedColumns<Format, kColumns, kThreads, 2>;
  // An f32 is two columns of 16 bits.
  using Activations = SharedTile<kRows, 2 * kDepth>;
  using Weights = SharedTile<kColumns, 2 * kDepth>;

  // Shared memory: two stages of activations and packed bytes, one of weights.
  static constexpr int kWeightsAt = 2 * Activations::kBytes;
  static constexpr int kPackedAt = kWeightsAt + Weights::kBytes;
};

// Issues the copies of a step's activations; rows and columns that do not exist are zeros.
template <typename Tile>
__device__ __forceinline__ void load_exact_activations(const MatrixParams& params, typename Tile::Activations tile,
                                                       int first_row, int step, unsigned thread) {
  constexpr int kChunks = Tile::kDepth / 4;
  const int chunk = thread % kChunks, depth = step * Tile::kDepth + chunk * 4;
  const uint32_t panel = chunk / 8 * Tile::Activations::kPanelBytes;
#pragma unroll
  for (int row = thread / kChunks; row < Tile::kRows; row += Tile::kThreads / kChunks) {
    const bool exists = first_row + row < params.m && depth < params.k;
    const char* from = params.x + ((first_row + row) * params.x_stride + depth) * 4;
    ptx::cp_async_16_zero_fill(tile.chunk_address(row, chunk % 8) + panel, exists ? from : params.x, exists ? 16 : 0);
  }
}

// Dequantises this thread's group of 32 weights of a step.
template <typename Format>
__device__ __forceinline__ void dequantise_exact(const MatrixParams& params, typename ExactTile<Format>::Weights to,
                                                 const char* packed, int first_column, int step, unsigned thread) {
  using Tile = ExactTile<Format>;
  // Lanes of a warp have neighbouring columns and the same group: no bank conflicts.
  const int column = thread % Tile::kColumns, panel = thread / Tile::kColumns, number = step * 2 + panel;
  const bool exists = first_column + column < params.n && number < params.k / 32;
  const auto block = Tile::Packed::block(packed + column * Tile::Packed::kPitch * 4, params, first_column + column, number);
  const auto group = GroupWeights<Format>::read(block, Tile::Packed::group_of_block(number), exists);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float w[4];
    group.dequantise(i, w);
    ptx::st_shared_16(to.chunk_address(column, i) + panel * Tile::Weights::kPanelBytes,
                      {__float_as_uint(w[0]), __float_as_uint(w[1]), __float_as_uint(w[2]), __float_as_uint(w[3])});
  }
}

// sums += the step's products, of a warp's 32 rows and 32 columns.
template <typename Tile>
__device__ __forceinline__ void multiply_exact_step(float (&sums)[2][4][4], typename Tile::Activations activations,
                                                    typename Tile::Weights weights, int warp, unsigned lane) {
  const uint32_t a_origin = activations.ldmatrix_address(lane) + warp / 2 * 32 * 128;
  const uint32_t b_origin = weights.ldmatrix_address_n_by_k(lane) + warp % 2 * 32 * 128;
#pragma unroll 2
  for (int depth = 0; depth < Tile::kDepth / 8; depth += 2) {
    FragmentB b[2][2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int d = 0; d < 2; ++d) b[j][d].load_n_by_k(Tile::Weights::block_address(b_origin, j, depth + d));
    }
    FragmentA a[2][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int d = 0; d < 2; ++d) a[i][d].load(Tile::Activations::block_address(a_origin, i, depth + d));
    }
    const SplitA rows[2][2] = {{SplitA(a[0][0].a), SplitA(a[0][1].a)}, {SplitA(a[1][0].a), SplitA(a[1][1].a)}};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      auto column = [&](int d) -> const uint32_t(&)[2] {
        return *reinterpret_cast<const uint32_t(*)[2]>(&b[j / 2][d].b[j % 2 * 2]);
      };
      const SplitB columns[2] = {SplitB(column(0)), SplitB(column(1))};
#pragma unroll
      for (int i = 0; i < 2; ++i) mma_f32<2>(sums[i][j], rows[i], columns);
    }
  }
}

template <typename Format>
__device__ __forceinline__ void multiply_exactly(const MatrixParams& params) {
  using Tile = ExactTile<Format>;
  extern __shared__ __align__(128) char shared[];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int block = ptx::block_index(), column_tile = block / params.row_tiles;
  const int first_row = (block - column_tile * params.row_tiles) * Tile::kRows;
  const int first_column = column_tile * Tile::kColumns;
  const uint32_t base = ptx::shared_address(shared);
  const typename Tile::Weights weights = {base + Tile::kWeightsAt};
  auto activations = [&](int step) { return typename Tile::Activations{base + step % 2 * Tile::Activations::kBytes}; };
  auto packed = [&](int chunk) { return shared + Tile::kPackedAt + chunk % 2 * Tile::Packed::kBytes; };
  constexpr int kChunkSteps = Tile::Packed::kChunkSteps;
  auto load = [&](int step) {
    load_exact_activations<Tile>(params, activations(step), first_row, step, thread);
    if (step % kChunkSteps == 0) {
      const int chunk = step / kChunkSteps;
      Tile::Packed::load(ptx::shared_address(packed(chunk)), params, first_column, chunk, thread);
    }
  };

  float sums[2][4][4] = {};
  const int num_steps = (params.k + Tile::kDepth - 1) / Tile::kDepth;
  if (num_steps > 0) load(0);
  commit_copies();
#pragma unroll 1
  for (int step = 0; step < num_steps; ++step) {
    // Shows this step's copies to all, and that the weights before have been multiplied.
    wait_for_copies();
    __syncthreads();
    if (step + 1 < num_steps) load(step + 1);
    commit_copies();
    dequantise_exact<Format>(params, weights, packed(step / kChunkSteps), first_column, step, thread);
    __syncthreads();
    multiply_exact_step<Tile>(sums, activations(step), weights, warp, lane);
  }
  store_sums(params, sums, first_row + warp / 2 * 32, first_column + warp % 2 * 32, lane);
}

}  // namespace llm_kernels
