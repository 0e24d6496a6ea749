// The floating-point element types of the kernels.
//
// Kernels move elements, multiply 16-bit ones in tensor cores and convert them from and to f32; they never do scalar
// arithmetic on 16-bit ones. So these are plain storage types, and no CUDA header has to be compiled for them.
//
// A chunk is the 16 bytes that a lane loads at once: kPerChunk elements.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// IEEE binary16.
struct f16 {
  static constexpr int kPerChunk = 8;
  uint16_t bits;

  // The two elements of a register, the lower half first.
  static __device__ __forceinline__ float2 unpack(uint32_t packed) { return ptx::cvt_f32x2_f16x2(packed); }

  // Two f32 values rounded to nearest even, `low` in the lower half of the register.
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return ptx::cvt_rn_f16x2(low, high); }
};

// bfloat16: the upper half of an f32.
struct bf16 {
  static constexpr int kPerChunk = 8;
  uint16_t bits;

  // The two elements of a register, the lower half first.
  static __device__ __forceinline__ float2 unpack(uint32_t packed) {
    return {__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u)};
  }

  // Two f32 values rounded to nearest even, `low` in the lower half of the register.
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return ptx::cvt_rn_bf16x2(low, high); }
};

// IEEE binary32.
struct f32 {
  static constexpr int kPerChunk = 4;
  float value;
};

static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2 && sizeof(f32) == 4, "storage types");

// The value as f32: exact.
__device__ __forceinline__ float to_f32(f16 x) { return ptx::cvt_f32_f16(x.bits); }
__device__ __forceinline__ float to_f32(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
__device__ __forceinline__ float to_f32(f32 x) { return x.value; }

// The elements of a 16-bit type's chunk, in order.
template <typename T>
__device__ __forceinline__ void unpack(const uint4& chunk, float (&values)[8]) {
  const uint32_t packed[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = T::unpack(packed[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

// The elements of an f32 chunk.
template <typename T>
__device__ __forceinline__ void unpack(const uint4& chunk, float (&values)[4]) {
  static_assert(sizeof(T) == 4, "four elements in 16 bytes");
  values[0] = __uint_as_float(chunk.x);
  values[1] = __uint_as_float(chunk.y);
  values[2] = __uint_as_float(chunk.z);
  values[3] = __uint_as_float(chunk.w);
}

// Rounds 8 values to a 16-bit type and stores them as one chunk.
template <typename T>
__device__ __forceinline__ void store(T* global, const float (&values)[8]) {
  static_assert(sizeof(T) == 2, "8 elements in 16 bytes");
  ptx::st_global_16(global, {T::pack(values[0], values[1]), T::pack(values[2], values[3]),
                             T::pack(values[4], values[5]), T::pack(values[6], values[7])});
}

// Stores 4 values: a chunk of f32, or half a chunk of a 16-bit type.
template <typename T>
__device__ __forceinline__ void store(T* global, const float (&values)[4]) {
  if constexpr (sizeof(T) == 4) {
    ptx::st_global_16(global, {__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                               __float_as_uint(values[3])});
  } else {
    ptx::st_global_8(global, {T::pack(values[0], values[1]), T::pack(values[2], values[3])});
  }
}

}  // namespace llm_kernels
