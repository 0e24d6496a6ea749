// Asynchronous copies of single words.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Copies 4 bytes from global to shared memory, also into L1. Both addresses are multiples of 4.
__device__ __forceinline__ void cp_async_4(uint32_t shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared), "l"(__cvta_generic_to_global(global))
               : "memory");
}

}  // namespace llm_kernels::ptx
