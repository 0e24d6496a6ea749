// Waiting.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// Suspends this thread for at most twice so many nanoseconds, up to 10^6: others have the issue slots meanwhile.
__device__ __forceinline__ void nanosleep(uint32_t nanoseconds) { asm volatile("nanosleep.u32 %0;" ::"r"(nanoseconds)); }

}  // namespace llm_kernels::ptx
