// Stores to global memory that a condition guards, without a branch around them.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Stores 2 bytes if `exists`; the address is a multiple of 2.
__device__ __forceinline__ void st_global_2_if(bool exists, void* global, uint16_t value) {
  asm volatile(
      "{\n\t"
      ".reg .pred exists;\n\t"
      "setp.ne.u32 exists, %0, 0;\n\t"
      "@exists st.global.b16 [%1], %2;\n\t"
      "}" ::"r"(static_cast<uint32_t>(exists)),
      "l"(__cvta_generic_to_global(global)), "h"(value)
      : "memory");
}

// Stores 4 bytes if `exists`; the address is a multiple of 4.
__device__ __forceinline__ void st_global_4_if(bool exists, void* global, uint32_t value) {
  asm volatile(
      "{\n\t"
      ".reg .pred exists;\n\t"
      "setp.ne.u32 exists, %0, 0;\n\t"
      "@exists st.global.b32 [%1], %2;\n\t"
      "}" ::"r"(static_cast<uint32_t>(exists)),
      "l"(__cvta_generic_to_global(global)), "r"(value)
      : "memory");
}

// Stores 8 bytes if `exists`; the address is a multiple of 8.
__device__ __forceinline__ void st_global_8_if(bool exists, void* global, uint2 value) {
  asm volatile(
      "{\n\t"
      ".reg .pred exists;\n\t"
      "setp.ne.u32 exists, %0, 0;\n\t"
      "@exists st.global.v2.b32 [%1], {%2, %3};\n\t"
      "}" ::"r"(static_cast<uint32_t>(exists)),
      "l"(__cvta_generic_to_global(global)), "r"(value.x), "r"(value.y)
      : "memory");
}

}  // namespace llm_kernels::ptx
