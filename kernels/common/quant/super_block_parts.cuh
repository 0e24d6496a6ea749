// What formats with blocks of 256 weights share.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// Byte i of 8 or 16.
__device__ __forceinline__ int byte_of(const uint32_t (&words)[2], int i) {
  // By value: a choice between places would need memory.
  const uint32_t low = words[0], high = words[1];
  return ptx::prmt(i < 4 ? low : high, 0, 0x4440 + i % 4);
}
__device__ __forceinline__ int byte_of(const uint32_t (&words)[4], int i) {
  const uint32_t first = words[0], second = words[1], third = words[2], fourth = words[3];
  const uint32_t low = i < 8 ? first : third, high = i < 8 ? second : fourth;
  return ptx::prmt(i % 8 < 4 ? low : high, 0, 0x4440 + i % 4);
}

// Likewise with its sign.
__device__ __forceinline__ int signed_byte_of(const uint32_t (&words)[4], int i) {
  const uint32_t first = words[0], second = words[1], third = words[2], fourth = words[3];
  const uint32_t low = i < 8 ? first : third, high = i < 8 ? second : fourth;
  return ptx::prmt(i % 8 < 4 ? low : high, 0, 0x8880 + i % 4 * 0x1111);
}

// Bits moved up by `distance`, or down where it is negative.
__device__ __forceinline__ uint32_t moved(uint32_t bits, int distance) {
  return distance >= 0 ? bits << distance : bits >> -distance;
}

// The other sign, where the compiler does not see one: it would change signs at every use instead.
__device__ __forceinline__ float negated(float x) { return __uint_as_float(__float_as_uint(x) ^ 0x80000000u); }

}  // namespace llm_kernels
