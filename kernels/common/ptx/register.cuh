// Special registers, and what addresses are.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// The shared-state-space address of a generic pointer into shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// threadIdx.x, read anew at every call: code after a long loop that calls this costs no register through the loop.
__device__ __forceinline__ unsigned thread_index() {
  unsigned index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// blockIdx.x, y or z (kAxis 0, 1, 2), likewise.
template <int kAxis = 0>
__device__ __forceinline__ unsigned block_index() {
  unsigned index;
  if constexpr (kAxis == 0) asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
  if constexpr (kAxis == 1) asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(index));
  if constexpr (kAxis == 2) asm volatile("mov.u32 %0, %%ctaid.z;" : "=r"(index));
  return index;
}

// `pointer`, from where the compiler cannot know: it then adds to it step by step, where it would rather multiply a
// step anew for every use. No instruction.
__device__ __forceinline__ const char* opaque(const char* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

}  // namespace llm_kernels::ptx
