// Rows of up to 128 channels, or 256, each in a warp: lane l has the channels 4 l to 4 l + 3, and the four 128 further. What is
// past a row's width is 0.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/elements.cuh"
#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// The element of T that is nearest to a number.
template <typename T>
__device__ __forceinline__ float rounded(float x) {
  return T::unpack(T::pack(x, 0.0f)).x;
}

// kUnits: of 4 channels in a lane.
template <int kUnits>
struct WarpRow {
  static constexpr int kValues = 4 * kUnits;

  float x[kValues];

  // Calls visit(unit, channel) for the units that a row of `width` channels, a multiple of 4, has in this lane.
  template <typename Visit>
  static __device__ __forceinline__ void each_unit(int width, Visit visit) {
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      const int channel = (unit * 32 + ptx::thread_index() % 32) * 4;
      if (channel < width) visit(unit, channel);
    }
  }

  static __device__ __forceinline__ WarpRow filled(float value) {
    WarpRow row;
#pragma unroll
    for (int i = 0; i < kValues; ++i) row.x[i] = value;
    return row;
  }

  // Of elements of T: of f32 16 bytes a lane, else 8.
  template <typename T>
  static __device__ __forceinline__ WarpRow load(const T* from, int width) {
    WarpRow row = filled(0.0f);
    each_unit(width, [&](int unit, int channel) {
      float(&to)[4] = reinterpret_cast<float(&)[4]>(row.x[unit * 4]);
      if constexpr (sizeof(T) == 4) {
        unpack<T>(ptx::ld_global_16(from + channel), to);
      } else {
        const uint2 packed = ptx::ld_global_8(from + channel);
        const float2 low = T::unpack(packed.x), high = T::unpack(packed.y);
        to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
      }
    });
    return row;
  }

  template <typename T>
  __device__ __forceinline__ void store_to(T* to, int width) const {
    each_unit(width, [&](int unit, int channel) {
      const float four[4] = {x[unit * 4], x[unit * 4 + 1], x[unit * 4 + 2], x[unit * 4 + 3]};
      store(to + channel, four);
    });
  }

  // This lane's part of the sum of products.
  __device__ __forceinline__ float dot(const WarpRow& other) const {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kValues; ++i) sum = __fmaf_rn(x[i], other.x[i], sum);
    return sum;
  }

  // Every value becomes f(value).
  template <typename Function>
  __device__ __forceinline__ WarpRow map(Function f) const {
    WarpRow row;
#pragma unroll
    for (int i = 0; i < kValues; ++i) row.x[i] = f(x[i]);
    return row;
  }

  // Every value becomes f(value, other's value).
  template <typename Function>
  __device__ __forceinline__ WarpRow zip(const WarpRow& other, Function f) const {
    WarpRow row;
#pragma unroll
    for (int i = 0; i < kValues; ++i) row.x[i] = f(x[i], other.x[i]);
    return row;
  }

  // This lane's largest magnitude.
  __device__ __forceinline__ float largest() const {
    float most = 0.0f;
#pragma unroll
    for (int i = 0; i < kValues; ++i) most = fmaxf(most, fabsf(x[i]));
    return most;
  }
};

// Largest of the lanes' numbers, in all of them; NaN is left out.
__device__ __forceinline__ float warp_largest(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, distance));
  return x;
}

// A power of two by which one row is multiplied and another divided, so that their largest elements are alike in size: neither
// row becomes subnormal where products of both are not. 1 if one of them is 0 or not finite.
__device__ __forceinline__ float balance(float of_one, float of_other) {
  const int one = __float_as_int(of_one) >> 23, other = __float_as_int(of_other) >> 23;
  if (one == 0 || one == 255 || other == 0 || other == 255) return 1.0f;
  return __int_as_float((127 + ((other - one) >> 1)) << 23);
}

// Calls run(units): a number, as a type, that rows of `width` channels take.
template <typename Run>
__device__ __forceinline__ void with_units(int width, Run run) {
  if (width <= 128) {
    run(std::integral_constant<int, 1>());
  } else {
    run(std::integral_constant<int, 2>());
  }
}

}  // namespace llm_kernels
