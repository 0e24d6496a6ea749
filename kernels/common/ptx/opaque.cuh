// Numbers from where the compiler cannot know.
#pragma once

namespace llm_kernels::ptx {

// `value`: what depends on it is computed anew, where it would else be kept in registers through a loop. No instruction.
__device__ __forceinline__ int opaque(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

}  // namespace llm_kernels::ptx
