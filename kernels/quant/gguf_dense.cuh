// Products of packed matrices with many rows of activations in bf16. See src/quant/gguf/README.md.
//
// A block computes kRows x kColumns of y in steps of 64 of k, of which tensor cores multiply one while threads dequantise
// the weights of the next: thread t a group of 32 of column t % 128, so that lanes of a warp decode alike.
#pragma once

#include "quant/gguf_dense_load.cuh"

namespace llm_kernels {

template <typename Format>
__device__ __forceinline__ void multiply_dense(const MatrixParams& params) {
  using Tile = DenseTile<Format>;
  extern __shared__ __align__(128) char shared[];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int block = ptx::block_index(), column_tile = block / params.row_tiles;
  const int first_row = (block - column_tile * params.row_tiles) * Tile::kRows;
  const int first_column = column_tile * Tile::kColumns;
  const DenseLoader<Format> loader = {params, first_row, first_column};
  const uint32_t base = ptx::shared_address(shared);
  auto activations = [&](int step) { return typename Tile::Activations{base + step % 2 * Tile::Activations::kBytes}; };
  auto weights = [&](int step) {
    return typename Tile::Weights{base + 2 * Tile::Activations::kBytes + step % 2 * Tile::Weights::kBytes};
  };
  auto packed = [&](int chunk) {
    return shared + 2 * (Tile::Activations::kBytes + Tile::Weights::kBytes) + chunk % 2 * Tile::kPackedBytes;
  };
  auto load_packed = [&](int chunk) { loader.load_packed(ptx::shared_address(packed(chunk)), chunk, thread); };

  auto decode = [&](int step) { loader.decode(weights(step), packed(step / Tile::kChunkSteps), step, thread); };

  const int num_steps = (params.k + Tile::kDepth - 1) / Tile::kDepth;
  // A warp multiplies 64 rows by 64 columns.
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
  float sums[4][8][4] = {};
  if (num_steps > 0) {
    load_packed(0);
    if (Tile::kSmall && num_steps > 1) load_packed(1);
    loader.load_activations(activations(0), 0, thread);
    commit_copies();
    wait_for_copies();
    __syncthreads();
    decode(0);
  }
#pragma unroll 1
  for (int step = 0; step < num_steps; ++step) {
    // Shows copies and weights to all, and that what the next ones go over has been read.
    wait_for_copies();
    __syncthreads();
    const int next = step + 1;
    if (next < num_steps) loader.load_activations(activations(next), next, thread);
    if (Tile::kSmall ? step + 2 < num_steps : step % 4 == 0 && step + 4 < num_steps) {
      load_packed(step / Tile::kChunkSteps + (Tile::kSmall ? 2 : 1));
    }
    commit_copies();
    if (next < num_steps) decode(next);
    const uint32_t a_origin = activations(step).ldmatrix_address(lane) + warp_row * 128;
    const uint32_t b_origin = weights(step).ldmatrix_address_n_by_k(lane) + warp_column * 128;
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      FragmentA a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i].load(Tile::Activations::block_address(a_origin, i, depth));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        FragmentB b;
        b.load_n_by_k(Tile::Weights::block_address(b_origin, j, depth));
#pragma unroll
        for (int i = 0; i < 4; ++i) mma<bf16>(sums[i][2 * j], sums[i][2 * j + 1], a[i], b);
      }
    }
  }
  store_sums(params, sums, first_row + warp_row, first_column + warp_column, lane);
}

}  // namespace llm_kernels
