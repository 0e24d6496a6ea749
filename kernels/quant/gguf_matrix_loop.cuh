// The kernel around gguf_matrix.cuh: stages, steps, the result.
#pragma once

#include "quant/gguf_matrix.cuh"

namespace llm_kernels {

template <typename Format>
__device__ __forceinline__ void multiply_matrices(const MatrixParams& params) {
  using Tile = MatrixTile<Format>;
  extern __shared__ __align__(128) char shared[];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int block = ptx::block_index(), column_tile = block / params.row_tiles;
  const int first_row = (block - column_tile * params.row_tiles) * Tile::kRows;
  const int first_column = column_tile * Tile::kColumns;
  const MatrixLoader<Format> loader = {params, first_row, first_column};
  auto stage = [&](int i) { return MatrixStage<Format>{shared + i % 2 * Tile::kStageBytes}; };

  float sums[2][8][4] = {};
  const int num_steps = (params.k + Tile::kDepth - 1) / Tile::kDepth;
  if (num_steps > 0) {
    loader.load_packed(stage(0).packed(), 0, thread);
    loader.load_activations(stage(0).activations(), 0, thread);
  }
  commit_copies();
  for (int step = 0; step < num_steps; ++step) {
    // Shows this step's copies to all, and that what the next ones go over has been read.
    wait_for_copies();
    __syncthreads();
    if (step + 1 < num_steps) loader.load_activations(stage(step + 1).activations(), step + 1, thread);
    if (step % 4 == 0 && step + 4 < num_steps) loader.load_packed(stage(step / 4 + 1).packed(), step / 4 + 1, thread);
    commit_copies();
    loader.decode(stage(step), stage(step / 4).packed(), step, thread);
    loader.load_row_factors(stage(step).row_factors(), step, thread);
    __syncthreads();
    multiply_step<Format>(sums, stage(step), warp, lane);
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = first_row + warp * 32 + i * 16 + e / 2 * 8 + lane / 4;
        const int column = first_column + j * 8 + lane % 4 * 2 + e % 2;
        if (row >= params.m || column >= params.n) continue;
        const float bias = params.bias == nullptr ? 0.0f : load_element(params.bias, column, params.bias_type);
        store_element(params.y, row * params.y_stride + column, sums[i][j][e] + bias, params.y_type);
      }
    }
  }
}

}  // namespace llm_kernels
