// Elements of a cache of keys and values: how a row of f32 becomes 8 bits with one scale.
//
//   int8: scale = m * (1 / 127), code = x * (127 / m) to the nearest integer, rounded once
//   e4m3: scale = m * (1 / 448), code = x * (448 / m) to f32 and then to the nearest e4m3   both: halfway to even
//
// where m is the row's largest magnitude, and what is in brackets is rounded to f32. A row below kLeast counts as zero:
// codes and scale 0. A row that is not all finite has codes 0 and a scale of NaN.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/reduce.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/append_kv/params.rs. The first are ElementType's.
enum class CacheFormat : int32_t { kF16 = 1, kBf16 = 2, kI8 = 3, kE4m3 = 4 };

struct RowScale {
  // 2^-118: 448 / kLeast is finite.
  static constexpr float kLeast = 0x1p-118f;

  float scale;
  float inverse;       // What elements are multiplied by; 0 in a row of zeros.
  uint32_t code_mask;  // 0 in a row that is not all finite.

  // Of the row that a team of lanes holds, from the largest magnitude that this lane has, as bits. All of the team take part.
  __device__ __forceinline__ RowScale(uint32_t magnitude, uint32_t team, CacheFormat format) {
    const uint32_t all = team == 32 ? kAllLanes : (1u << team) - 1 << (threadIdx.x % 32 & ~(team - 1));
    // Magnitudes are ordered as their bits are; NaN is above infinity, and infinity above all numbers.
#pragma unroll
    for (uint32_t distance = 16; distance > 0; distance /= 2) {
      if (distance < team) magnitude = max(magnitude, __shfl_xor_sync(all, magnitude, distance));
    }
    const float largest = __uint_as_float(magnitude);
    const bool integer = format == CacheFormat::kI8;
    const float share = __fmul_rn(largest, integer ? 1.0f / 127.0f : 1.0f / 448.0f);
    const bool finite = magnitude < 0x7f800000u, zero = largest < kLeast;
    scale = finite ? (zero ? 0.0f : share) : __uint_as_float(0x7fc00000u);
    inverse = finite && !zero ? __fdiv_rn(integer ? 127.0f : 448.0f, largest) : 0.0f;
    code_mask = finite ? 0xffffffffu : 0u;
  }

  // The code of an element, in the lowest byte; what is above is undefined.
  __device__ __forceinline__ uint32_t code(float x, CacheFormat format) const {
    if (format == CacheFormat::kI8) {
      // Added to 1.5 * 2^23, the last bits are the integer's.
      return __float_as_uint(__fmaf_rn(x, inverse, 12582912.0f));
    }
    const float scaled = __fmul_rn(x, inverse);
    const uint32_t sign = __float_as_uint(scaled) >> 24 & 0x80u, magnitude = __float_as_uint(scaled) & 0x7fffffffu;
    // Of a bias of 127, one of 7; of 23 bits of mantissa, 3.
    const uint32_t normal = (magnitude + 0x7ffffu + (magnitude >> 20 & 1u) >> 20) - (120u << 3);
    // Below 2^-6 the codes count 2^-9: the last bits of a sum with 2^14.
    const uint32_t small = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), 16384.0f)) - 0x46800000u;
    return sign | (magnitude < 0x3c800000u ? small : normal);
  }

  // The codes of four neighbours.
  __device__ __forceinline__ uint32_t codes(const float* x, CacheFormat format) const {
    const uint32_t low = __byte_perm(code(x[0], format), code(x[1], format), 0x0040);
    const uint32_t high = __byte_perm(code(x[2], format), code(x[3], format), 0x0040);
    return __byte_perm(low, high, 0x5410) & code_mask;
  }

  // Stores the codes of a unit: 8 or 4 neighbours, or an element.
  template <int kUnit>
  __device__ __forceinline__ void store(char* to, const float (&values)[kUnit], CacheFormat format) const {
    if constexpr (kUnit == 8) {
      ptx::st_global_8(to, {codes(values, format), codes(values + 4, format)});
    } else if constexpr (kUnit == 4) {
      ptx::st_global_4(to, codes(values, format));
    } else {
      *reinterpret_cast<uint8_t*>(to) = static_cast<uint8_t>(code(values[0], format) & code_mask);
    }
  }
};

}  // namespace llm_kernels
