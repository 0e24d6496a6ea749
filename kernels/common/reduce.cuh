// Reductions over the lanes of a warp, and over teams of threads. All 32 lanes take part, with all threads of the block
// where a team is larger than a warp.
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

// Sum over a team: `team` neighbouring threads, a power of two up to 32, or the whole block, whose warps then meet in
// `scratch`, shared memory of one float a warp. Equal in all of them; the order of the additions is fixed.
__device__ __forceinline__ float team_sum(float x, int team, float* scratch) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    if (distance < team) x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  if (team > 32) {
    // Not before all have read what an earlier sum left there.
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0.0f;
    for (int warp = 0; warp < team / 32; ++warp) x += scratch[warp];
  }
  return x;
}

// Whether `x` holds in any thread that must stay together: the warp, or the whole block if the team is larger.
__device__ __forceinline__ bool any_of_teams(bool x, int team) {
  return team > 32 ? __syncthreads_or(x) : __any_sync(kAllLanes, x);
}

}  // namespace llm_kernels
