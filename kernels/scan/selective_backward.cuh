// A thread's part of the selective scan's gradients: states of a channel, a few positions at a time, forwards and back.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "scan/selective_tile.cuh"

namespace llm_kernels {

inline constexpr int kChunk = 32;           // As in selective_scan::CHUNK.
inline constexpr int kSub = 8;              // Positions whose states are in registers.
inline constexpr float kLn2 = 0.6931471805599453f;

template <int kLanes_, int kChannels_, int kStage_, int kBlocks_>
struct BackwardGeometry {
  static constexpr int kLanes = kLanes_, kStates = kScanUnit, kChannels = kChannels_, kBlocks = kBlocks_;
  static constexpr int kStage = kStage_;  // Positions whose d_B and d_C are summed over warps together.
  static constexpr int kMaxStates = kLanes * kStates, kThreads = kLanes * kChannels, kWarps = kThreads / 32;
  static constexpr int kWarpChannels = 32 / kLanes;
  // Results of the lanes of a warp lie in different banks.
  static constexpr int kStride = kChannels + 8;
  static_assert(kSub % kStage == 0 && kStage % kTogether == 0 && kChunk % kSub == 0, "whole parts");
};

template <typename G>
struct BackwardShared {
  float delta[kChunk][G::kStride];  // Later d_delta; and so the next two.
  float u[kChunk][G::kStride];      // d_u
  float gate[kChunk][G::kStride];   // d_out silu'(z), later d_z
  float dy[kChunk][G::kStride];
  float B[kChunk][G::kMaxStates];
  float C[kChunk][G::kMaxStates];
  float4 start[kChunk / kSub][G::kThreads];
  float stage[G::kWarps][G::kStage][2 * G::kMaxStates];
  float delta_bias[G::kChannels];
  float D[G::kChannels];
};

// A thread's states, and what it sums up.
template <typename G>
struct Backward {
  float A[kScanUnit];   // Times log2(e).
  float h[kScanUnit];
  float dh[kScanUnit];  // Of the position before, once decayed.
  float d_A[kScanUnit];
  float D, d_D, d_delta_bias;
  int lane;             // Of those that own the channel.
  int channel;          // Of the block.

  static __device__ __forceinline__ void read(const float* row, float scale, float (&values)[kScanUnit]) {
    const float4 loaded = *reinterpret_cast<const float4*>(row);
    values[0] = loaded.x * scale, values[1] = loaded.y * scale;
    values[2] = loaded.z * scale, values[3] = loaded.w * scale;
  }

  __device__ __forceinline__ void step(const BackwardShared<G>& shared, int at) {
    const float delta = shared.delta[at][channel], delta_u = delta * shared.u[at][channel];
    float B[kScanUnit];
    read(&shared.B[at][lane * kScanUnit], 1.0f, B);
#pragma unroll
    for (int e = 0; e < kScanUnit; ++e) {
      h[e] = __fmaf_rn(ptx::ex2_approx_ftz(delta * A[e]), h[e], delta_u * B[e]);
    }
  }

  // States before every kSub-th position of a chunk.
  __device__ __forceinline__ void keep_states(BackwardShared<G>& shared) {
    for (int sub = 0; sub < kChunk / kSub; ++sub) {
      shared.start[sub][threadIdx.x] = {h[0], h[1], h[2], h[3]};
      if (sub + 1 == kChunk / kSub) break;
#pragma unroll
      for (int at = 0; at < kSub; ++at) step(shared, sub * kSub + at);
    }
  }

