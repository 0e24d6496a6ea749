// Products of packed matrices with many rows of activations in bf16: tiles, their copies, and weights made bf16.
#pragma once

#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/shared_tile.cuh"
#include "quant/gguf_group_weights.cuh"
#include "quant/gguf_matrix_params.cuh"
#include "quant/gguf_packed_columns.cuh"

namespace llm_kernels {

constexpr int kDenseRows = 256, kDenseColumns = 128, kDenseThreads = 256;
constexpr int kDenseUnitSteps = 4;                                                 // Steps of 64 of k.
constexpr int kDenseQuads = kDenseRows * kDenseColumns / 4 / kDenseThreads;        // float4 of a thread.

template <typename Format>
struct DenseTile {
  static constexpr int kThreads = kDenseThreads;
  static constexpr int kRows = kDenseRows;
  static constexpr int kColumns = kDenseColumns;
  static constexpr int kDepth = 64;  // Of a step.
  using Packed = PackedColumns<Format, kColumns, kThreads, 32>;

  using Activations = SharedTile<kRows, kDepth>;
  using Weights = SharedTile<kColumns, kDepth>;
  // Shared memory: two of each.
  static constexpr int kBytes = 2 * (Activations::kBytes + Weights::kBytes + Packed::kBytes);
};

template <typename Format>
struct DenseLoader {
  using Tile = DenseTile<Format>;
  const MatrixParams& params;
  int first_row, first_column, first_step, last_step;

  // Issues the copies number `first` to `last` - 1, of Tile::kRows / kPassRows, of a step's activations. Rows and columns that do not
  // exist are zeros; no branch: it stands between products.
  static constexpr int kPassRows = Tile::kThreads / 8;
  template <int kFirst, int kLast>
  __device__ __forceinline__ void load_activations(typename Tile::Activations tile, int step, unsigned thread) const {
    const int chunk = thread % 8, depth = step * Tile::kDepth + chunk * 8, row = first_row + static_cast<int>(thread / 8);
    const int64_t pass_bytes = kPassRows * 2 * params.x_stride;
    const char* from = params.x + (row * params.x_stride + depth) * 2 + kFirst * pass_bytes;
    const uint32_t to = tile.chunk_address(thread / 8, chunk);
    const int rows = step < last_step && depth < params.k ? params.m - row : 0;
#pragma unroll
    for (int pass = kFirst; pass < kLast; ++pass, from += pass_bytes) {
      ptx::cp_async_16_zero_fill(to + pass * kPassRows * 128, from, pass * kPassRows < rows ? 16 : 0);
    }
  }

  // Reads this thread's group of 32 weights of a step; one behind the end of a row is zeros.
  __device__ __forceinline__ GroupWeights<Format> read_group(const char* packed, int step, unsigned thread) const {
    const int column = thread % Tile::kColumns, group = step * 2 + thread / Tile::kColumns;
    const auto block = Tile::Packed::block(packed, params, first_column, column, group);
    return GroupWeights<Format>::read(block, Tile::Packed::group_of_block(group), group < params.k / 32);
  }

  // Dequantises a quarter of a group.
  __device__ __forceinline__ void dequantise(typename Tile::Weights to, const GroupWeights<Format>& from, int quarter,
                                             unsigned thread) const {
    uint32_t pairs[4];
#pragma unroll
    for (int word = 0; word < 2; ++word) {
      float values[4];
      from.dequantise(quarter * 2 + word, values);
      pairs[2 * word] = bf16::pack(values[0], values[1]), pairs[2 * word + 1] = bf16::pack(values[2], values[3]);
    }
    const int column = thread % Tile::kColumns, group = thread / Tile::kColumns;
    ptx::st_shared_16(to.chunk_address(column, group * 4 + quarter), {pairs[0], pairs[1], pairs[2], pairs[3]});
  }
};

}  // namespace llm_kernels
