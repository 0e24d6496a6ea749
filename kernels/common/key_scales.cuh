// Factors of keys and values, one for each key, in a slice of 16 keys of accumulators.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/reduce.cuh"

namespace llm_kernels {

// The factors of the four columns that a lane has of 16 keys, from shared memory.
struct ColumnScales {
  float of[2][2];

  __device__ __forceinline__ ColumnScales(uint32_t address, unsigned lane, float unit) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint2 pair = ptx::ld_shared_8(address + j * 32 + lane % 4 * 8);
      of[j][0] = __uint_as_float(pair.x) * unit;
      of[j][1] = __uint_as_float(pair.y) * unit;
    }
  }

  __device__ __forceinline__ void apply(float (&scores)[1][2][4]) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[0][j][e] *= of[j][e % 2];
    }
  }

  __device__ __forceinline__ void multiply(float factor) {
#pragma unroll
    for (int j = 0; j < 2; ++j) of[j][0] *= factor, of[j][1] *= factor;
  }

  // The largest magnitude of the 16 keys', in all lanes; NaN is ignored.
  __device__ __forceinline__ float largest() const {
    return quad_max(fmaxf(fmaxf(fabsf(of[0][0]), fabsf(of[0][1])), fmaxf(fabsf(of[1][0]), fabsf(of[1][1]))));
  }
};

// The power of two in whose units a warp's output is while the values' scales are factors of its powers: these then fit 16
// bits whatever the scales are. It follows the largest scale lazily.
struct ValueUnit {
  static constexpr float kSlack = 16.0f;
  float unit = 0x1p-120f, inverse = 0x1p120f;

  template <int kOutputTiles>
  __device__ __forceinline__ void follow(float largest, float (&output)[1][kOutputTiles][4]) {
    if (!(largest > kSlack * unit)) return;
    const uint32_t exponent = __float_as_uint(fminf(largest, 0x1p120f)) & 0x7f800000u;
    const float moved = __uint_as_float(exponent);
    inverse = __uint_as_float(0x7f000000u - exponent);
    const float factor = unit * inverse;
    unit = moved;
#pragma unroll
    for (int j = 0; j < kOutputTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) output[0][j][e] *= factor;
    }
  }
};

}  // namespace llm_kernels
