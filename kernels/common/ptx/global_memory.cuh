// Loads and stores of global memory.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Loads 4 bytes, anew at every call; the address is a multiple of 4.
__device__ __forceinline__ int32_t ld_global_4(const int32_t* global) {
  int32_t value;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(global)));
  return value;
}

// Loads 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ uint4 ld_global_16(const void* global) {
  uint4 value;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(__cvta_generic_to_global(global))
               : "memory");
  return value;
}

// Stores 8 bytes; the address is a multiple of 8.
__device__ __forceinline__ void st_global_8(void* global, uint2 value) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x), "r"(value.y)
               : "memory");
}

// Stores 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ void st_global_16(void* global, uint4 value) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x),
               "r"(value.y), "r"(value.z), "r"(value.w)
               : "memory");
}

}  // namespace llm_kernels::ptx
