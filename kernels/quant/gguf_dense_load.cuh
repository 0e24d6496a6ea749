// Products of packed matrices with many rows of activations in bf16: tiles, their copies, and weights made bf16.
#pragma once

#include "common/mma.cuh"
#include "common/ptx/opaque.cuh"
#include "common/pipeline.cuh"
#include "common/ptx/register.cuh"
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

// What a thread copies, reads and dequantises of a tile. Its addresses are kept in registers: found out anew they would stand before
// the products of each step.
template <typename Format>
struct DenseLoader {
  using Tile = DenseTile<Format>;
  static constexpr int kPassRows = Tile::kThreads / 8;
  const MatrixParams& params;
  int first_column, first_step, last_step;
  // Its first chunk of 8 activations; how many rows and columns of x there are from it on; where it goes in a tile of them.
  const char* from;
  int rows, depths;
  uint32_t chunk_at;
  // Its column of packed weights, in bytes of a chunk of them; where the first 8 weights that it dequantises go in a tile.
  int column_at;
  uint32_t weights_at;

  __device__ __forceinline__ DenseLoader(const MatrixParams& params, int first_row, int first_column, const Share& share,
                                         unsigned thread)
      : params(params), first_column(first_column), first_step(share.first_step), last_step(share.last_step) {
    const int row = first_row + static_cast<int>(thread / 8), chunk = thread % 8;
    const unsigned column = thread % Tile::kColumns, group = thread / Tile::kColumns;
    from = ptx::opaque(params.x + (row * params.x_stride + chunk * 8) * 2);
    rows = ptx::opaque(params.m - row), depths = ptx::opaque(params.k - chunk * 8);
    chunk_at = ptx::opaque(static_cast<int>(typename Tile::Activations{0}.chunk_address(thread / 8, chunk)));
    column_at = ptx::opaque(static_cast<int>(column) * Tile::Packed::kPitch * 4);
    weights_at = ptx::opaque(static_cast<int>(typename Tile::Weights{0}.chunk_address(column, group * 4)));
  }

  // Issues the copies number kFirst to kLast - 1, of Tile::kRows / kPassRows, of a step's activations. Rows and columns that do not
  // exist are zeros; no branch: it stands between products.
  template <int kFirst, int kLast>
  __device__ __forceinline__ void load_activations(typename Tile::Activations tile, int step) const {
    const int64_t pass_bytes = kPassRows * 2 * params.x_stride;
    const char* pass_from = from + step * (Tile::kDepth * 2) + kFirst * pass_bytes;
    const int exist = step < last_step && step * Tile::kDepth < depths ? rows : 0;
#pragma unroll
    for (int pass = kFirst; pass < kLast; ++pass, pass_from += pass_bytes) {
      ptx::cp_async_16_zero_fill(tile.base + chunk_at + pass * kPassRows * 128, pass_from, pass * kPassRows < exist ? 16 : 0);
    }
  }

  // Reads this thread's group of 32 weights of a step; one behind the end of a row is zeros.
  __device__ __forceinline__ GroupWeights<Format> read_group(const char* packed, int step, unsigned thread) const {
    const int column = thread % Tile::kColumns, group = step * 2 + thread / Tile::kColumns;
    const auto block = Tile::Packed::block(packed + column_at, params, first_column + column, group);
    return GroupWeights<Format>::read(block, Tile::Packed::group_of_block(group), group < params.k / 32);
  }

  // Dequantises a quarter of a group.
  __device__ __forceinline__ void dequantise(typename Tile::Weights to, const GroupWeights<Format>& group, int quarter) const {
    uint32_t pairs[4];
#pragma unroll
    for (int word = 0; word < 2; ++word) {
      float values[4];
      group.dequantise(quarter * 2 + word, values);
      pairs[2 * word] = bf16::pack(values[0], values[1]), pairs[2 * word + 1] = bf16::pack(values[2], values[3]);
    }
    // A chunk further on, as the swizzle has it.
    ptx::st_shared_16((to.base + weights_at) ^ (quarter << 4), {pairs[0], pairs[1], pairs[2], pairs[3]});
  }
};

}  // namespace llm_kernels
