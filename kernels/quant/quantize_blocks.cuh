// Weights to NF4 in blocks, as bitsandbytes' checkpoints have them, and their largest magnitudes to 8 bits.
//
//   x: [n, k], row-major, a block being `block` neighbours of a row
//   q: [n * k / 2], of two neighbours the first in the upper bits    magnitudes: [blocks]
//   of each 256 magnitudes: codes [256] of table[code] * nested_magnitude + offset, offset the mean of all
//
// quantize_blocks: 8 lanes have a block of weights and go over it twice. The others have 256 magnitudes a block of threads; the mean
// is summed up in two of them, in a fixed order. Derivation: src/quant/quantize/README.md
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/reduce.cuh"
#include "quant/quantize_nf4.cuh"

namespace llm_kernels {

constexpr int kQuantizeThreads = 128;

// Mirrored in Rust: src/quant/quantize/block_params.rs.
struct QuantizeBlocksParams {
  const void* x;             // Of type x_type.
  uint8_t* q;
  float* magnitudes;
  const float* table;        // [256]; null where magnitudes stay as they are, and so the rest.
  uint8_t* nested_codes;
  float* nested_magnitudes;  // Of each 256; before that what they add to the mean.
  float* offset;
  int64_t x_stride;          // In elements, between rows.
  int64_t num_blocks;
  int32_t row_blocks;        // Blocks of a row.
  int32_t block;             // Weights of a block, a multiple of 32.
  int32_t x_type;
  int32_t unused;
};

static_assert(sizeof(QuantizeBlocksParams) == 88 && offsetof(QuantizeBlocksParams, row_blocks) == 72, "mirrored in Rust");

constexpr int kNested = 256;  // Magnitudes that share one.

__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7fffffffu) < 0x7f800000u; }

__device__ __forceinline__ void quantize_blocks(const QuantizeBlocksParams& params) {
  constexpr int kLanes = 8;  // Of a block; 4 neighbours each.
  const int lane = ptx::thread_index() % kLanes;
  const int64_t number = static_cast<int64_t>(ptx::block_index()) * (kQuantizeThreads / kLanes) + ptx::thread_index() / kLanes;
  // Lanes without a block stay for the shuffles.
  const int count = number < params.num_blocks ? params.block : 0;
  const int64_t row = number / params.row_blocks;
  const int64_t from = row * params.x_stride + (number - row * params.row_blocks) * params.block;
  uint32_t bits = 0;
  for (int i = lane * 4; i < count; i += kLanes * 4) {
    const float4 x = load_four(params.x, from + i, params.x_type);
    bits = max(max(bits, max(__float_as_uint(x.x) & 0x7fffffffu, __float_as_uint(x.y) & 0x7fffffffu)),
               max(__float_as_uint(x.z) & 0x7fffffffu, __float_as_uint(x.w) & 0x7fffffffu));
  }
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) bits = max(bits, __shfl_xor_sync(kAllLanes, bits, distance));
  if (count == 0) return;
  const float magnitude = __uint_as_float(bits);
  const bool valid = is_finite(magnitude) && magnitude > 0.0f;
  if (lane == 0) params.magnitudes[number] = is_finite(magnitude) ? magnitude : __uint_as_float(0x7fc00000u);
  uint16_t* to = reinterpret_cast<uint16_t*>(params.q + number * (params.block / 2));
  for (int i = lane * 4; i < count; i += kLanes * 4) {
    const float4 x = load_four(params.x, from + i, params.x_type);
    // 7 stands for 0.
    auto code = [&](float w) { return valid ? nf4_code(__fdiv_rn(w, magnitude)) : 7; };
    to[i / 4] = static_cast<uint16_t>(code(x.x) << 4 | code(x.y) | code(x.z) << 12 | code(x.w) << 8);
  }
}

// The sum of two numbers of each thread: those of numbers 128 apart, then 64, 32 and so on. In the first warp.
__device__ __forceinline__ float halving_sum(float first, float second) {
  __shared__ float sums[kQuantizeThreads];
  const int thread = ptx::thread_index();
  float sum = __fadd_rn(first, second);
#pragma unroll
  for (int half = kQuantizeThreads / 2; half >= 32; half /= 2) {
    if (thread >= half && thread < 2 * half) sums[thread] = sum;
    __syncthreads();
    if (thread < half) sum = __fadd_rn(sum, sums[thread + half]);
  }
  return warp_sum(sum);
}

// What 256 magnitudes add to the mean of all; such as are not finite add nothing.
__device__ __forceinline__ void add_magnitudes(const QuantizeBlocksParams& params) {
  const int64_t first = static_cast<int64_t>(ptx::block_index()) * kNested + ptx::thread_index();
  const float count = static_cast<float>(params.num_blocks);
  auto term = [&](int64_t i) {
    const float magnitude = i < params.num_blocks ? params.magnitudes[i] : 0.0f;
    return is_finite(magnitude) ? __fdiv_rn(magnitude, count) : 0.0f;
  };
  const float sum = halving_sum(term(first), term(first + kNested / 2));
  if (ptx::thread_index() == 0) params.nested_magnitudes[ptx::block_index()] = sum;
}

// The mean, by one block of threads: each 256th of those sums, and of the results the sum.
__device__ __forceinline__ void add_sums(const QuantizeBlocksParams& params) {
  const int count = static_cast<int>((params.num_blocks + kNested - 1) / kNested);
  float sums[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    for (int i = ptx::thread_index() + half * kNested / 2; i < count; i += kNested) {
      sums[half] = __fadd_rn(sums[half], params.nested_magnitudes[i]);
    }
  }
  const float sum = halving_sum(sums[0], sums[1]);
  if (ptx::thread_index() == 0) *params.offset = sum;
}

// The number of the value nearest to x, of several the first.
__device__ __forceinline__ int nearest(float x, const float* table) {
  int code = 0;
  float least = __uint_as_float(0x7f800000u);
  for (int i = 0; i < 256; ++i) {
    const float distance = fabsf(__fsub_rn(x, table[i]));
    if (distance < least) code = i, least = distance;
  }
  return code;
}

__device__ __forceinline__ void quantize_magnitudes(const QuantizeBlocksParams& params) {
  __shared__ float table[256];
  __shared__ uint32_t largest_bits[kQuantizeThreads / 32];
  const int thread = ptx::thread_index();
  table[thread] = params.table[thread], table[thread + 128] = params.table[thread + 128];
  const int64_t first = static_cast<int64_t>(ptx::block_index()) * kNested + thread;
  const float offset = *params.offset;
  float distances[2];
  uint32_t bits = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t i = first + half * (kNested / 2);
    distances[half] = i < params.num_blocks ? __fsub_rn(params.magnitudes[i], offset) : 0.0f;
    bits = max(bits, __float_as_uint(distances[half]) & 0x7fffffffu);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) bits = max(bits, __shfl_xor_sync(kAllLanes, bits, distance));
  if (thread % 32 == 0) largest_bits[thread / 32] = bits;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kQuantizeThreads / 32; ++warp) bits = max(bits, largest_bits[warp]);
  const float largest = __uint_as_float(bits);
  const bool valid = is_finite(largest) && largest > 0.0f;
  if (thread == 0) params.nested_magnitudes[ptx::block_index()] = is_finite(largest) ? largest : __uint_as_float(0x7fc00000u);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t i = first + half * (kNested / 2);
    const float fraction = valid ? __fdiv_rn(distances[half], largest) : 0.0f;
    if (i < params.num_blocks) params.nested_codes[i] = static_cast<uint8_t>(nearest(fraction, table));
  }
}

}  // namespace llm_kernels
