// Halves in registers of 32 bits.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// The f16 in the lower half of a register as f32: exact.
__device__ __forceinline__ float cvt_f32_lower_f16(uint32_t packed) {
  float value;
  asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.f32.f16 %0, low;\n}" : "=f"(value) : "r"(packed));
  return value;
}

// That in the upper half.
__device__ __forceinline__ float cvt_f32_upper_f16(uint32_t packed) {
  float value;
  asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.f32.f16 %0, high;\n}" : "=f"(value) : "r"(packed));
  return value;
}

}  // namespace llm_kernels::ptx
