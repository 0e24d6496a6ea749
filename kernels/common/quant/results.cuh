// Results of products, stored as a type that is known when the kernel runs: one branch for all of a thread's.
#pragma once

#include "common/ptx/store_if.cuh"
#include "common/quant/element.cuh"

namespace llm_kernels {

// Calls `store` with a value of the type.
template <typename Store>
__device__ __forceinline__ void with_element_type(int32_t type, Store store) {
  if (type == kF32) {
    store(f32{});
  } else if (type == kF16) {
    store(f16{});
  } else {
    store(bf16{});
  }
}

// Stores an element if it exists, rounded to nearest even.
template <typename T>
__device__ __forceinline__ void store_if(bool exists, T* to, float value) {
  if constexpr (sizeof(T) == 4) {
    ptx::st_global_4_if(exists, to, __float_as_uint(value));
  } else {
    ptx::st_global_2_if(exists, to, static_cast<uint16_t>(T::pack(value, 0.0f)));
  }
}

// Likewise two neighbours, whose address is a multiple of their size.
template <typename T>
__device__ __forceinline__ void store_two_if(bool exist, T* to, float low, float high) {
  if constexpr (sizeof(T) == 4) {
    ptx::st_global_8_if(exist, to, {__float_as_uint(low), __float_as_uint(high)});
  } else {
    ptx::st_global_4_if(exist, to, T::pack(low, high));
  }
}

}  // namespace llm_kernels
