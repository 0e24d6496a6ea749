// Slabs: partial sums in f32 in global memory, in the order in which accumulators hold them.
//
// A slab of rows x d is a sequence of 16-row blocks, each a sequence of its 16x8 accumulators, each of which is the
// four floats of lane 0, of lane 1, ... So a warp moves an accumulator in one request of 512 adjacent bytes; what a
// thread stores it loads again itself, which needs no synchronisation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/chunk_store.cuh"
#include "common/ptx.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/staged_store.cuh"
#include "common/tensor.cuh"
#include "common/tf32.cuh"

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
  SequenceTensor out;         // [b, s, h, d], or [total, h, d].
  const float* slabs;         // [num_slabs, h, tiles] slab tiles of tile_rows x slab_d.
  int64_t slab_stride;        // In floats, from a slab to the next.
  const uint32_t* turns;      // [h, tiles]: what nobody has added to is 0 and not read. Null: all is there.
  Sequences sequences;
  int32_t b, h, d;            // d is a multiple of 8.
  int32_t slab_d;             // A multiple of 64, at least d.
  int32_t tiles;              // Tiles of all sequences, numbered by `first_tile`.
  int32_t tile_rows;
  int32_t num_slabs;
  float scale;
};

static_assert(sizeof(SlabSumParams) == 104 && offsetof(SlabSumParams, turns) == 48 && offsetof(SlabSumParams, b) == 72,
              "mirrored in Rust");

// out = scale * sum of slabs, in their order, rounded to T. Warp: 16 rows, 64 columns. Of f32 columns are in the order of
// `output_chunk`.
template <typename T>
__device__ __forceinline__ void sum_slabs(const SlabSumParams& params) {
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const unsigned panels = (params.d + 63) / 64;
  const unsigned row_blocks = (params.sequences.longest + 15) / 16;
  const int64_t unit = static_cast<int64_t>(ptx::block_index()) * 4 + thread / 32;
  const int panel = unit % panels;
  const unsigned block = unit / panels;
  const int row_first = block % row_blocks * 16;
  const int head = block / row_blocks % params.h;
  const int batch = block / row_blocks / params.h;
  if (batch >= params.b) return;
  const Sequence sequence = params.sequences.at(batch);
  if (row_first >= sequence.length) return;

  const int64_t tile = static_cast<int64_t>(head) * params.tiles +
                       first_tile(params.sequences, batch, params.tile_rows) + row_first / params.tile_rows;
  const bool exists = params.turns == nullptr || params.turns[tile] > 0;
  const float* slabs = params.slabs + slab_tile(tile, params.tile_rows, params.slab_d) +
                       slab_offset(row_first % params.tile_rows / 16, panel * 8, params.slab_d, lane);
  float sum[1][8][4] = {};
  for (int slab = 0; exists && slab < params.num_slabs; ++slab, slabs += params.slab_stride) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      // Columns past the last were not all written.
      if (panel * 64 + (kIsF32<T> ? j / 4 * 32 : j * 8) >= params.d) break;
      float values[1][1][4];
      load_slab<64>(values, slabs + j * 128, true);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[0][j][e] += values[0][0][e];
    }
  }

  T* rows = params.out.row<T>(batch, sequence.begin + row_first, head) + panel * 64;
  const int num_rows = sequence.length - row_first, num_columns = min(64, params.d - panel * 64);
  if constexpr (kIsF32<T>) {
    store_chunks(rows, params.out.sequence_stride, num_rows, params.scale, sum, num_columns);
  } else {
    __shared__ __align__(128) unsigned char staging[SharedTile<64, 64>::kBytes];
    const SharedTile<64, 64> staged{ptx::shared_address(staging)};
    store_staged(rows, params.out.sequence_stride, num_rows, params.scale, sum, staged, thread / 32 * 16, num_columns);
  }
}

}  // namespace llm_kernels
