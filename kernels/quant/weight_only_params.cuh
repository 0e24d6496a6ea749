// What the kernels of quant/weight_only are told, and where results go.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/quant/results.cuh"
#include "common/quant/grouped.cuh"
#include "quant/shares.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/weight_only/params.rs.
struct WeightOnlyParams {
  const char* codes;        // [tiles of 16 rows][chunks of 64 columns][chunk]
  const uint32_t* scales;   // [tiles][groups][8]: of rows g and g + 8, of the activations' type.
  const uint16_t* zeros;    // Likewise, bytes; null for all `zero`.
  const char* x;            // [m, k] f16 or bf16
  const int32_t* columns;   // [k]: which column of x belongs to column l of the weights; null for l.
  const void* bias;         // [n] of type bias_type; null for none.
  void* y;                  // [m, n] of type y_type.
  float* partials;          // [splits, m, n] of splits of k; of many rows two tiles for each block: see shares.cuh.
  int64_t x_stride;         // In elements, between rows.
  int64_t y_stride;
  int32_t n, m, k;
  int32_t num_tiles;        // Of 16 rows.
  int32_t num_chunks;       // Of a row of tiles: even.
  int32_t num_groups;       // Of a row.
  int32_t group_shift;      // A group has 32 << group_shift columns.
  int32_t zero;
  int32_t num_splits;       // Of k.
  int32_t split_chunks;     // Chunks of a split: even.
  int32_t bias_type, y_type;
  Shares shares;            // Of many rows, in units of 128 of k.
  int32_t row_tiles;        // Of y; tile b has row tile b % row_tiles.
  // (zeros & zero_mask) | zero_pair are the zero-points of rows g and g + 8: without `zeros` two of `zero`.
  uint32_t zero_mask, zero_pair;
  int32_t reserved;
};

static_assert(sizeof(WeightOnlyParams) == 160 && offsetof(WeightOnlyParams, n) == 80 &&
                  offsetof(WeightOnlyParams, y_type) == 124 && offsetof(WeightOnlyParams, row_tiles) == 144,
              "mirrored in Rust");

// Puts a result where it belongs: a sum over all of k, or one over a split.
__device__ __forceinline__ void store_result(const WeightOnlyParams& params, int split, int row, int column, float sum) {
  if (params.num_splits > 1) {
    params.partials[(static_cast<int64_t>(split) * params.m + row) * params.n + column] = sum;
    return;
  }
  const float bias = params.bias == nullptr ? 0.0f : load_element(params.bias, column, params.bias_type);
  store_element(params.y, row * params.y_stride + column, sum + bias, params.y_type);
}

}  // namespace llm_kernels
