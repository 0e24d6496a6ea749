// Asynchronous copies from global to shared memory (cp.async).
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Copies 16 bytes from global to shared memory, past L1. Both addresses are multiples of 16.
__device__ __forceinline__ void cp_async_16(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(__cvta_generic_to_global(global))
               : "memory");
}

// As above, but reads only `bytes` (0 to 16) of the source and fills the rest of the destination with zeros.
__device__ __forceinline__ void cp_async_16_zero_fill(uint32_t shared, const void* global, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(__cvta_generic_to_global(global)),
               "r"(bytes) : "memory");
}

// Copies `bytes` (0 to 4) bytes, and fills the rest of the 4 bytes of the destination with zeros. Both addresses are
// multiples of 4.
__device__ __forceinline__ void cp_async_4_zero_fill(uint32_t shared, const void* global, uint32_t bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(__cvta_generic_to_global(global)),
               "r"(bytes) : "memory");
}

// As the first, by those threads that `copies` holds for. No branch: a warp stays together.
__device__ __forceinline__ void cp_async_16_if(bool copies, uint32_t shared, const void* global) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %2, 0;\n@p cp.async.cg.shared.global [%0], [%1], 16;\n}" ::"r"(shared),
               "l"(__cvta_generic_to_global(global)), "r"(static_cast<unsigned>(copies)) : "memory");
}

// Closes the group of this thread's copies issued since the last commit.
__device__ __forceinline__ void cp_async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's newest groups are still under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace llm_kernels::ptx
