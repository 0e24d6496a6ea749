// Products of packed matrices with many rows of activations in bf16. See src/quant/gguf/README.md.
//
// A tile is kRows x kColumns of y, computed in steps of 64 of k. Thread t dequantises a group of 32 weights of column t % 128, so
// that lanes of a warp decode alike; weights of the next step are dequantised and copies of it issued between the products of this one.
// Tiles that would leave multiprocessors idle are shared: each block computes a run of units of them, and a second kernel adds up.
#pragma once

#include "quant/gguf_dense_load.cuh"

namespace llm_kernels {

// Adds the products of steps first_step to last_step - 1 of a tile to this warp's sums, of 64 rows and 64 columns.
template <typename Format>
__device__ __forceinline__ void multiply_steps(float (&sums)[4][8][4], const DenseLoader<Format>& loader, char* shared) {
  using Tile = DenseTile<Format>;
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const uint32_t base = ptx::shared_address(shared);
  auto activations = [&](int step) { return typename Tile::Activations{base + step % 2 * Tile::Activations::kBytes}; };
  auto weights = [&](int step) {
    return typename Tile::Weights{base + 2 * Tile::Activations::kBytes + step % 2 * Tile::Weights::kBytes};
  };
  auto packed = [&](int chunk) {
    return shared + 2 * (Tile::Activations::kBytes + Tile::Weights::kBytes) + chunk % 2 * Tile::Packed::kBytes;
  };
  auto load_packed = [&](int chunk) {
    Tile::Packed::load(ptx::shared_address(packed(chunk)), loader.params, loader.first_column, chunk, thread);
  };
  auto read_group = [&](int step) { return loader.read_group(packed(step / Tile::Packed::kChunkSteps), step, thread); };
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
  auto load_rows = [&](FragmentA(&a)[4], int step, int depth) {
    const uint32_t origin = activations(step).ldmatrix_address(lane) + warp_row * 128;
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i].load(Tile::Activations::block_address(origin, i, depth));
  };
  auto load_columns = [&](FragmentB& b, int step, int depth, int j) {
    const uint32_t origin = weights(step).ldmatrix_address_n_by_k(lane) + warp_column * 128;
    b.load_n_by_k(Tile::Weights::block_address(origin, j, depth));
  };
  auto multiply = [&](int j, const FragmentA(&a)[4], const FragmentB& b) {
#pragma unroll
    for (int i = 0; i < 4; ++i) mma<bf16>(sums[i][2 * j], sums[i][2 * j + 1], a[i], b);
  };

  FragmentA a[2][4];  // Of this depth and of the next.
  const int first = loader.first_step, last = loader.last_step;
  // The last part's loads are over.
  __syncthreads();
  load_packed(first / Tile::Packed::kChunkSteps);
  loader.template load_activations<0, 8>(activations(first), first, thread);
  commit_copies();
  wait_for_copies();
  __syncthreads();
  if (Tile::Packed::kSmall && first + 1 < last) load_packed(first + 1);
  loader.template load_activations<0, 4>(activations(first + 1), first + 1, thread);
  commit_copies();
  {
    const auto group = read_group(first);
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) loader.dequantise(weights(first), group, quarter, thread);
  }
  wait_for_copies();
  __syncthreads();
  if (Tile::Packed::kSmall && first + 2 < last) load_packed(first + 2);
  load_rows(a[0], first, 0);
#pragma unroll 1
  for (int step = first; step < last; ++step) {
    const int next = step + 1;
    // Behind the last step what is there is dequantised again, for nobody: no branches among the products.
    const auto group = read_group(min(next, last - 1));
#pragma unroll
    for (int depth = 0; depth < 3; ++depth) {
      load_rows(a[(depth + 1) % 2], step, depth + 1);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        FragmentB b;
        load_columns(b, step, depth, j);
        multiply(j, a[depth % 2], b);
        const int site = depth * 4 + j;
        if (site == 1) loader.template load_activations<4, 6>(activations(next), next, thread);
        if (site == 3) loader.template load_activations<6, 8>(activations(next), next, thread);
        if (site % 3 == 1) loader.dequantise(weights(next), group, site / 3, thread);
      }
    }
    // The last products of a step are made behind the barrier, from registers: they cover it and the first loads of the next.
    FragmentB b[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) load_columns(b[j], step, 3, j);
    // Shows copies and weights to all, and that what the next ones go over has been read.
    commit_copies();
    wait_for_copies();
    __syncthreads();
    load_rows(a[0], next, 0);  // Behind the last step zeros.
    multiply(0, a[1], b[0]);
    loader.template load_activations<0, 2>(activations(step), step + 2, thread);
    multiply(1, a[1], b[1]);
    loader.template load_activations<2, 4>(activations(step), step + 2, thread);
    multiply(2, a[1], b[2]);
    multiply(3, a[1], b[3]);
    if (Tile::Packed::kSmall ? step + 3 < last : step % 4 == 0 && step + 4 < last) {
      load_packed(step / Tile::Packed::kChunkSteps + (Tile::Packed::kSmall ? 3 : 1));
    }
  }
  // No copy is in flight, of zeros either, when the memory is used again or given back.
  commit_copies();
  wait_for_copies();
}

template <typename Format>
__device__ __forceinline__ void multiply_dense(const MatrixParams& params) {
  using Tile = DenseTile<Format>;
  extern __shared__ __align__(128) char shared[];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const ShareWalk<kDenseUnitSteps> walk{params.shares, (params.k + 63) / 64};
#pragma unroll 1
  for (int position = walk.first(); walk.exists(position); position = walk.next(position)) {
    const Share share = walk.share(position);
    const int column_tile = share.tile / params.row_tiles;
    const int first_row = (share.tile - column_tile * params.row_tiles) * Tile::kRows;
    const int first_column = column_tile * Tile::kColumns;
    float sums[4][8][4] = {};
    if (params.k > 0) {
      multiply_steps<Format>(sums, {params, first_row, first_column, share.first_step, share.last_step}, shared);
    }
    if (share.partial < 0) {
      store_sums(params, sums, first_row + warp / 2 * 64, first_column + warp % 2 * 64, lane);
    } else {
      store_partial_sums<kDenseQuads, kDenseThreads>(params.partial_sums, sums, share.partial);
    }
  }
}

// Adds up the sums of shared tiles, in the order of k. Block: a row of 8 quads of a tile; a tile has 4 blocks.
__device__ __forceinline__ void add_dense_tiles(const MatrixParams& params) {
  const int thread = ptx::thread_index(), tile = ptx::block_index() / 4, i = ptx::block_index() % 4;
  float sums[1][8][4] = {};
  if (!add_partial_sums<kDenseQuads, kDenseThreads>(sums, params.shares, params.partial_sums, tile, i * 8)) return;
  const int number = params.shares.whole_tiles + tile, column_tile = number / params.row_tiles;
  const int row_tile = number - column_tile * params.row_tiles, warp = thread / 32;
  store_sums(params, sums, row_tile * kDenseRows + warp / 2 * 64 + i * 16, column_tile * kDenseColumns + warp % 2 * 64,
             thread % 32);
}

}  // namespace llm_kernels
