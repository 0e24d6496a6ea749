// What the elements of q and k are replaced by, and the slope of that.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/linear_recurrence/.
enum class FeatureMap : int32_t { kIdentity = 0, kEluPlusOne = 1, kRelu = 2, kExp = 3 };

__device__ __forceinline__ float mapped(float x, FeatureMap map) {
  if (map == FeatureMap::kIdentity) return x;
  if (map == FeatureMap::kRelu) return x < 0.0f ? 0.0f : x;
  const float power = ptx::ex2_approx_ftz(x * CUDART_L2E_F);
  return map == FeatureMap::kExp || x < 0.0f ? power : x + 1.0f;
}

// At 0, where relu has two, that of the numbers below.
__device__ __forceinline__ float slope(float x, FeatureMap map) {
  if (map == FeatureMap::kIdentity) return 1.0f;
  if (map == FeatureMap::kRelu) return x > 0.0f ? 1.0f : 0.0f;
  return map == FeatureMap::kExp || x < 0.0f ? ptx::ex2_approx_ftz(x * CUDART_L2E_F) : 1.0f;
}

}  // namespace llm_kernels
