// Loads of single words of shared memory.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Loads 4 bytes; the address is a multiple of 4.
__device__ __forceinline__ uint32_t ld_shared_4(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

// Loads 2 bytes; the address is a multiple of 2.
__device__ __forceinline__ uint16_t ld_shared_2(uint32_t address) {
  uint16_t value;
  asm volatile("ld.shared.b16 %0, [%1];" : "=h"(value) : "r"(address) : "memory");
  return value;
}

}  // namespace llm_kernels::ptx
