// The activations of gated units, with their derivatives.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/gated/mod.rs.
enum class Activation : int32_t { kSilu = 0, kGelu = 1, kGeluTanh = 2, kRelu2 = 3 };

// 1 / (1 + exp(-x)).
__device__ __forceinline__ float sigmoid(float x) {
  return ptx::rcp_approx_ftz(1.0f + ptx::ex2_approx_ftz(-CUDART_L2E_F * x));
}

// The normal distribution's probability of less than x, with a relative error of 4e-7 at 0 and still 1e-5 far in the
// negative tail, where 1 + erf would cancel: erfc(z) = t exp(-z^2 + P(t)), t = 1 / (1 + z / 2), with the Chebyshev fit of
// Press et al., Numerical Recipes, section 6.2.
__device__ __forceinline__ float normal_cdf(float x) {
  const float z = fabsf(x) * 0.7071067811865476f;
  const float t = ptx::rcp_approx_ftz(__fmaf_rn(0.5f, z, 1.0f));
  float p = __fmaf_rn(t, 0.17087277f, -0.82215223f);
  p = __fmaf_rn(p, t, 1.48851587f);
  p = __fmaf_rn(p, t, -1.13520398f);
  p = __fmaf_rn(p, t, 0.27886807f);
  p = __fmaf_rn(p, t, -0.18628806f);
  p = __fmaf_rn(p, t, 0.09678418f);
  p = __fmaf_rn(p, t, 0.37409196f);
  p = __fmaf_rn(p, t, 1.00002368f);
  p = __fmaf_rn(p, t, -1.26551223f);
  const float tail = 0.5f * t * ptx::ex2_approx_ftz(CUDART_L2E_F * __fmaf_rn(-z, z, p));
  return x < 0.0f ? tail : 1.0f - tail;
}

// The logit of the tanh form: (1 + tanh(u)) / 2 = sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float gelu_logit(float x) {
  constexpr float kTwoRoots = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  return kTwoRoots * x * __fmaf_rn(0.044715f * x, x, 1.0f);
}

template <Activation kActivation>
__device__ __forceinline__ float activate(float x) {
  if constexpr (kActivation == Activation::kSilu) return x * sigmoid(x);
  if constexpr (kActivation == Activation::kGelu) return x * normal_cdf(x);
  if constexpr (kActivation == Activation::kGeluTanh) return x * sigmoid(gelu_logit(x));
  // A comparison, so that NaN stays.
  if constexpr (kActivation == Activation::kRelu2) return x <= 0.0f ? 0.0f : x * x;
}

struct Activated {
  float value;
  float derivative;
};

// 1 / (1 + exp(-x)) and what is missing to 1, each with its own relative precision: slopes live on the difference.
struct Sigmoid {
  float value;
  float complement;

  __device__ __forceinline__ explicit Sigmoid(float x) {
    const float power = ptx::ex2_approx_ftz(-CUDART_L2E_F * fabsf(x));
    const float larger = ptx::rcp_approx_ftz(1.0f + power), smaller = power * larger;
    value = x < 0.0f ? smaller : larger;
    complement = x < 0.0f ? larger : smaller;
  }
};

template <Activation kActivation>
__device__ __forceinline__ Activated activate_and_derive(float x) {
  if constexpr (kActivation == Activation::kSilu) {
    const Sigmoid s(x);
    return {x * s.value, __fmaf_rn(x * s.value, s.complement, s.value)};
  }
  if constexpr (kActivation == Activation::kGelu) {
    const float cdf = normal_cdf(x);
    const float density = 0.3989422804014327f * ptx::ex2_approx_ftz(-0.5f * CUDART_L2E_F * x * x);
    return {x * cdf, __fmaf_rn(x, density, cdf)};
  }
  if constexpr (kActivation == Activation::kGeluTanh) {
    constexpr float kTwoRoots = 1.5957691216057308f;
    const Sigmoid s(gelu_logit(x));
    const float slope = kTwoRoots * __fmaf_rn(3.0f * 0.044715f * x, x, 1.0f);
    // Where the sigmoid has become 0 or 1 the slope may be infinite.
    const float bend = x * s.value * s.complement;
    return {x * s.value, bend == 0.0f ? s.value : __fmaf_rn(bend, slope, s.value)};
  }
  if constexpr (kActivation == Activation::kRelu2) {
    return {x <= 0.0f ? 0.0f : x * x, x <= 0.0f ? 0.0f : 2.0f * x};
  }
}

// Calls `work` with the activation as a type: `work.template operator()<kActivation>()`. One uniform branch.
template <typename Work>
__device__ __forceinline__ void with_activation(Activation activation, const Work& work) {
  switch (activation) {
    case Activation::kSilu: return work.template run<Activation::kSilu>();
    case Activation::kGelu: return work.template run<Activation::kGelu>();
    case Activation::kGeluTanh: return work.template run<Activation::kGeluTanh>();
    case Activation::kRelu2: return work.template run<Activation::kRelu2>();
  }
}

}  // namespace llm_kernels
