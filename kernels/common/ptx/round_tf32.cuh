// Rounding to tf32.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// x rounded to the nearest tf32, halves away from zero: an f32 whose lower 13 bits are 0.
__device__ __forceinline__ uint32_t cvt_rna_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

}  // namespace llm_kernels::ptx
