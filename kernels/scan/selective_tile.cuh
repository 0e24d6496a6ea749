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

  __device__ __forceinline__ PositionRows(const SequenceTensor& tensor, ElementType type, int batch, int begin,
                                          int group, int64_t column)
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

// log(1 + exp(x)) = max(x, 0) + log1p(t), t = exp(-|x|), to a few ulp, also where it is small. With s = t / (2 + t) of
// at most 1 / 3, log1p(t) = 2 atanh(s), a series in s^2.
__device__ __forceinline__ float softplus(float x) {
  // log2(e) in two parts: what rounding the exponent takes away is given back.
  constexpr float kLow = 1.925963033500e-8f, kLn2 = 0.6931471805599453f;
  const float magnitude = -fabsf(x), exponent = magnitude * CUDART_L2E_F;
  const float rest = __fmaf_rn(magnitude, kLow, __fmaf_rn(magnitude, CUDART_L2E_F, -exponent));
  const float power = ptx::ex2_approx_ftz(exponent);
  const float t = __fmaf_rn(power, rest * kLn2, power);
  const float s = t * ptx::rcp_approx_ftz(2.0f + t), square = s * s;
  float series = __fmaf_rn(square, 1.0f / 15, 1.0f / 13);
  series = __fmaf_rn(square, series, 1.0f / 11);
  series = __fmaf_rn(square, series, 1.0f / 9);
  series = __fmaf_rn(square, series, 1.0f / 7);
  series = __fmaf_rn(square, series, 1.0f / 5);
  series = __fmaf_rn(square, series, 1.0f / 3);
  return fmaxf(x, 0.0f) + 2.0f * __fmaf_rn(s * square, series, s);
}

// kLanes neighbouring lanes own a channel's states; a lane kScanUnit neighbouring ones of every kScanUnit * kLanes.
template <int kLanes, int kStates>
struct ChannelStates {
  int lane;

  // The number of the lane's state `i`.
  __device__ __forceinline__ int state(int i) const {
    return (i / kScanUnit * kLanes + lane) * kScanUnit + i % kScanUnit;
  }

  __device__ __forceinline__ void load(const float* row, int d_state, float scale, float (&values)[kStates]) const {
#pragma unroll
    for (int i = 0; i < kStates; i += kScanUnit) {
      if (row == nullptr || state(i) >= d_state) continue;
      const float4 loaded = *reinterpret_cast<const float4*>(row + state(i));
      values[i] = loaded.x * scale, values[i + 1] = loaded.y * scale;
      values[i + 2] = loaded.z * scale, values[i + 3] = loaded.w * scale;
    }
  }

  __device__ __forceinline__ void store(float* row, int d_state, const float (&values)[kStates]) const {
#pragma unroll
    for (int i = 0; i < kStates; i += kScanUnit) {
      if (row == nullptr || state(i) >= d_state) continue;
      *reinterpret_cast<float4*>(row + state(i)) = {values[i], values[i + 1], values[i + 2], values[i + 3]};
    }
  }
};

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
