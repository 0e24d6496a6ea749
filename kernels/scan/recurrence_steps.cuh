// What a tile of steps needs before the state goes through it: feature maps, decays, and weighed scores.
//
// x_i is the sum of the base-2 logarithms of the decays of a block's steps up to step i. The state that the block begins with
// weighs 2^x_i in step i, step j weighs 2^(x_i - x_j) in step i, and 2^(x_last - x_j) in the state that the block ends with:
// no exponent is above 0 where no decay is above 1. In reverse each decay comes after its step: x_i is the sum before step i,
// and the last sum is that of all.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/wide_operand.cuh"
#include "scan/recurrence_block.cuh"
#include "scan/recurrence_state.cuh"

namespace llm_kernels {

// A base-2 logarithm of which one step leaves nothing of any number, and sums of many stay finite. NaN stays NaN.
__device__ __forceinline__ float limited_log2(float log) {
  const float log2 = log * CUDART_L2E_F;
  return log2 < -150.0f ? -150.0f : log2;
}

// Maps the elements of q and k that this thread has copied. What is past the last step or channel stays 0.
template <typename Traits>
__device__ __forceinline__ void map_own_copies(const LinearRecurrenceParams& params, uint32_t stage, int valid) {
  using T = typename Traits::T;
  using Tile = typename Traits::KeyTile;
  const unsigned thread = ptx::thread_index();
  const int chunk = thread % 8;
#pragma unroll 1
  for (int tensor = params.states_only; tensor < 2; ++tensor) {
    const Tile tile{stage + tensor * Tile::kBytes};
#pragma unroll 1
    for (int row = thread / 8; row < min(Traits::kTile, valid); row += Traits::kThreads / 8) {
#pragma unroll 1
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        if (panel * 64 + chunk * 8 >= params.d_k) break;
        const uint32_t address = tile.chunk_address(row, chunk) + panel * Tile::kPanelBytes;
        float values[8];
        unpack<T>(ptx::ld_shared_16(address), values);
#pragma unroll
        for (int e = 0; e < 8; ++e) values[e] = mapped(values[e], params.feature_map);
        ptx::st_shared_16(address, {T::pack(values[0], values[1]), T::pack(values[2], values[3]),
                                    T::pack(values[4], values[5]), T::pack(values[6], values[7])});
      }
    }
  }
}

// scores = q k^T of the 16 steps of a block; with kFactors q is multiplied, in each channel, by 2 to minus what is at
// `logarithms`.
template <typename Traits, bool kFactors>
__device__ __forceinline__ void multiply_steps(float (&scores)[2][4], uint32_t q_address, uint32_t k_address, int block,
                                               int d_k, uint32_t logarithms, unsigned lane) {
  using T = typename Traits::T;
#pragma unroll
  for (int depth = 0; depth < Traits::kKeys / 16; ++depth) {
    if (depth * 16 >= d_k) break;
    FragmentA q;
    FragmentB k;
    q.load(Traits::KeyTile::block_address(q_address, block, depth));
    k.load_n_by_k(Traits::KeyTile::block_address(k_address, block, depth));
    if constexpr (kFactors) {
      float wide[8];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 log2 = shared_float2(logarithms + (depth * 16 + half * 8 + lane % 4 * 2) * 4);
        const float2 factor = {ptx::ex2_approx_ftz(-log2.x), ptx::ex2_approx_ftz(-log2.y)};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float2 pair = T::unpack(q.a[half * 2 + i]);
          wide[half * 4 + i * 2] = pair.x * factor.x;
          wide[half * 4 + i * 2 + 1] = pair.y * factor.y;
        }
      }
      mma_wide_a<T>(scores[0], wide, k.b[0], k.b[1]);
      mma_wide_a<T>(scores[1], wide, k.b[2], k.b[3]);
    } else {
      mma<T>(scores[0], scores[1], q, k);
    }
  }
}

// Stores weighed scores where each lane finds its part of operand A.
__device__ __forceinline__ void store_scores(uint32_t address, const float (&scores)[2][4], unsigned lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    ptx::st_shared_16(address + n * 512 + lane * 16,
                      {__float_as_uint(scores[n][0]), __float_as_uint(scores[n][1]), __float_as_uint(scores[n][2]),
                       __float_as_uint(scores[n][3])});
  }
}

// Row and column of element (n, e) of a block's scores.
__device__ __forceinline__ int score_row(int e, unsigned lane) { return lane / 4 + e / 2 * 8; }
__device__ __forceinline__ int score_column(int n, int e, unsigned lane) { return n * 8 + lane % 4 * 2 + e % 2; }

// Of one decay for all channels: weights of the steps of a block, and its scores. One warp.
template <typename Traits>
__device__ __forceinline__ void weigh_steps(const LinearRecurrenceParams& params, uint32_t shared, uint32_t stage,
                                            int block) {
  const unsigned lane = ptx::thread_index() % 32;
  float log2 = 0.0f;
  if (params.decay.data != nullptr) {
    const uint32_t decays = stage + Traits::kDecayOffset;
    log2 = limited_log2(shared_float(decays + (block * 16 + lane % 16) * 4));
  }
  float sum = log2;
#pragma unroll
  for (int distance = 1; distance < 16; distance *= 2) {
    const float before = __shfl_up_sync(kAllLanes, sum, distance, 16);
    if (lane % 16 >= distance) sum += before;
  }
  const float total = __shfl_sync(kAllLanes, sum, 15);
  if (params.reverse) {
    const float before = __shfl_up_sync(kAllLanes, sum, 1, 16);
    sum = lane % 16 == 0 ? 0.0f : before;
  }
  if (lane < 16) {
    const uint32_t offset = (block * 16 + lane) * 4;
    ptx::st_shared_4(shared + Traits::kRowOffset + offset, __float_as_uint(ptx::ex2_approx_ftz(sum) * params.scale));
    ptx::st_shared_4(shared + Traits::kKeyOffset + offset, __float_as_uint(ptx::ex2_approx_ftz(total - sum) * params.key_scale));
  }
  if (lane == 0) {
    ptx::st_shared_8(shared + Traits::kFactorOffset + block * 8,
                     {__float_as_uint(ptx::ex2_approx_ftz(total)), __float_as_uint(total)});
  }
  if (params.states_only) return;

  float scores[2][4] = {};
  using Tile = typename Traits::KeyTile;
  multiply_steps<Traits, false>(scores, Tile{stage}.ldmatrix_address(lane),
                                Tile{stage + Tile::kBytes}.ldmatrix_address_n_by_k(lane), block, params.d_k, 0, lane);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = score_row(e, lane), j = score_column(n, e, lane);
      const float exponent = __shfl_sync(kAllLanes, sum, i) - __shfl_sync(kAllLanes, sum, j);
      scores[n][e] = j <= i ? scores[n][e] * (ptx::ex2_approx_ftz(exponent) * params.scale * params.key_scale) : 0.0f;
    }
  }
  store_scores(shared + Traits::kScoreOffset + block * 1024, scores, lane);
}

}  // namespace llm_kernels
