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

// Loads 2 bytes; the address is a multiple of 2.
__device__ __forceinline__ uint16_t ld_global_2(const void* global) {
  uint16_t value;
  asm volatile("ld.global.b16 %0, [%1];" : "=h"(value) : "l"(__cvta_generic_to_global(global)) : "memory");
  return value;
}

// Loads 4 bytes; the address is a multiple of 4.
__device__ __forceinline__ uint32_t ld_global_4(const void* global) {
  uint32_t value;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(global)) : "memory");
  return value;
}

// Loads 8 bytes; the address is a multiple of 8.
__device__ __forceinline__ uint2 ld_global_8(const void* global) {
  uint2 value;
  asm volatile("ld.global.v2.b32 {%0, %1}, [%2];"
               : "=r"(value.x), "=r"(value.y) : "l"(__cvta_generic_to_global(global)) : "memory");
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

// Stores 2 bytes; the address is a multiple of 2.
__device__ __forceinline__ void st_global_2(void* global, uint16_t value) {
  asm volatile("st.global.b16 [%0], %1;" ::"l"(__cvta_generic_to_global(global)), "h"(value) : "memory");
}

// Stores 4 bytes; the address is a multiple of 4.
__device__ __forceinline__ void st_global_4(void* global, uint32_t value) {
  asm volatile("st.global.b32 [%0], %1;" ::"l"(__cvta_generic_to_global(global)), "r"(value) : "memory");
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
