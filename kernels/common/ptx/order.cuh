// Accesses that order those of other blocks.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Loads 4 bytes, anew at every call. Whoever released the value has done all before that for the eyes of this thread.
__device__ __forceinline__ uint32_t ld_acquire_gpu(const uint32_t* global) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(global)) : "memory");
  return value;
}

// Adds to 4 bytes, and releases all that this thread has done or seen before.
__device__ __forceinline__ void red_release_gpu_add(uint32_t* global, uint32_t value) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(global)), "r"(value) : "memory");
}

}  // namespace llm_kernels::ptx