  // kSub positions from `first` on, forwards and back, of which those before `count` are there.
  template <typename SumStage>
  __device__ __forceinline__ void positions(BackwardShared<G>& shared, int first, int count, bool has_gate,
                                            bool has_softplus, const SumStage& sum_stage) {
    const float4 start = shared.start[first / kSub][threadIdx.x];
    float kept[kSub + 1][kScanUnit] = {{start.x, start.y, start.z, start.w}};
#pragma unroll
    for (int e = 0; e < kScanUnit; ++e) h[e] = kept[0][e];
    float sums[kTogether], more[kTogether];
#pragma unroll
    for (int at = 0; at < kSub; ++at) {
      step(shared, first + at);
      float C[kScanUnit], sum = 0.0f;
      read(&shared.C[first + at][lane * kScanUnit], 1.0f, C);
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) kept[at + 1][e] = h[e], sum = __fmaf_rn(C[e], h[e], sum);
      sums[at % kTogether] = sum;
      if (has_gate && at % kTogether == kTogether - 1) {
        const float of_states = sum_of_lanes<G::kLanes>(sums, lane);
        float& gate = shared.gate[first + at - (kTogether - 1) + lane % kTogether][channel];
        const float u = shared.u[first + at - (kTogether - 1) + lane % kTogether][channel];
        if (lane < kTogether) gate *= __fmaf_rn(D, u, of_states);
      }
    }
#pragma unroll
    for (int at = kSub - 1; at >= 0; --at) {
      const float delta = shared.delta[first + at][channel], u = shared.u[first + at][channel];
      const float dy = shared.dy[first + at][channel];
      float B[kScanUnit], C[kScanUnit], of_channel[2 * kScanUnit];
      read(&shared.B[first + at][lane * kScanUnit], 1.0f, B);
      read(&shared.C[first + at][lane * kScanUnit], 1.0f, C);
      float of_B = 0.0f, of_A = 0.0f;
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        dh[e] = __fmaf_rn(C[e], dy, dh[e]);
        of_channel[e] = dh[e] * (delta * u);
        of_channel[kScanUnit + e] = dy * kept[at + 1][e];
        of_B = __fmaf_rn(dh[e], B[e], of_B);
        dh[e] *= ptx::ex2_approx_ftz(delta * A[e]);
        const float w = dh[e] * kept[at][e];
        d_A[e] = __fmaf_rn(w, delta, d_A[e]);
        of_A = __fmaf_rn(w, A[e], of_A);
      }
      sums[at % kTogether] = of_B, more[at % kTogether] = of_A;
      stage(shared, at % G::kStage, of_channel);
      if (at % kTogether == 0) finish(shared, first + at, count, has_softplus, sums, more);
      if (at % G::kStage == 0) sum_stage(first + at);
    }
  }

  // kTogether positions' gradients of u and delta, in place of these; each lane of the first has one position.
  __device__ __forceinline__ void finish(BackwardShared<G>& shared, int first, int count, bool has_softplus,
                                         float (&sums)[kTogether], float (&more)[kTogether]) {
    const float of_B = sum_of_lanes<G::kLanes>(sums, lane), of_A = sum_of_lanes<G::kLanes>(more, lane) * kLn2;
    // The other lanes have read what is overwritten.
    __syncwarp();
    if (lane >= kTogether) return;
    const int at = first + lane;
    const float delta = shared.delta[at][channel], u = shared.u[at][channel], dy = shared.dy[at][channel];
    float d_delta = __fmaf_rn(u, of_B, of_A);
    // softplus' = 1 - exp(-softplus)
    if (has_softplus) d_delta *= -expm1f(-delta);
    shared.delta[at][channel] = d_delta;
    shared.u[at][channel] = __fmaf_rn(delta, of_B, D * dy);
    d_D = __fmaf_rn(dy, u, d_D);
    if (at < count) d_delta_bias += d_delta;
  }

  // d_B and d_C of a position, summed over the warp's channels: half of the values go to the other half of the lanes,
  // again and again.
  __device__ __forceinline__ void stage(BackwardShared<G>& shared, int at, float (&values)[2 * kScanUnit]) const {
    constexpr int kKept = 2 * kScanUnit / G::kWarpChannels;
    int first = 0;
#pragma unroll
    for (int half = kScanUnit, distance = 16; half >= kKept; half /= 2, distance /= 2) {
      const bool upper = threadIdx.x & distance;
      if (upper) first += half;
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const float given = upper ? values[i] : values[i + half];
        const float own = upper ? values[i + half] : values[i];
        values[i] = own + __shfl_xor_sync(kAllLanes, given, distance);
      }
    }
    const int column = first / kScanUnit * G::kMaxStates + lane * kScanUnit + first % kScanUnit;
    float* staged = &shared.stage[threadIdx.x / 32][at][column];
    if constexpr (kKept < kScanUnit) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) staged[i] = values[i];
    } else {
#pragma unroll
      for (int i = 0; i < kKept; i += kScanUnit) {
        float4* chunk = reinterpret_cast<float4*>(staged + i / kScanUnit * G::kMaxStates);
        *chunk = {values[i], values[i + 1], values[i + 2], values[i + 3]};
      }
    }
  }
};

}  // namespace llm_kernels
