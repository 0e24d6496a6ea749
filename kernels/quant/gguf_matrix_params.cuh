// Parameters of products with many rows of activations, and how results are stored.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/quant/results.cuh"
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
__device__ __forceinline__ void store_sums(const MatrixParams& params, float (&sums)[kRowTiles][kColumnTiles][4], int first_row,
                                           int first_column, unsigned lane) {
  const int row = first_row + lane / 4, column = first_column + lane % 4 * 2;
  if (params.bias != nullptr) {
#pragma unroll
    for (int item = 0; item < 2 * kColumnTiles; ++item) {
      const int at = min(column + item / 2 * 8 + item % 2, params.n - 1);
      const float bias = load_element(params.bias, at, params.bias_type);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) sums[i][item / 2][item % 2] += bias, sums[i][item / 2][item % 2 + 2] += bias;
    }
  }
  with_element_type(params.y_type, [&](auto element) {
    using T = decltype(element);
    T* to = static_cast<T*>(params.y) + row * params.y_stride + column;
    const bool pairs = params.n % 2 == 0 && params.y_stride % 2 == 0 && reinterpret_cast<uintptr_t>(params.y) % (2 * sizeof(T)) == 0;
#pragma unroll
    for (int i = 0; i < 2 * kRowTiles; ++i, to += 8 * params.y_stride) {
      const bool row_exists = row + i * 8 < params.m;
      if (pairs) {
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          const float* pair = &sums[i / 2][j][i % 2 * 2];
          store_two_if(row_exists && column + j * 8 < params.n, to + j * 8, pair[0], pair[1]);
        }
      } else {
#pragma unroll
        for (int item = 0; item < 2 * kColumnTiles; ++item) {
          const int at = item / 2 * 8 + item % 2;
          store_if(row_exists && column + at < params.n, to + at, sums[i / 2][item / 2][i % 2 * 2 + item % 2]);
        }
      }
    }
  });
}

}  // namespace llm_kernels
