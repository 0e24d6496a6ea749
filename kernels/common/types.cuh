// The 16-bit floating-point element types of the kernels.
//
// Kernels move 16-bit elements, multiply them in tensor cores and convert them from and to f32; they never do scalar
// arithmetic on them. So these are plain storage types, and no CUDA header has to be compiled for them.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// IEEE binary16.
struct f16 {
  uint16_t bits;

  // Two f32 values rounded to nearest even, `low` in the lower half of the register.
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return ptx::cvt_rn_f16x2(low, high); }
};

// bfloat16: the upper half of an f32.
struct bf16 {
  uint16_t bits;

  // Two f32 values rounded to nearest even, `low` in the lower half of the register.
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return ptx::cvt_rn_bf16x2(low, high); }
};

// The value as f32: exact.
__device__ __forceinline__ float to_f32(f16 x) { return ptx::cvt_f32_f16(x.bits); }
__device__ __forceinline__ float to_f32(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
__device__ __forceinline__ float to_f32(float x) { return x; }

static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2, "16-bit elements");

}  // namespace llm_kernels
