// Parameters of products with many rows of activations, and how results are stored.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/quant/element.cuh"
#include "quant/shares.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf/params.rs.
struct MatrixParams {
  const char* w;          // [n, k] packed; a multiple of 16.
  const char* x;          // [m, k] int8, bf16 or f32.
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
  Shares shares;          // Of bf16, in units of 256 of k.
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

}  // namespace llm_kernels
