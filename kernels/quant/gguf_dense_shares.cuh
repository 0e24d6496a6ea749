// Which parts of which tiles a block of the bf16 kernel computes, and sums of tiles that several blocks share.
// Mirrored in Rust: src/quant/gguf/shares.rs.
//
//   tiles  0 .. whole_tiles - 1: block b computes b, b + blocks, ..
//   the shared_tiles behind them are one row of units, of 256 of k, in which block b has the run
//   units * b / blocks .. units * (b + 1) / blocks: an end of one tile, whole tiles, and a beginning of another.
#pragma once

#include "quant/gguf_matrix_params.cuh"

namespace llm_kernels {

constexpr int kDenseRows = 256, kDenseColumns = 128, kDenseThreads = 256;
constexpr int kUnitSteps = 4;                                                      // Steps of 64 of k.
constexpr int kTileQuads = kDenseRows * kDenseColumns / 4 / kDenseThreads;         // float4 of a thread.

struct DenseShare {
  int tile;  // -1: none.
  int first_step, last_step;
  int partial;  // Where its sums go: -1: to y; else the number of a tile of partial_sums.
  int next_unit;
  __device__ __forceinline__ bool exists() const { return tile >= 0; }
};

// The first unit of a block's run.
__device__ __forceinline__ int first_unit(const MatrixParams& params, int block, int blocks) {
  return static_cast<int>(static_cast<int64_t>(params.shared_tiles) * params.tile_units * block / blocks);
}

// The share of shared tiles that starts at a unit.
__device__ __forceinline__ DenseShare shared_share(const MatrixParams& params, int unit) {
  const int block = ptx::block_index(), blocks = params.multiplying_blocks;
  const int begin = first_unit(params, block, blocks), end = first_unit(params, block + 1, blocks);
  if (unit >= end) return {-1, 0, 0, -1, unit};
  const int tile = unit / params.tile_units, first = unit - tile * params.tile_units;
  const int count = min(end - unit, params.tile_units - first);
  const int steps = (params.k + 63) / 64;
  const int partial = count == params.tile_units ? -1 : 2 * block + (unit == begin ? 0 : 1);
  return {params.whole_tiles + tile, first * kUnitSteps, min((first + count) * kUnitSteps, steps), partial, unit + count};
}

__device__ __forceinline__ DenseShare whole_share(const MatrixParams& params, int tile) {
  if (tile < params.whole_tiles) return {tile, 0, (params.k + 63) / 64, -1, -1};
  return shared_share(params, first_unit(params, ptx::block_index(), params.multiplying_blocks));
}

__device__ __forceinline__ DenseShare first_share(const MatrixParams& params) {
  return whole_share(params, ptx::block_index());
}

__device__ __forceinline__ DenseShare next_share(const MatrixParams& params, const DenseShare& share) {
  if (share.next_unit >= 0) return shared_share(params, share.next_unit);
  return whole_share(params, share.tile + params.multiplying_blocks);
}

// A thread's sums as they lie in its registers: [quad][thread].
__device__ __forceinline__ void store_partial_sums(const MatrixParams& params, const float (&sums)[4][8][4], int partial) {
  float4* to = params.partial_sums + static_cast<int64_t>(partial) * kTileQuads * kDenseThreads + ptx::thread_index();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float(&sum)[4] = sums[i][j];
      to[(i * 8 + j) * kDenseThreads] = {sum[0], sum[1], sum[2], sum[3]};
    }
  }
}

// Adds up the sums of shared tiles, in the order of k. Block: a row of 8 quads of a tile; a tile has 4 blocks.
__device__ __forceinline__ void add_partial_sums(const MatrixParams& params) {
  const int thread = ptx::thread_index(), tile = ptx::block_index() / 4, i = ptx::block_index() % 4;
  const int64_t units = static_cast<int64_t>(params.shared_tiles) * params.tile_units;
  const int begin = tile * params.tile_units, end = begin + params.tile_units;
  auto block_of = [&](int unit) {
    return static_cast<int>((static_cast<int64_t>(unit + 1) * params.multiplying_blocks - 1) / units);
  };
  const int first_block = block_of(begin), last_block = block_of(end - 1);
  if (first_block == last_block) return;  // It has stored the tile.
  float sums[1][8][4] = {};
#pragma unroll 1
  for (int block = first_block; block <= last_block; ++block) {
    const int partial = 2 * block + (first_unit(params, block, params.multiplying_blocks) >= begin ? 0 : 1);
    const float4* from = params.partial_sums + (static_cast<int64_t>(partial) * kTileQuads + i * 8) * kDenseThreads + thread;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float4 sum = from[j * kDenseThreads];
      sums[0][j][0] += sum.x, sums[0][j][1] += sum.y, sums[0][j][2] += sum.z, sums[0][j][3] += sum.w;
    }
  }
  const int column_tile = (params.whole_tiles + tile) / params.row_tiles;
  const int row_tile = params.whole_tiles + tile - column_tile * params.row_tiles;
  const int warp = thread / 32;
  store_sums(params, sums, row_tile * kDenseRows + warp / 2 * 64 + i * 16, column_tile * kDenseColumns + warp % 2 * 64,
             thread % 32);
}

}  // namespace llm_kernels
