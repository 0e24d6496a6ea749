// Products of packed matrices with many rows of activations in bf16. See src/quant/gguf/README.md.
//
// A tile is kRows x kColumns of y, computed in steps of 64 of k. Thread t dequantises a group of 32 weights of column t % 128, so
// that lanes of a warp decode alike; weights of the next step are dequantised and copies of it issued between the products of this one.
// Rows of w start at whole words.
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
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
  // Addresses in the first of two tiles, kept: found out anew they would stand before the products of each step.
  const typename Tile::Activations first_activations{base};
  const typename Tile::Weights first_weights{base + 2 * Tile::Activations::kBytes};
  const uint32_t origin_rows = ptx::opaque(static_cast<int>(first_activations.ldmatrix_address(lane) + warp_row * 128));
  const uint32_t origin_columns = ptx::opaque(static_cast<int>(first_weights.ldmatrix_address_n_by_k(lane) + warp_column * 128));
  auto activations = [&](int step) { return typename Tile::Activations{base + step % 2 * Tile::Activations::kBytes}; };
  auto weights = [&](int step) {
    return typename Tile::Weights{first_weights.base + step % 2 * Tile::Weights::kBytes};
  };
  auto packed = [&](int chunk) {
    return shared + 2 * (Tile::Activations::kBytes + Tile::Weights::kBytes) + chunk % 2 * Tile::Packed::kBytes;
  };
  // What is packed comes a step's part at a time, a chunk ahead or two.
  constexpr int kParts = Tile::Packed::kChunkSteps;
  auto load_packed = [&](int step) {
    const int chunk = step / kParts;
    Tile::Packed::template load_words<kParts, true>(ptx::shared_address(packed(chunk)), loader.params, loader.first_column, chunk,
                                              step % kParts, chunk * kParts < loader.last_step, thread);
  };
  auto read_group = [&](int step) { return loader.read_group(packed(step / Tile::Packed::kChunkSteps), step, thread); };
  auto load_rows = [&](FragmentA(&a)[4], int step, int depth) {
    const uint32_t origin = origin_rows + step % 2 * Tile::Activations::kBytes;
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i].load(Tile::Activations::block_address(origin, i, depth));
  };
  auto load_columns = [&](FragmentB& b, int step, int depth, int j) {
    const uint32_t origin = origin_columns + step % 2 * Tile::Weights::kBytes;
    b.load_n_by_k(Tile::Weights::block_address(origin, j, depth));
  };
  auto multiply = [&](int j, const FragmentA(&a)[4], const FragmentB& b) {
#pragma unroll
    for (int i = 0; i < 4; ++i) mma<bf16>(sums[i][2 * j], sums[i][2 * j + 1], a[i], b);
  };

  FragmentA a[2][4];  // Of this depth and of the next.
  FragmentB b[2];     // Of these columns and of the next.
  const int first = loader.first_step, last = loader.last_step;
  // Behind the last step what is there is dequantised again, for nobody: no branches among the products.
  auto read_next_group = [&](int step) { return read_group(min(step, last - 1)); };
  // The last part's loads are over.
  __syncthreads();
#pragma unroll
  for (int part = 0; part < kParts; ++part) load_packed(first + part);
  loader.template load_activations<0, 8>(activations(first), first);
  commit_copies();
  wait_for_copies();
  __syncthreads();
  load_packed(first + kParts);
  commit_copies();
  auto group = read_group(first);
#pragma unroll
  for (int quarter = 0; quarter < 4; ++quarter) loader.dequantise(weights(first), group, quarter);
  wait_for_copies();
  __syncthreads();
  group = read_next_group(first + 1);
  load_rows(a[0], first, 0);
  load_columns(b[0], first, 0, 0);
  load_columns(b[1], first, 0, 1);
#pragma unroll 1
  for (int step = first; step < last; ++step) {
    const int next = step + 1;
    // The last products of a step are made behind the barrier, from registers: they cover it and the first loads of the next.
    FragmentB late[4];
#pragma unroll
    for (int site = 0; site < 12; ++site) {
      const int depth = site / 4, j = site % 4;
      if (site == 11) {
#pragma unroll
        for (int late_j = 0; late_j < 4; ++late_j) load_columns(late[late_j], step, 3, late_j);
      }
      multiply(j, a[depth % 2], b[site % 2]);
      // Behind them: a loop that begins with loads would keep tensor cores waiting.
      if (site < 10) load_columns(b[site % 2], step, (site + 2) / 4, (site + 2) % 4);
      if (j == 0) load_rows(a[(depth + 1) % 2], step, depth + 1);
      if (site == 1) loader.template load_activations<0, 2>(activations(next), next);
      if (site == 2) loader.template load_activations<2, 4>(activations(next), next);
      if (site == 3) loader.template load_activations<4, 5>(activations(next), next);
      if (site == 5) loader.template load_activations<5, 6>(activations(next), next);
      if (site == 6) loader.template load_activations<6, 7>(activations(next), next);
      if (site == 7) loader.template load_activations<7, 8>(activations(next), next);
      if (site == 4) load_packed(next + kParts);
      if (site % 2 == 1 && site > 1 && site < 11) loader.dequantise(weights(next), group, site / 2 - 1);
    }
    // Shows copies and weights to all, and that what the next ones go over has been read.
    commit_copies();
    wait_for_copies();
    __syncthreads();
    load_rows(a[0], next, 0);  // Behind the last step zeros.
    load_columns(b[0], next, 0, 0);
    load_columns(b[1], next, 0, 1);
    multiply(0, a[1], late[0]);
    group = read_next_group(step + 2);
    multiply(1, a[1], late[1]);
    multiply(2, a[1], late[2]);
    multiply(3, a[1], late[3]);
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
      multiply_steps<Format>(sums, {params, first_row, first_column, share, thread}, shared);
    }
    if (share.partial < 0) {
      store_sums(params, sums, first_row + warp / 2 * 64, first_column + warp % 2 * 64, lane);
    } else {
      store_partial_sums<kDenseQuads, kDenseThreads>(params.partial_sums, sums, share.partial);
    }
  }
}

// Adds up the sums of shared tiles, in the order of k. Block: 2 quads of each thread of a tile; a tile has 16 blocks.
__device__ __forceinline__ void add_dense_tiles(const MatrixParams& params) {
  const int thread = ptx::thread_index(), tile = ptx::block_index() / 16, quad = ptx::block_index() % 16 * 2;
  float sums[1][2][4] = {};
  if (!add_partial_sums<kDenseQuads, kDenseThreads>(sums, params.shares, params.partial_sums, tile, quad)) return;
  const int number = params.shares.whole_tiles + tile, column_tile = number / params.row_tiles;
  const int row_tile = number - column_tile * params.row_tiles, warp = thread / 32;
  store_sums(params, sums, row_tile * kDenseRows + warp / 2 * 64 + quad / 8 * 16,
             column_tile * kDenseColumns + warp % 2 * 64 + quad % 8 * 8, thread % 32);
}

}  // namespace llm_kernels
