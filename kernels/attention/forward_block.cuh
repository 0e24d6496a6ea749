// A block of rows of attention forward: its parameters, its tiles, which rows it has, and how it writes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/mask.cuh"
#include "common/score.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/softmax.cuh"
#include "common/tensor.cuh"
#include "common/tf32.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_forward/.
struct FlashForwardParams {
  SequenceTensor q, k, v, out;
  RowTensor lse;
  const float* sinks;       // [h_q]; null: none.
  Sequences queries, keys;  // At most 2^29 positions.
  ScoreParams score;
  int32_t h_q, h_kv;        // h_q is a multiple of h_kv.
  int32_t d, d_v;           // Multiples of 8.
  int32_t num_row_tiles;    // ceil(longest sequence of queries * pack / kBlockM).
  int32_t pack;             // Heads whose rows share a tile: 1 or h_q / h_kv.
  int32_t window_left;      // -1: no limit; else at most 2^29.
  int32_t window_right;     // Likewise; 0 when causal.
};

static_assert(sizeof(FlashForwardParams) == 336 && offsetof(FlashForwardParams, sinks) == 152 &&
                  offsetof(FlashForwardParams, score) == 192 && offsetof(FlashForwardParams, h_q) == 304,
              "mirrored in Rust");

template <typename T_, int kHeadDim_, int kHeadDimV_, int kBlockM_, int kBlockN_, int kWarps_, bool kFeatures_>
struct FlashForwardTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kHeadDimV = kHeadDimV_;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr bool kFeatures = kFeatures_;
  static constexpr int kThreads = kWarps_ * 32;
  static constexpr int kRowTiles = kBlockM / (kWarps_ * 16);
  static_assert(kRowTiles * kWarps_ * 16 == kBlockM, "whole row tiles in every warp");
  static_assert(kHeadDimV <= kHeadDim, "the output is staged where q was");

  // First row in the tile of the warp of `thread`.
  static __device__ __forceinline__ int warp_row(unsigned thread) { return thread / 32 * (kRowTiles * 16); }

  static constexpr int kWidth = sizeof(T) / 2;
  using QTile = SharedTile<kBlockM, kHeadDim * kWidth>;
  using KTile = SharedTile<kBlockN, kHeadDim * kWidth>;
  using VTile = SharedTile<kBlockN, kHeadDimV * kWidth>;
  using OutTile = SharedTile<kBlockM, kHeadDimV * kWidth>;
  // The tiles, and the mask of the block.
  static constexpr int kSharedBytes = QTile::kBytes + KTile::kBytes + VTile::kBytes + KeyMask::kStoredBytes;
};

// What a block works on: row r of its tile is query (first + r) / pack of head head + (first + r) % pack. Blocks next to
// each other share k and v: the query heads of one kv head first, then the tiles of rows, from last to first since under
// a causal mask the last is the longest, then kv heads, then batches.
template <typename Traits>
struct BlockRows {
  int batch, head, kv_head, first, pack;

  __device__ __forceinline__ explicit BlockRows(const FlashForwardParams& params) {
    // A constant for the plain instances.
    pack = Traits::kFeatures ? params.pack : 1;
    const unsigned heads_a_group = params.h_q / params.h_kv;
    const unsigned tiles_a_group = heads_a_group / pack;
    unsigned rest = ptx::block_index();
    const unsigned tile_in_group = rest % tiles_a_group;
    rest /= tiles_a_group;
    first = (params.num_row_tiles - 1 - rest % params.num_row_tiles) * Traits::kBlockM;
    rest /= params.num_row_tiles;
    kv_head = rest % params.h_kv;
    batch = rest / params.h_kv;
    head = kv_head * heads_a_group + tile_in_group * pack;
  }

  __device__ __forceinline__ int query_of(int row) const { return (first + row) / static_cast<unsigned>(pack); }
  __device__ __forceinline__ int head_of(int row) const { return head + (first + row) % static_cast<unsigned>(pack); }
};

