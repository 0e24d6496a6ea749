// Asynchronous copies of single words.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Copies 4 bytes from global to shared memory, also into L1. Both addresses are multiples of 4.
__device__ __forceinline__ void cp_async_4(uint32_t shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared), "l"(__cvta_generic_to_global(global))
               : "memory");
}

// The same if `exists`, without a branch around it.
__device__ __forceinline__ void cp_async_4_if(bool exists, uint32_t shared, const void* global) {
  asm volatile(
      "{\n\t"
      ".reg .pred exists;\n\t"
      "setp.ne.u32 exists, %0, 0;\n\t"
      "@exists cp.async.ca.shared.global [%1], [%2], 4;\n\t"
      "}" ::"r"(static_cast<uint32_t>(exists)),
      "r"(shared), "l"(__cvta_generic_to_global(global))
      : "memory");
}

}  // namespace llm_kernels::ptx
