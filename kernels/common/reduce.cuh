// Reductions over the lanes of a warp. All 32 lanes take part.
#pragma once

namespace llm_kernels {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// Maximum over the 4 lanes that share the rows of an accumulator; NaN is ignored unless all are NaN.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

// Sum over the same 4 lanes, equal in all of them.
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

// Sum over all lanes of a warp, equal in all of them.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

}  // namespace llm_kernels