// Flips the signs of the q elements that this thread has copied: a negative scale becomes a positive one.
template <typename Traits>
__device__ __forceinline__ void negate_own_copies(typename Traits::QTile tile, uint32_t first_chunk) {
#pragma unroll 1
  for (int offset = 0; offset < Traits::QTile::kBytes; offset += Traits::kThreads * 16) {
    uint4 x = ptx::ld_shared_16(first_chunk + offset);
    x.x ^= 0x80008000u, x.y ^= 0x80008000u, x.z ^= 0x80008000u, x.w ^= 0x80008000u;
    ptx::st_shared_16(first_chunk + offset, x);
  }
}

// Writes this warp's rows of the output and of lse. They are staged in `tile`, in rows no other warp touches, so that
// whole 128-byte segments go out in 16-byte stores.
template <typename Traits, int kOutputTiles>
__device__ __forceinline__ void store_output(const FlashForwardParams& params,
                                             const float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                             OnlineSoftmax<Traits::kRowTiles>& softmax, typename Traits::OutTile tile) {
  using T = typename Traits::T;
  const BlockRows<Traits> block(params);
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const int warp_row = Traits::warp_row(thread);
  const Sequence sequence = params.queries.at(block.batch);
  const int num_rows = sequence.length * block.pack;
  const bool features = Traits::kFeatures;
  softmax.finish();
#pragma unroll
  for (int i = 0; i < Traits::kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + i * 16 + h * 8 + lane / 4;
      const bool exists = block.first + row < num_rows;
      const int head = block.head_of(row);
      // A row that saw no key is 0, also where a non-finite v has met its zero powers.
      const bool empty = softmax.sum[i][h] == 0.0f;
      float factor = features ? params.score.dropout_scale : 1.0f;
      if (params.sinks != nullptr && exists) factor *= softmax.add_sink(i, h, params.sinks[head] * kLog2E);
      factor *= softmax.inverse_sum(i, h);
      const auto value = [&](int j, int e) { return empty ? 0.0f : output[i][j][2 * h + e] * factor; };
      if constexpr (kIsF32<T>) {
        // Nothing to put in order first: see output_chunk.
        T* out = params.out.row<T>(block.batch, sequence.begin + block.query_of(row), head);
#pragma unroll
        for (int j = 0; j < kOutputTiles; j += 4) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int column = j * 8 + output_chunk(lane % 4 * 2 + e) * 4;
            const float chunk[4] = {value(j, e), value(j + 1, e), value(j + 2, e), value(j + 3, e)};
            if (exists && column < params.d_v) store(out + column, chunk);
          }
        }
      } else {
#pragma unroll
        for (int j = 0; j < kOutputTiles; ++j) {
          const uint32_t address =
              tile.chunk_address(row, j % 8) + (j / 8) * Traits::OutTile::kPanelBytes + (lane % 4) * 4;
          ptx::st_shared_4(address, T::pack(value(j, 0), value(j, 1)));
        }
      }
      if (params.lse.data != nullptr && lane % 4 == 0 && exists) {
        params.lse.at(block.batch, head, sequence.begin + block.query_of(row)) = softmax.log_sum_exp(i, h);
      }
    }
  }
  if constexpr (kIsF32<T>) return;
  __syncwarp();
  // 8 lanes write the 128 bytes of one row of a panel, 4 rows at a time.
#pragma unroll
  for (int step = 0; step < Traits::kRowTiles * 4; ++step) {
    const int row = warp_row + step * 4 + lane / 8;
    if (block.first + row < num_rows) {
      const int column = lane % 8 * 8;
      T* out = params.out.row<T>(block.batch, sequence.begin + block.query_of(row), block.head_of(row)) + column;
#pragma unroll
      for (int panel = 0; panel < Traits::OutTile::kPanels; ++panel) {
        if (features && panel * 64 + column >= params.d_v) break;
        const uint4 chunk = ptx::ld_shared_16(tile.chunk_address(row, lane % 8) + panel * Traits::OutTile::kPanelBytes);
        ptx::st_global_16(out + panel * 64, chunk);
      }
    }
  }
}

}  // namespace llm_kernels
