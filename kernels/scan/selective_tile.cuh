// What forward and backward of the selective scan share: lanes that hold states, and sums over them.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/elements.cuh"
#include "common/reduce.cuh"
#include "common/tensor.cuh"

namespace llm_kernels {

// Elements that a lane moves at once: 16 bytes of f32, 8 of a 16-bit type.
inline constexpr int kScanUnit = 4;

// Rows of a [b, s, ..] tensor, position by position.
struct PositionRows {
  Row first;
  int64_t stride;  // In elements.

  __device__ __forceinline__ PositionRows(const SequenceTensor& tensor, ElementType type, int batch, int begin, int group,
                                          int64_t column)
      : first{Row{static_cast<char*>(tensor.data), type}.at(tensor.offset(batch, begin, group) + column), type},
        stride(tensor.sequence_stride) {}

  template <int kUnit, int kCount>
  __device__ __forceinline__ void load(int position, int column, Units<kUnit, kCount>& units, int i) const {
    first.load_at(position * stride + column, units, i);
  }

  template <int kUnit, int kCount>
  __device__ __forceinline__ void store(int position, int column, const Units<kUnit, kCount>& units, int i) const {
    first.store_at(position * stride + column, units, i);
  }
};

// log(1 + exp(x)), and x itself where that is as close; exact to a few ulp for small results too.
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

// Positions whose sums over lanes are made together.
inline constexpr int kTogether = 4;

// The sums over kLanes neighbouring lanes of kTogether values of each. Lane i gets the (i % kTogether)-th: half of the
// values go to the other half of the lanes, again and again.
template <int kLanes>
__device__ __forceinline__ float sum_of_lanes(float (&values)[kTogether], int lane) {
#pragma unroll
  for (int half = kTogether / 2; half > 0; half /= 2) {
    const bool upper = lane & half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float given = upper ? values[i] : values[i + half];
      const float kept = upper ? values[i + half] : values[i];
      values[i] = kept + __shfl_xor_sync(kAllLanes, given, half);
    }
  }
#pragma unroll
  for (int distance = kTogether; distance < kLanes; distance *= 2) {
    values[0] += __shfl_xor_sync(kAllLanes, values[0], distance);
  }
  return values[0];
}

}  // namespace llm_kernels
