// What one pass over logits finds: the best key, and sums of exponentials.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/philox.cuh"
#include "common/ptx.cuh"
#include "common/reduce.cuh"

namespace llm_kernels {

// No token: later than any in a comparison.
inline constexpr uint32_t kNoToken = 0xffffffffu;

// 2^32 random bits to Gumbel's distribution: -ln(-ln(1 - v)) with v = (bits + 1/2) / 2^32. Small v, which decide, keep
// their relative precision.
__device__ __forceinline__ float gumbel(uint32_t bits) {
  const float v = fminf(__fmaf_rn(__uint2float_rn(bits), 0x1p-32f, 0x1p-33f), 1.0f - 0x1p-24f);
  const float series = v * __fmaf_rn(v, __fmaf_rn(v, __fmaf_rn(v, 0.25f, 1.0f / 3.0f), 0.5f), 1.0f);
  const float exponential = v < 0x1p-6f ? series : -CUDART_LN2_F * ptx::lg2_approx_ftz(1.0f - v);
  return -CUDART_LN2_F * ptx::lg2_approx_ftz(exponential);
}

// Of some tokens.
struct Candidate {
  float key;            // The best.
  uint32_t token;       // Its token, the first of equals.
  float logit;          // That token's.

  static __device__ __forceinline__ Candidate none() { return {-CUDART_INF_F, kNoToken, -CUDART_INF_F}; }

  __device__ __forceinline__ void offer(float other_key, uint32_t other_token, float other_logit) {
    const bool better = other_key > key || (other_key == key && other_token < token);
    key = better ? other_key : key;
    token = better ? other_token : token;
    logit = better ? other_logit : logit;
  }

  // Over all lanes.
  __device__ __forceinline__ void reduce() {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      const float other_key = __shfl_xor_sync(kAllLanes, key, distance);
      const uint32_t other_token = __shfl_xor_sync(kAllLanes, token, distance);
      const float other_logit = __shfl_xor_sync(kAllLanes, logit, distance);
      offer(other_key, other_token, other_logit);
    }
  }
};

// The maximum, and sums of exp(logit - maximum) and of exp((logit - maximum) / temperature). NaN is passed over.
struct Sums {
  float maximum;
  float plain;
  float tempered;

  __device__ __forceinline__ void add(const Sums& other, float scale_log2) {
    const float larger = fmaxf(maximum, other.maximum);
    // Where nothing has been seen there is nothing to scale.
    const float own = maximum == larger ? 0.0f : maximum - larger;
    const float others = other.maximum == larger ? 0.0f : other.maximum - larger;
    plain = plain * ptx::ex2_approx_ftz(own * CUDART_L2E_F) + other.plain * ptx::ex2_approx_ftz(others * CUDART_L2E_F);
    tempered = tempered * ptx::ex2_approx_ftz(own * scale_log2) +
               other.tempered * ptx::ex2_approx_ftz(others * scale_log2);
    maximum = larger;
  }

  // Over all lanes.
  __device__ __forceinline__ void reduce(float scale_log2) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      const Sums other{__shfl_xor_sync(kAllLanes, maximum, distance), __shfl_xor_sync(kAllLanes, plain, distance),
                       __shfl_xor_sync(kAllLanes, tempered, distance)};
      // The same order in both lanes, so that they agree.
      const bool upper = threadIdx.x & distance;
      Sums sum = upper ? other : *this;
      sum.add(upper ? *this : other, scale_log2);
      *this = sum;
    }
  }
};

}  // namespace llm_kernels
