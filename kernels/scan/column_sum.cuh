// Sums of partial results, always in the same order: the last step of gradients that many blocks add to.
#pragma once

#include <cstdint>

#include "common/elements.cuh"

namespace llm_kernels {

// out[i] = sum of partial[k * width + i] over k < num_partials. Mirrored in Rust: src/scan/column_sum.rs.
struct ColumnSumParams {
  const float* partial;
  void* out;            // [width], without gaps.
  int64_t width;
  int32_t num_partials;
  ElementType type;     // Of `out`.
};

static_assert(sizeof(ColumnSumParams) == 32, "mirrored in Rust");

inline constexpr int kSumColumns = 32;
inline constexpr int kSumGroups = 8;

// Block of kSumColumns * kSumGroups threads: neighbouring columns; every warp takes each kSumGroups-th partial result.
__device__ __forceinline__ void column_sum(const ColumnSumParams& params) {
  __shared__ float sums[kSumGroups][kSumColumns];
  const int lane = threadIdx.x % kSumColumns, group = threadIdx.x / kSumColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + lane;
  float sum = 0.0f;
  if (column < params.width) {
#pragma unroll 4
    for (int k = group; k < params.num_partials; k += kSumGroups) sum += params.partial[k * params.width + column];
  }
  sums[group][lane] = sum;
  __syncthreads();
  if (group > 0 || column >= params.width) return;
#pragma unroll
  for (int other = 1; other < kSumGroups; ++other) sum += sums[other][lane];
  const float values[1][1] = {{sum}};
  Units<1> unit;
  pack(params.type, values, unit);
  Row{static_cast<char*>(params.out), params.type}.store_at(column, unit, 0);
}

}  // namespace llm_kernels
