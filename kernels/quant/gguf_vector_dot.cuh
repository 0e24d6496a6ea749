// Dot products of 32 weights with activations.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/formats.cuh"

namespace llm_kernels {

// A sum of int8 products, as often as q is too large.
template <bool kSigned>
__device__ __forceinline__ int dot(const uint32_t* q, const uint4& x, int sum) {
  const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) sum = kSigned ? ptx::dp4a_s8_s8(q[i], words[i], sum) : ptx::dp4a_u8_s8(q[i], words[i], sum);
  return sum;
}

// sum += 32 weights times 32 quantised activations.
template <typename Format, typename Weights, typename Factors>
__device__ __forceinline__ void accumulate(float& sum, const typename Format::Header& header, const Weights& weights,
                                           int group, const char* x, const Factors& factors) {
  const uint4* activations = reinterpret_cast<const uint4*>(x);
  int products, minimums = 0;
  if constexpr (Format::kNibbleOrder) {
    products = dot<true>(weights.upper, activations[0], dot<true>(weights.lower, activations[0], 0));
    products = dot<true>(weights.upper + 4, activations[1], dot<true>(weights.lower + 4, activations[1], products));
    products *= weights.scale;
  } else if constexpr (Format::kHalves == 1) {
    const int start = Format::kOffset != 0 ? factors.sums[0] : 0;
    // The compiler would split one of Q8_0's loads, whose halves have bank conflicts.
    const uint4 first = Format::kSigned ? ptx::ld_shared_16(ptx::shared_address(activations)) : activations[0];
    products = dot<Format::kSigned>(weights.q + 4, activations[1], start);
    products >>= Format::shift(group, 1) - Format::shift(group, 0);
    products = dot<Format::kSigned>(weights.q, first, products) >> Format::shift(group, 0);
    products *= weights.scale[0];
    minimums = factors.sums[0] * weights.minimum[0];
  } else {
    int halves[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int start = Format::kOffset != 0 ? factors.sums[half] : 0;
      halves[half] = dot<Format::kSigned>(weights.q + 4 * half, activations[half], start) >> Format::shift(group, half);
    }
    products = halves[0] * weights.scale[0] + halves[1] * weights.scale[1];
    minimums = factors.sums[0] * weights.minimum[0] + factors.sums[1] * weights.minimum[1];
  }
  // An integer times a half neither overflows nor vanishes; so the scale of activations, which may be huge or tiny, comes
  // last, within the fma.
  sum = __fmaf_rn(static_cast<float>(products) * header.d, factors.scale, sum);
  if constexpr (Format::kHasMinimum) {
    const float value = Format::kWeights == 32 ? __int_as_float(factors.sums[0]) : static_cast<float>(minimums);
    sum = __fmaf_rn(value * header.m, factors.scale, sum);
  }
}

// sum += 8 weights times 8 activations of f32.
__device__ __forceinline__ void accumulate(float& sum, const float (&weights)[8], const char* x) {
  const float4* activations = reinterpret_cast<const float4*>(x);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = activations[i];
    sum = __fmaf_rn(weights[4 * i], four.x, sum);
    sum = __fmaf_rn(weights[4 * i + 1], four.y, sum);
    sum = __fmaf_rn(weights[4 * i + 2], four.z, sum);
    sum = __fmaf_rn(weights[4 * i + 3], four.w, sum);
  }
}

}  // namespace llm_kernels
