// The kernel around gguf_matrix.cuh: stages, steps, the result.
#pragma once

#include "quant/gguf_matrix.cuh"

namespace llm_kernels {

// sums += the step's products, of this warp's 32 rows and all columns.
template <typename Format>
__device__ __forceinline__ void multiply_step(float (&sums)[2][8][4], const MatrixStage<Format>& stage, int warp,
                                              unsigned lane) {
  using Tile = MatrixTile<Format>;
  const uint32_t a_origin = stage.activations().ldmatrix_address(lane) + warp * 32 * Tile::kDepth;
  const uint32_t b_origin = stage.weights().ldmatrix_address_n_by_k(lane);
  const float* row_factors = stage.row_factors() + warp * 32 + lane / 4;
  const float* factors = stage.factors() + lane % 4 * 2;
#pragma unroll
  for (int group = 0; group < 2; ++group) {
    FragmentA a[2];
    float rows[Tile::kRowFactors][2][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      a[i].load(NarrowTile<Tile::kRows>::block_address(a_origin, i, group));
#pragma unroll
      for (int f = 0; f < Tile::kRowFactors; ++f) {
        const float* from = row_factors + (f * 2 + group) * Tile::kRows + i * 16;
        rows[f][i][0] = from[0], rows[f][i][1] = from[8];
      }
    }
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      FragmentB b;
      b.load_n_by_k(NarrowTile<Tile::kColumns>::block_address(b_origin, j / 2, group));
#pragma unroll
      for (int right = 0; right < 2; ++right) {
        float2 columns[Tile::kFactors];
#pragma unroll
        for (int f = 0; f < Tile::kFactors; ++f) {
          columns[f] = *reinterpret_cast<const float2*>(factors + (f * 2 + group) * Tile::kColumns + (j + right) * 8);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          int32_t products[Tile::kHalves][4];
          if constexpr (Tile::kHalves == 1) {
            ptx::mma_m16n8k32_s8(products[0], a[i].a, b.b[2 * right], b.b[2 * right + 1]);
          } else {
            ptx::mma_m16n8k16_s8(products[0], a[i].a[0], a[i].a[1], b.b[2 * right]);
            ptx::mma_m16n8k16_s8(products[1], a[i].a[2], a[i].a[3], b.b[2 * right + 1]);
          }
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            float& sum = sums[i][j + right][e];
            float scaled = 0.0f;
#pragma unroll
            for (int half = 0; half < Tile::kHalves; ++half) {
              const float factor = e % 2 == 0 ? columns[half].x : columns[half].y;
              const float value = static_cast<float>(products[half][e]);
              scaled = half == 0 ? value * factor : __fmaf_rn(value, factor, scaled);
            }
            sum = __fmaf_rn(scaled, rows[0][i][e / 2], sum);
            if constexpr (Format::kHasMinimum) {
#pragma unroll
              for (int half = 0; half < Tile::kHalves; ++half) {
                const float2 minimums = columns[Tile::kHalves + half];
                sum = __fmaf_rn(rows[1 + half][i][e / 2], e % 2 == 0 ? minimums.x : minimums.y, sum);
              }
            }
          }
        }
      }
    }
  }
}

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

  constexpr int kChunkSteps = Tile::Packed::kChunkSteps;
  auto load_packed = [&](int chunk) {
    Tile::Packed::load(ptx::shared_address(stage(chunk).packed()), params, first_column, chunk, thread);
  };

  float sums[2][8][4] = {};
  const int num_steps = (params.k + Tile::kDepth - 1) / Tile::kDepth;
  if (num_steps > 0) {
    load_packed(0);
    loader.load_activations(stage(0).activations(), 0, thread);
  }
  commit_copies();
  for (int step = 0; step < num_steps; ++step) {
    // Shows this step's copies to all, and that what the next ones go over has been read.
    wait_for_copies();
    __syncthreads();
    if (step + 1 < num_steps) loader.load_activations(stage(step + 1).activations(), step + 1, thread);
    if (step % kChunkSteps == 0 && step + kChunkSteps < num_steps) load_packed(step / kChunkSteps + 1);
    commit_copies();
    loader.decode(stage(step), stage(step / kChunkSteps).packed(), step, thread);
    loader.load_row_factors(stage(step).row_factors(), step, thread);
    __syncthreads();
    multiply_step<Format>(sums, stage(step), warp, lane);
  }

  store_sums(params, sums, first_row + warp * 32, first_column, lane);
}

}  // namespace llm_kernels
