// Elements whose type is known when the kernel runs.
#pragma once

#include <cstdint>

#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/element_type.rs.
enum ElementType : int32_t { kF16 = 0, kBF16 = 1, kF32 = 2 };

__device__ __forceinline__ float load_element(const void* data, int64_t idx, int32_t type) {
  if (type == kF32) return static_cast<const float*>(data)[idx];
  const uint16_t bits = static_cast<const uint16_t*>(data)[idx];
  return type == kF16 ? to_f32(f16{bits}) : to_f32(bf16{bits});
}

// Four neighbouring elements; idx is a multiple of 4.
__device__ __forceinline__ float4 load_four(const void* data, int64_t idx, int32_t type) {
  if (type == kF32) return *reinterpret_cast<const float4*>(static_cast<const float*>(data) + idx);
  const uint2 four = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + idx);
  const float2 low = type == kF16 ? f16::unpack(four.x) : bf16::unpack(four.x);
  const float2 high = type == kF16 ? f16::unpack(four.y) : bf16::unpack(four.y);
  return {low.x, low.y, high.x, high.y};
}

// Rounds to nearest even.
__device__ __forceinline__ void store_element(void* data, int64_t idx, float value, int32_t type) {
  if (type == kF32) {
    static_cast<float*>(data)[idx] = value;
  } else {
    const uint32_t packed = type == kF16 ? f16::pack(value, 0.0f) : bf16::pack(value, 0.0f);
    static_cast<uint16_t*>(data)[idx] = static_cast<uint16_t>(packed);
  }
}

}  // namespace llm_kernels
