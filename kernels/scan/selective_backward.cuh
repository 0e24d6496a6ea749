// A thread's part of the selective scan's gradients: states of a channel, a few positions at a time, forwards and back.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "scan/selective_tile.cuh"

namespace llm_kernels {

inline constexpr int kChunk = 32;           // As in selective_scan::CHUNK.
inline constexpr int kSub = 8;              // Positions whose states are in registers.
inline constexpr float kLn2 = 0.6931471805599453f;

template <int kLanes_, int kStates_, int kChannels_, int kWindow_, int kStage_, int kBlocks_>
struct BackwardGeometry {
  static constexpr int kLanes = kLanes_, kStates = kStates_, kChannels = kChannels_, kBlocks = kBlocks_;
  static constexpr int kWindow = kWindow_;  // Positions of a chunk whose B and C are there together.
  static constexpr int kStage = kStage_;    // Positions whose d_B and d_C are summed over warps together.
  static constexpr int kMaxStates = kLanes * kStates, kThreads = kLanes * kChannels, kWarps = kThreads / 32;
  static constexpr int kWarpChannels = 32 / kLanes;
  // Results of the lanes of a warp lie in different banks.
  static constexpr int kStride = kChannels + 8;
  static_assert(kSub % kStage == 0 && kSub % kTogether == 0 && kWindow % kSub == 0 && kChunk % kWindow == 0,
                "whole parts");
};

template <typename G>
struct BackwardShared {
  float delta[kChunk][G::kStride];  // Later d_delta; and so the next two.
  float u[kChunk][G::kStride];      // d_u
  float gate[kChunk][G::kStride];   // d_out silu'(z), later d_z
  float dy[kChunk][G::kStride];
  float B[G::kWindow][G::kMaxStates];
  float C[G::kWindow][G::kMaxStates];
  float4 start[kChunk / kSub - 1][G::kStates / kScanUnit][G::kThreads];
  float stage[G::kWarps][G::kStage][2 * G::kMaxStates];
  float delta_bias[G::kChannels];
  float D[G::kChannels];
};

// A thread's states, and what it sums up.
template <typename G>
struct Backward : ChannelStates<G::kLanes, G::kStates> {
  float A[G::kStates];   // Times log2(e).
  float h[G::kStates];
  float dh[G::kStates];  // Of the position before, once decayed.
  float d_A[G::kStates];
  float D, d_D, d_delta_bias;
  int channel;           // Of the block.

  using ChannelStates<G::kLanes, G::kStates>::lane;
  using ChannelStates<G::kLanes, G::kStates>::state;

  // B or C of a position.
  __device__ __forceinline__ void read(const float (&rows)[G::kWindow][G::kMaxStates], int at,
                                       float (&values)[G::kStates]) const {
#pragma unroll
    for (int i = 0; i < G::kStates; i += kScanUnit) {
      const float4 loaded = *reinterpret_cast<const float4*>(&rows[at % G::kWindow][state(i)]);
      values[i] = loaded.x, values[i + 1] = loaded.y, values[i + 2] = loaded.z, values[i + 3] = loaded.w;
    }
  }

  __device__ __forceinline__ void step(const BackwardShared<G>& shared, int at) {
    const float delta = shared.delta[at][channel], delta_u = delta * shared.u[at][channel];
    float B[G::kStates];
    read(shared.B, at, B);
#pragma unroll
    for (int i = 0; i < G::kStates; ++i) {
      h[i] = __fmaf_rn(ptx::ex2_approx_ftz(delta * A[i]), h[i], delta_u * B[i]);
    }
  }

  // States before every kSub-th position of a window from position `first` of the chunk on; those before the last are in h.
  __device__ __forceinline__ void keep_states(BackwardShared<G>& shared, int first) {
    for (int sub = first / kSub; sub < min((first + G::kWindow) / kSub, kChunk / kSub - 1); ++sub) {
#pragma unroll
      for (int i = 0; i < G::kStates; i += kScanUnit) {
        shared.start[sub][i / kScanUnit][threadIdx.x] = {h[i], h[i + 1], h[i + 2], h[i + 3]};
      }
#pragma unroll
      for (int at = 0; at < kSub; ++at) step(shared, sub * kSub + at);
    }
  }

  // kSub positions from `first` on, forwards and back, of which those before `count` are there.
  template <typename SumStage>
  __device__ __forceinline__ void positions(BackwardShared<G>& shared, int first, int count, bool has_gate,
                                            bool has_softplus, const SumStage& sum_stage) {
    float kept[kSub + 1][G::kStates];
#pragma unroll
    for (int i = 0; i < G::kStates; i += kScanUnit) {
      if (first / kSub < kChunk / kSub - 1) {
        const float4 start = shared.start[first / kSub][i / kScanUnit][threadIdx.x];
        h[i] = start.x, h[i + 1] = start.y, h[i + 2] = start.z, h[i + 3] = start.w;
      }
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) kept[0][i + e] = h[i + e];
    }
    float sums[kTogether], more[kTogether];
#pragma unroll
    for (int at = 0; at < kSub; ++at) {
      step(shared, first + at);
      float C[G::kStates], sum = 0.0f;
      read(shared.C, first + at, C);
#pragma unroll
      for (int i = 0; i < G::kStates; ++i) kept[at + 1][i] = h[i], sum = __fmaf_rn(C[i], h[i], sum);
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
      float B[G::kStates], C[G::kStates], of_channel[2 * G::kStates];
      read(shared.B, first + at, B);
      read(shared.C, first + at, C);
      float of_B = 0.0f, of_A = 0.0f;
#pragma unroll
      for (int i = 0; i < G::kStates; ++i) {
        dh[i] = __fmaf_rn(C[i], dy, dh[i]);
        of_channel[i] = dh[i] * (delta * u);
        of_channel[G::kStates + i] = dy * kept[at + 1][i];
        of_B = __fmaf_rn(dh[i], B[i], of_B);
        dh[i] *= ptx::ex2_approx_ftz(delta * A[i]);
        const float w = dh[i] * kept[at][i];
        d_A[i] = __fmaf_rn(w, delta, d_A[i]);
        of_A = __fmaf_rn(w, A[i], of_A);
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
  __device__ __forceinline__ void stage(BackwardShared<G>& shared, int at, float (&values)[2 * G::kStates]) const {
    constexpr int kKept = 2 * G::kStates / G::kWarpChannels;
    int first = 0;
#pragma unroll
    for (int half = G::kStates, distance = 16; half >= kKept; half /= 2, distance /= 2) {
      const bool upper = threadIdx.x & distance;
      if (upper) first += half;
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const float given = upper ? values[i] : values[i + half];
        const float own = upper ? values[i + half] : values[i];
        values[i] = own + __shfl_xor_sync(kAllLanes, given, distance);
      }
    }
    float* staged = shared.stage[threadIdx.x / 32][at];
    const auto column = [&](int i) { return i / G::kStates * G::kMaxStates + state(i % G::kStates); };
    if constexpr (kKept < kScanUnit) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) staged[column(first) + i] = values[i];
    } else {
#pragma unroll
      for (int i = 0; i < kKept; i += kScanUnit) {
        float4* chunk = reinterpret_cast<float4*>(staged + column(first + i));
        *chunk = {values[i], values[i + 1], values[i + 2], values[i + 3]};
      }
    }
  }
};

}  // namespace llm_kernels
