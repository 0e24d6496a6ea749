// The main loop of products of packed matrices with many rows of activations. See src/quant/gguf/README.md.
//
// A block computes kRows x kColumns of y in steps of 64 of k. Packed bytes come 256 weights of a row at a time. In each
// step a thread decodes one group of 32 weights into 8-bit integers and factors; tensor cores multiply the integers,
// exactly, and each 32 (or 16) of k are scaled into the sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/ptx/integer_tensor_core.cuh"
#include "common/quant/element.cuh"
#include "common/quant/formats.cuh"
#include "common/shared_tile.cuh"
#include "quant/gguf_packed_columns.cuh"

namespace llm_kernels {

template <typename Format>
struct MatrixTile {
  static constexpr int kThreads = 128;
  static constexpr int kRows = 128;
  static constexpr int kColumns = 64;
  static constexpr int kDepth = 64;  // Of a step; bytes of a row of a tile.
  static constexpr int kHalves = Format::kHalves;
  // Factors of a column and group: of products of each half, then of sums of activations of each half.
  static constexpr int kFactors = kHalves * (Format::kHasMinimum ? 2 : 1);
  // Of a row and group: the scale, then the scaled sums of each half.
  static constexpr int kRowFactors = 1 + (Format::kHasMinimum ? kHalves : 0);
  // Of the loop over copies: whole for IQ4_XS, which ptxas 13 else spills a word of.
  static constexpr int kUnroll = Format::kBytes == 136 ? 32 : 2;
  using Packed = PackedColumns<Format, kColumns, kThreads, kUnroll>;

  // Shared memory, two of each.
  static constexpr int kActivationBytes = kRows * kDepth;
  static constexpr int kWeightBytes = kColumns * kDepth;
  static constexpr int kRowFactorBytes = kRowFactors * 2 * kRows * 4;
  static constexpr int kFactorBytes = kFactors * 2 * kColumns * 4;
  static constexpr int kStageBytes = kActivationBytes + kWeightBytes + Packed::kBytes + kRowFactorBytes + kFactorBytes;
};

// Where things lie in shared memory, for one of the two stages.
template <typename Format>
struct MatrixStage {
  using Tile = MatrixTile<Format>;
  char* base;

  __device__ __forceinline__ NarrowTile<Tile::kRows> activations() const { return {ptx::shared_address(base)}; }
  __device__ __forceinline__ NarrowTile<Tile::kColumns> weights() const {
    return {ptx::shared_address(base + Tile::kActivationBytes)};
  }
  __device__ __forceinline__ char* packed() const { return base + Tile::kActivationBytes + Tile::kWeightBytes; }
  // [factor][group][row]
  __device__ __forceinline__ float* row_factors() const { return reinterpret_cast<float*>(packed() + Tile::Packed::kBytes); }
  // [factor][group][column]
  __device__ __forceinline__ float* factors() const {
    return row_factors() + Tile::kRowFactorBytes / 4;
  }
};

template <typename Format>
struct MatrixLoader {
  using Tile = MatrixTile<Format>;
  const MatrixParams& params;
  int first_row, first_column;

  // Issues the copies of quantised activations; rows and columns that do not exist are zeros.
  __device__ __forceinline__ void load_activations(NarrowTile<Tile::kRows> tile, int step, unsigned thread) const {
    const int chunk = thread % 4, depth = step * Tile::kDepth + chunk * 16;
#pragma unroll
    for (int row = thread / 4; row < Tile::kRows; row += Tile::kThreads / 4) {
      const bool exists = first_row + row < params.m && depth < params.k;
      const char* from = params.x + static_cast<int64_t>(first_row + row) * params.k + depth;
      ptx::cp_async_16_zero_fill(tile.chunk_address(row, chunk), exists ? from : params.x, exists ? 16 : 0);
    }
  }

  // Scales of activations, and their scaled sums.
  __device__ __forceinline__ void load_row_factors(float* factors, int step, unsigned thread) const {
    const int groups = params.k / 32;
#pragma unroll
    for (int group = 0; group < 2; ++group) {
      const bool exists = first_row + static_cast<int>(thread) < params.m && step * 2 + group < groups;
      const int64_t from = static_cast<int64_t>(first_row + thread) * groups + step * 2 + group;
      const uint2 scale = exists ? params.x_scales[from] : uint2{0, 0};
      float* to = factors + group * Tile::kRows + thread;
      to[0] = __uint_as_float(scale.x);
      if constexpr (Format::kHasMinimum) {
        const int total = static_cast<int>(scale.y) >> 16, first = static_cast<int16_t>(scale.y);
        to[2 * Tile::kRows] = to[0] * static_cast<float>(Tile::kHalves == 2 ? first : total);
        if constexpr (Tile::kHalves == 2) to[4 * Tile::kRows] = to[0] * static_cast<float>(total - first);
      }
    }
  }

  // Decodes this thread's group of 32 weights of the step.
  __device__ __forceinline__ void decode(const MatrixStage<Format>& to, const char* packed, int step, unsigned thread) const {
    // Lanes of a warp have neighbouring columns and the same group: no bank conflicts.
    const int column = thread % Tile::kColumns, group = thread / Tile::kColumns;
    uint32_t q[8] = {};
    float factors[Tile::kFactors] = {};
    if (first_column + column < params.n && step * 2 + group < params.k / 32) {
      const int group_of_block = Tile::Packed::group_of_block(step * 2 + group);
      const auto block = Tile::Packed::block(packed + column * Tile::Packed::kPitch * 4, params, first_column + column, step * 2 + group);
      const auto header = Format::header(block);
      const auto weights = Format::decode(block, header, group_of_block);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        q[i] = weights.q[i] >> Format::shift(group_of_block, i / 4);
        // Byte by byte, without a borrow from the next.
        if constexpr (Format::kOffset != 0) q[i] = ((q[i] | 0x80808080) - Format::kOffset * 0x01010101u) ^ 0x80808080;
      }
#pragma unroll
      for (int half = 0; half < Tile::kHalves; ++half) {
        factors[half] = header.d * static_cast<float>(weights.scale[half]);
        if constexpr (Format::kHasMinimum) {
          factors[Tile::kHalves + half] = header.m * static_cast<float>(weights.minimum[half]);
        }
      }
    }
    const auto tile = to.weights();
    ptx::st_shared_16(tile.chunk_address(column, group * 2), {q[0], q[1], q[2], q[3]});
    ptx::st_shared_16(tile.chunk_address(column, group * 2 + 1), {q[4], q[5], q[6], q[7]});
#pragma unroll
    for (int i = 0; i < Tile::kFactors; ++i) to.factors()[(i * 2 + group) * Tile::kColumns + column] = factors[i];
  }
};

}  // namespace llm_kernels
