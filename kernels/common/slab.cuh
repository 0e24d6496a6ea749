// Slabs: partial sums in f32 in global memory, in the order in which accumulators hold them.
//
// A slab of rows x d is a sequence of 16-row blocks, each a sequence of its 16x8 accumulators, each of which is the
// four floats of lane 0, of lane 1, ... So a warp moves an accumulator in one request of 512 adjacent bytes; what a
// thread stores it loads again itself, which needs no synchronisation.
#pragma once

#include <cstdint>

#include "common/mask.cuh"
#include "common/ptx.cuh"
#include "common/shared_tile.cuh"
#include "common/staged_store.cuh"
#include "common/tensor.cuh"

namespace llm_kernels {

// The offset, in floats, of the tile `tile` of `rows` rows each.
__device__ __forceinline__ int64_t slab_tile(int64_t tile, int rows, int d) { return tile * (rows * d); }

// The offset of this lane's four floats of the accumulator at row block `row_block`, column tile `column_tile`.
__device__ __forceinline__ int slab_offset(int row_block, int column_tile, int d, unsigned lane) {
  return (row_block * (d / 8) + column_tile) * 128 + lane * 4;
}

// Loads accumulators from `slab`, this lane's place of the first; zeros if there is nothing to load yet.
template <int kHeadDim, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void load_slab(float (&accumulators)[kRowTiles][kColumnTiles][4], const float* slab,
                                          bool exists) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      uint4 bits = {};
      if (exists) bits = ptx::ld_global_16(slab + slab_offset(i, j, kHeadDim, 0));
      accumulators[i][j][0] = __uint_as_float(bits.x);
      accumulators[i][j][1] = __uint_as_float(bits.y);
      accumulators[i][j][2] = __uint_as_float(bits.z);
      accumulators[i][j][3] = __uint_as_float(bits.w);
    }
  }
}

// Stores accumulators likewise.
template <int kHeadDim, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_slab(float* slab, const float (&accumulators)[kRowTiles][kColumnTiles][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
      const float(&values)[4] = accumulators[i][j];
      ptx::st_global_16(slab + slab_offset(i, j, kHeadDim, 0),
                        {__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                         __float_as_uint(values[3])});
    }
  }
}

// Mirrored in Rust: src/attention/flash_backward/.
struct SlabSumParams {
  SequenceTensor out;        // [b, s, h, d]
  const float* slabs;        // [num_slabs, b, h, num_row_blocks] blocks of 16 rows.
  int64_t slab_stride;       // In floats, from a slab to the next.
  int32_t s, h, d;           // d is a multiple of 64.
  int32_t num_row_blocks;    // At least ceil(s / 16).
  int32_t num_blocks;        // b * h * ceil(s / 16): what there is to do, times d / 64.
  int32_t num_slabs;
  int32_t rows_per_tile;     // 0: all slabs hold all rows. Else slab j % num_slabs holds the rows of a tile of so many
  int32_t keys_per_tile;     // queries if key tile j, of so many keys, sees one of them.
  int32_t s_k;
  int32_t window_left, window_right;
  float scale;
};

static_assert(sizeof(SlabSumParams) == 96, "mirrored in Rust");

// out = scale * sum of slabs, in their order, rounded to T. Warp: 16 rows, 64 columns.
template <typename T>
__device__ __forceinline__ void sum_slabs(const SlabSumParams& params) {
  __shared__ __align__(128) unsigned char staging[SharedTile<64, 64>::kBytes];
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const unsigned panels = params.d / 64;
  const unsigned row_blocks = (params.s + 15) / 16;
  const int64_t unit = static_cast<int64_t>(ptx::block_index()) * 4 + thread / 32;
  const unsigned block = unit / panels;
  if (block >= params.num_blocks) return;
  const int panel = unit % panels;
  const int row_block = block % row_blocks;
  const int head_of_all = block / row_blocks;
  const int row_first = row_block * 16;

  int first = 0, last = params.num_slabs - 1;
  if (params.rows_per_tile > 0) {
    const KeyMask mask(params.s, params.s_k, params.window_left, params.window_right);
    const int query_first = row_first / params.rows_per_tile * params.rows_per_tile;
    const int query_last = min(query_first + params.rows_per_tile, params.s) - 1;
    first = mask.begin(query_first) / params.keys_per_tile;
    last = (mask.end(query_last) + params.keys_per_tile - 1) / params.keys_per_tile - 1;
    // Each slab once.
    last = min(last, first + params.num_slabs - 1);
  }
  const float* slabs = params.slabs + slab_tile(static_cast<int64_t>(head_of_all) * params.num_row_blocks + row_block,
                                               16, params.d) + slab_offset(0, panel * 8, params.d, lane);
  float sum[1][8][4] = {};
  for (int tile = first; tile <= last; ++tile) {
    float values[1][8][4];
    load_slab<64>(values, slabs + tile % params.num_slabs * params.slab_stride, true);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[0][j][e] += values[0][j][e];
    }
  }

  const SharedTile<64, 64> tile{ptx::shared_address(staging)};
  T* rows = params.out.row<T>(head_of_all / params.h, row_first, head_of_all % params.h) + panel * 64;
  store_staged(rows, params.out.sequence_stride, params.s - row_first, params.scale, sum, tile, thread / 32 * 16);
}

}  // namespace llm_kernels
