// Which parts of which tiles of a result a block computes, and sums of tiles that several blocks share (stream-K).
// Mirrored in Rust: src/quant/shares.rs.
//
//   tiles  0 .. whole_tiles - 1: block b computes b, b + blocks, ..
//   the shared_tiles behind them are one row of units, of kUnitSteps steps along k, in which block b has the run
//   units * b / blocks .. units * (b + 1) / blocks: an end of one tile, whole tiles, and a beginning of another; or none.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

struct Shares {
  int32_t whole_tiles, shared_tiles;
  int32_t tile_units;  // Of a tile.
  int32_t blocks;      // Of the launch.

  // The first unit of a block's run.
  __device__ __forceinline__ int first_unit(int block) const {
    return static_cast<int>(static_cast<int64_t>(shared_tiles) * tile_units * block / blocks);
  }
};

struct Share {
  int tile;
  int first_step, last_step;
  int partial;  // Where its sums go: -1: to the result; else the number of a tile of partial sums.
};

// This block's shares, of tiles of `steps` steps. Where it is is one number: a whole tile's, or whole_tiles plus a unit's.
template <int kUnitSteps>
struct ShareWalk {
  const Shares& shares;
  int steps;

  __device__ __forceinline__ int first() const {
    const int block = ptx::block_index();
    return block < shares.whole_tiles ? block : shares.whole_tiles + shares.first_unit(block);
  }

  __device__ __forceinline__ bool exists(int position) const {
    return position < shares.whole_tiles + shares.first_unit(ptx::block_index() + 1);
  }

  __device__ __forceinline__ int next(int position) const {
    const int block = ptx::block_index();
    if (position >= shares.whole_tiles) {
      const int unit = position - shares.whole_tiles, first = unit % shares.tile_units;
      return position + min(shares.first_unit(block + 1) - unit, shares.tile_units - first);
    }
    const int tile = position + shares.blocks;
    return tile < shares.whole_tiles ? tile : shares.whole_tiles + shares.first_unit(block);
  }

  __device__ __forceinline__ Share share(int position) const {
    if (position < shares.whole_tiles) return {position, 0, steps, -1};
    const int block = ptx::block_index(), unit = position - shares.whole_tiles;
    const int begin = shares.first_unit(block), end = shares.first_unit(block + 1);
    const int tile = unit / shares.tile_units, first = unit - tile * shares.tile_units;
    const int count = min(end - unit, shares.tile_units - first);
    const int partial = count == shares.tile_units ? -1 : 2 * block + (unit == begin ? 0 : 1);
    return {shares.whole_tiles + tile, first * kUnitSteps, min((first + count) * kUnitSteps, steps), partial};
  }
};

// A thread's sums as they lie in its registers: [quad][thread], kTileQuads of each of a tile.
template <int kTileQuads, int kThreads, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_partial_sums(float4* partial_sums, const float (&sums)[kRowTiles][kColumnTiles][4],
                                                   int partial) {
  static_assert(kRowTiles * kColumnTiles == kTileQuads, "all of a thread's");
  float4* to = partial_sums + static_cast<int64_t>(partial) * kTileQuads * kThreads + ptx::thread_index();
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const float(&sum)[4] = sums[i][j];
      to[(i * kColumnTiles + j) * kThreads] = {sum[0], sum[1], sum[2], sum[3]};
    }
  }
}

// Adds up kQuads quads, from `first_quad` on, of what blocks have left of shared tile `tile`, in the order of k. False: one
// block has computed it and stored the result.
template <int kTileQuads, int kThreads, int kQuads>
__device__ __forceinline__ bool add_partial_sums(float (&sums)[1][kQuads][4], const Shares& shares, const float4* partial_sums,
                                                 int tile, int first_quad) {
  const int64_t units = static_cast<int64_t>(shares.shared_tiles) * shares.tile_units;
  const int begin = tile * shares.tile_units, end = begin + shares.tile_units;
  auto block_of = [&](int unit) { return static_cast<int>((static_cast<int64_t>(unit + 1) * shares.blocks - 1) / units); };
  const int first_block = block_of(begin), last_block = block_of(end - 1);
  if (first_block == last_block) return false;
#pragma unroll kQuads > 4 ? 1 : 4
  for (int block = first_block; block <= last_block; ++block) {
    if (shares.first_unit(block) == shares.first_unit(block + 1)) continue;
    const int partial = 2 * block + (shares.first_unit(block) >= begin ? 0 : 1);
    const int64_t first = (static_cast<int64_t>(partial) * kTileQuads + first_quad) * kThreads;
    const float4* from = partial_sums + first + ptx::thread_index();
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
      const float4 sum = from[j * kThreads];
      sums[0][j][0] += sum.x, sums[0][j][1] += sum.y, sums[0][j][2] += sum.z, sums[0][j][3] += sum.w;
    }
  }
  return true;
}

}  // namespace llm_kernels
