// Activations to integers of 8 bits, in blocks of 32 with a scale and two sums; or to bf16.
#pragma once

#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/reduce.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf/params.rs.
struct QuantiseParams {
  const void* x;   // [m, k] of type x_type
  uint2* q;        // [m, k] int8, 8 at a time; or bf16
  uint2* scales;   // [m, k / 32]: scale, then the sums of the first 16 and of all 32 integers, 16 bits each.
  int64_t x_stride;
  int64_t num_items;
  int32_t items_per_row;
  int32_t x_type;
};

static_assert(sizeof(QuantiseParams) == 48 && offsetof(QuantiseParams, items_per_row) == 40, "mirrored in Rust");

inline constexpr int kQuantiseThreads = 128;

// q = round(x / scale), scale = max |x| / 127. A thread has 8 neighbouring elements, 4 threads a block.
__device__ __forceinline__ void quantise(const QuantiseParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kQuantiseThreads + ptx::thread_index();
  // Blocks are whole: the 4 threads of one go on together, and the warp's others have something to do as well.
  const int64_t safe = min(item, params.num_items - 1);
  const int64_t row = safe / params.items_per_row;
  const int64_t from = row * params.x_stride + (safe - row * params.items_per_row) * 8;
  const float4 low = load_four(params.x, from, params.x_type), high = load_four(params.x, from + 4, params.x_type);
  const float x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  float largest = 0.0f, probe = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    largest = fmaxf(largest, fabsf(x[i]));
    // NaN for a NaN or an infinity, which the maximum would pass over or quantise.
    probe = __fmaf_rn(x[i], 0.0f, probe);
  }
  largest = quad_max(largest);
  probe = quad_sum(probe);
  // The inverse of a tiny scale would be infinite: then everything is lifted first, exactly.
  const float lift = largest < 0x1p-60f ? 0x1p60f : 1.0f;
  const float inverse = largest > 0.0f ? __fdiv_rn(127.0f, largest * lift) : 0.0f;
  uint32_t packed[2] = {};
  int sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int q = __float2int_rn(x[i] * lift * inverse);
    packed[i / 4] |= static_cast<uint32_t>(q & 0xff) << 8 * (i % 4);
    sum += q;
  }
  const int first = sum + __shfl_xor_sync(kAllLanes, sum, 1);
  const int total = first + __shfl_xor_sync(kAllLanes, first, 2);
  if (item >= params.num_items) return;
  params.q[item] = {packed[0], packed[1]};
  if (item % 4 == 0) {
    const float scale = probe == 0.0f ? __fdiv_rn(largest, 127.0f) : CUDART_NAN_F;
    params.scales[item / 4] = {__float_as_uint(scale),
                               (static_cast<uint32_t>(first) & 0xffff) | static_cast<uint32_t>(total) << 16};
  }
}

// To bf16, and to NaN what is not finite. A thread has 8 neighbouring elements.
__device__ __forceinline__ void round_activations(const QuantiseParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kQuantiseThreads + ptx::thread_index();
  if (item >= params.num_items) return;
  const int64_t row = item / params.items_per_row;
  const int64_t from = row * params.x_stride + (item - row * params.items_per_row) * 8;
  const float4 low = load_four(params.x, from, params.x_type), high = load_four(params.x, from + 4, params.x_type);
  float x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = __fmaf_rn(x[i], 0.0f, x[i]);
  reinterpret_cast<uint4*>(params.q)[item] = {bf16::pack(x[0], x[1]), bf16::pack(x[2], x[3]), bf16::pack(x[4], x[5]),
                                              bf16::pack(x[6], x[7])};
}

// To f32. A thread has 8 neighbouring elements.
__device__ __forceinline__ void widen_activations(const QuantiseParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kQuantiseThreads + ptx::thread_index();
  if (item >= params.num_items) return;
  const int64_t row = item / params.items_per_row;
  const int64_t from = row * params.x_stride + (item - row * params.items_per_row) * 8;
  float4* to = reinterpret_cast<float4*>(params.q) + item * 2;
  to[0] = load_four(params.x, from, params.x_type), to[1] = load_four(params.x, from + 4, params.x_type);
}

}  // namespace llm_kernels
