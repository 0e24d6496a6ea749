// What the elements of q and k are replaced by.
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

}  // namespace llm_kernels
