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

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf/params.rs.
struct MatrixParams {
  const char* w;          // [n, k] packed; a multiple of 16.
  const char* x;          // [m, k] int8, or bf16.
  const uint2* x_scales;  // [m, k / 32], of int8: as in VectorParams.
  const void* bias;       // [n] of type bias_type; null for none.
  void* y;                // [m, n] of type y_type.
  float4* partial_sums;   // Two tiles for each block, of bf16: see gguf_dense.cuh.
  int64_t w_bytes;        // To the end of the packed matrix.
  int64_t x_stride;       // In elements, between rows; of int8 it is k.
  int64_t y_stride;
  int32_t n, m, k;
  int32_t row_tiles;      // Of y; block b has row tile b % row_tiles.
  int32_t bias_type, y_type;
  // Of bf16: tiles that one block computes each, those that blocks share, the units of 256 of k that a tile has, and the blocks.
  int32_t whole_tiles, shared_tiles, tile_units;
  int32_t multiplying_blocks;
};

static_assert(sizeof(MatrixParams) == 112 && offsetof(MatrixParams, n) == 72 && offsetof(MatrixParams, y_type) == 92,
              "mirrored in Rust");

// Stores a warp's sums and adds the bias, of kRowTiles x kColumnTiles tiles of 16 x 8 from `row`, `column` on.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_sums(const MatrixParams& params, const float (&sums)[kRowTiles][kColumnTiles][4],
                                           int first_row, int first_column, unsigned lane) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = first_row + i * 16 + e / 2 * 8 + lane / 4;
        const int column = first_column + j * 8 + lane % 4 * 2 + e % 2;
        if (row >= params.m || column >= params.n) continue;
        const float bias = params.bias == nullptr ? 0.0f : load_element(params.bias, column, params.bias_type);
        store_element(params.y, row * params.y_stride + column, sums[i][j][e] + bias, params.y_type);
      }
    }
  }
}

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
  static constexpr int kChunkBlocks = 256 / Format::kWeights;
  static constexpr int kChunkBytes = kChunkBlocks * Format::kBytes;
  // From the multiple of 16 before the first byte on, and a word that a load of the last one may reach over.
  static constexpr int kPitch = (kChunkBytes + 14 + 15) / 16 * 16 + 16;

  // Shared memory, two of each.
  static constexpr int kActivationBytes = kRows * kDepth;
  static constexpr int kWeightBytes = kColumns * kDepth;
  static constexpr int kPackedBytes = kColumns * kPitch;
  static constexpr int kRowFactorBytes = kRowFactors * 2 * kRows * 4;
  static constexpr int kFactorBytes = kFactors * 2 * kColumns * 4;
  static constexpr int kStageBytes = kActivationBytes + kWeightBytes + kPackedBytes + kRowFactorBytes + kFactorBytes;
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
  __device__ __forceinline__ float* row_factors() const { return reinterpret_cast<float*>(packed() + Tile::kPackedBytes); }
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

  // Start of the 256 weights number `chunk` of a column (a row of w).
  __device__ __forceinline__ int64_t start(int column, int chunk) const {
    const int64_t blocks_per_row = params.k / Format::kWeights;
    return ((first_column + column) * blocks_per_row + chunk * Tile::kChunkBlocks) * Format::kBytes;
  }

  // Issues the copies of packed bytes.
  __device__ __forceinline__ void load_packed(char* packed, int chunk, unsigned thread) const {
    constexpr int kCopies = Tile::kPitch / 16;
    const int columns = min(Tile::kColumns, params.n - first_column);
    for (int item = thread; item < columns * kCopies; item += Tile::kThreads) {
      const int column = item / kCopies, copy = item % kCopies;
      const int64_t at = (start(column, chunk) & ~int64_t{15}) + copy * 16;
      const int64_t left = params.w_bytes - at;
      ptx::cp_async_16_zero_fill(ptx::shared_address(packed + column * Tile::kPitch + copy * 16),
                                 left > 0 ? params.w + at : params.w, left > 0 ? min(left, int64_t{16}) : 0);
    }
  }

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
    const int column = thread / 2, group = thread % 2;
    const int group_of_chunk = step % 4 * 2 + group;
    uint32_t q[8] = {};
    float factors[Tile::kFactors] = {};
    if (first_column + column < params.n && step * 2 + group < params.k / 32) {
      constexpr int kGroups = Format::kWeights / 32;
      const int group_of_block = group_of_chunk % kGroups;
      const PackedBlockAnywhere block = {packed + column * Tile::kPitch + (start(column, step / 4) & 15) +
                                         group_of_chunk / kGroups * Format::kBytes};
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
