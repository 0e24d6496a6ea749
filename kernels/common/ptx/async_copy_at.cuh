// Asynchronous copies at constant offsets: the addresses are computed once for many.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Copies 16 bytes from global to shared memory, kOffset bytes after both addresses, past L1. The addresses are multiples
// of 16; `global` is of the global state space.
template <int kOffset>
__device__ __forceinline__ void cp_async_16_at(uint32_t shared, size_t global) {
  asm volatile("cp.async.cg.shared.global [%0+%2], [%1+%2], 16;" ::"r"(shared), "l"(global), "n"(kOffset) : "memory");
}

// As above, by those threads that `copies` holds for.
template <int kOffset>
__device__ __forceinline__ void cp_async_16_at_if(bool copies, uint32_t shared, size_t global) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %3, 0;\n@p cp.async.cg.shared.global [%0+%2], [%1+%2], 16;\n}" ::"r"(shared),
               "l"(global), "n"(kOffset), "r"(static_cast<unsigned>(copies)) : "memory");
}

}  // namespace llm_kernels::ptx
