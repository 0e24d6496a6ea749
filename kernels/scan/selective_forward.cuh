// A thread's part of the selective scan: states of a channel, a tile of positions at a time.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "scan/selective_tile.cuh"

namespace llm_kernels {

// kRegisterStates: states of a lane whose A is in registers. That of the others is in shared memory, read once for kAtOnce
// positions.
template <int kStates_, int kRegisterStates_, int kChannels_, int kPositions_, int kAtOnce_, bool kPrefetch_,
          int kBlocks_>
struct Geometry {
  // A lane sums up its channel's results of one of kTogether positions.
  static constexpr int kLanes = kTogether;
  static constexpr int kStates = kStates_, kRegisterStates = kRegisterStates_, kChannels = kChannels_;
  static constexpr int kPositions = kPositions_, kAtOnce = kAtOnce_, kBlocks = kBlocks_;
  static constexpr bool kPrefetch = kPrefetch_;
  // Where A has no room in registers, nor have segments.
  static constexpr bool kSegments = kRegisterStates == kStates;
  static constexpr int kMaxStates = kLanes * kStates, kThreads = kLanes * kChannels;
  // Units of a tile of channels, and of one of B and C, that a thread copies; some threads copy fewer.
  static constexpr int kChannelUnits = (kPositions * kChannels / kScanUnit + kThreads - 1) / kThreads;
  static constexpr int kStateUnits = (2 * kPositions * kMaxStates / kScanUnit + kThreads - 1) / kThreads;
  static_assert(32 % kPositions == 0 && kPositions % kTogether == 0, "chunks are whole tiles");
  // Results of the lanes of a warp lie in different banks.
  static constexpr int kStride = kChannels + 8;
};

// What a block does. In shared memory: large instances have no registers for it.
struct Place {
  int batch, group;
  int segment, block;  // The block's number among those of a segment.
  int begin;           // Of the sequence.
  int first, end;      // Positions of the sequence.
  bool is_last;        // Whether they are its last.
  int first_channel, channels;
};

template <int kStates, int kThreads>
struct SharedCoefficients {
  float4 A[kStates / kScanUnit][kThreads];
};
template <int kThreads>
struct SharedCoefficients<0, kThreads> {};

template <typename G>
struct Shared : SharedCoefficients<G::kStates - G::kRegisterStates, G::kThreads> {
  float delta[G::kPositions][G::kStride];  // Later the sums over states.
  float u[G::kPositions][G::kStride];
  float gate[G::kPositions][G::kStride];
  float coefficients[2][G::kPositions][G::kMaxStates];  // B and C.
  float delta_bias[G::kChannels];
  float D[G::kChannels];
  Place place;
};

__device__ __forceinline__ float4 quad(const float (&values)[kScanUnit]) {
  return {values[0], values[1], values[2], values[3]};
}

// A thread's states.
template <typename G>
struct Scan : ChannelStates<G::kLanes, G::kStates> {
  float A[G::kRegisterStates];  // Times log2(e); so is what shared memory has.
  float h[G::kStates];
  float sum_delta;              // Of all positions.
  int channel;                  // Of the block.

  using ChannelStates<G::kLanes, G::kStates>::lane;
  using ChannelStates<G::kLanes, G::kStates>::state;

  __device__ __forceinline__ void load_A(const float* row, int d_state, Shared<G>& shared) {
#pragma unroll
    for (int i = 0; i < G::kStates; i += kScanUnit) {
      float4 loaded = {};
      if (row != nullptr && state(i) < d_state) loaded = *reinterpret_cast<const float4*>(row + state(i));
      loaded = {loaded.x * CUDART_L2E_F, loaded.y * CUDART_L2E_F, loaded.z * CUDART_L2E_F, loaded.w * CUDART_L2E_F};
      if constexpr (G::kRegisterStates < G::kStates) {
        if (i >= G::kRegisterStates) {
          shared.A[(i - G::kRegisterStates) / kScanUnit][threadIdx.x] = loaded;
          // One after the other: there are no registers for all at once.
          __syncwarp();
          continue;
        }
      }
      A[i] = loaded.x, A[i + 1] = loaded.y, A[i + 2] = loaded.z, A[i + 3] = loaded.w;
    }
  }

  // A of kScanUnit states.
  __device__ __forceinline__ void read_A(const Shared<G>& shared, int i, float (&values)[kScanUnit]) const {
    if constexpr (G::kRegisterStates < G::kStates) {
      if (i >= G::kRegisterStates) {
        const float4 stored = shared.A[(i - G::kRegisterStates) / kScanUnit][threadIdx.x];
        values[0] = stored.x, values[1] = stored.y, values[2] = stored.z, values[3] = stored.w;
        return;
      }
    }
#pragma unroll
    for (int e = 0; e < kScanUnit; ++e) values[e] = A[i + e];
  }

  // The first `count` positions of a tile, and up to kTogether - 1 more.
  template <bool kResults>
  __device__ __forceinline__ void tile(Shared<G>& shared, int count) {
    for (int first = 0; first < min(count, G::kPositions); first += kTogether) {
      float sums[kTogether] = {};
#pragma unroll
      for (int part = 0; part < kTogether; part += G::kAtOnce) {
        float delta[G::kAtOnce], delta_u[G::kAtOnce];
#pragma unroll
        for (int at = 0; at < G::kAtOnce; ++at) {
          delta[at] = shared.delta[first + part + at][channel];
          delta_u[at] = delta[at] * shared.u[first + part + at][channel];
          if (!kResults) sum_delta += delta[at];
        }
#pragma unroll
        for (int i = 0; i < G::kStates; i += kScanUnit) {
          float A[kScanUnit];
          read_A(shared, i, A);
#pragma unroll
          for (int at = 0; at < G::kAtOnce; ++at) {
            const float4 b = *reinterpret_cast<const float4*>(&shared.coefficients[0][first + part + at][state(i)]);
            const float4 c = *reinterpret_cast<const float4*>(&shared.coefficients[1][first + part + at][state(i)]);
            const float B[kScanUnit] = {b.x, b.y, b.z, b.w}, C[kScanUnit] = {c.x, c.y, c.z, c.w};
#pragma unroll
            for (int e = 0; e < kScanUnit; ++e) {
              h[i + e] = __fmaf_rn(ptx::ex2_approx_ftz(delta[at] * A[e]), h[i + e], delta_u[at] * B[e]);
              if (kResults) sums[part + at] = __fmaf_rn(C[e], h[i + e], sums[part + at]);
            }
          }
        }
      }
      if (!kResults) continue;
      const float sum = sum_of_lanes<G::kLanes>(sums, lane);
      // The other lanes have read what is overwritten.
      __syncwarp();
      shared.delta[first + lane][channel] = sum;
    }
  }

  // Takes the states before a segment, `h` being what the segment makes of zeros, and hands on those behind it.
  __device__ __forceinline__ void take_carry(float* carry, int d_state, const Shared<G>& shared, bool is_last) {
#pragma unroll
    for (int i = 0; i < G::kStates; i += kScanUnit) {
      float4* slot = reinterpret_cast<float4*>(carry + state(i));
      const bool exists = carry != nullptr && state(i) < d_state;
      float4 loaded = {};
      if (exists) loaded = *slot;
      const float before[kScanUnit] = {loaded.x, loaded.y, loaded.z, loaded.w};
      float A[kScanUnit], behind[kScanUnit];
      read_A(shared, i, A);
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        // The product of all decays; finite, so that states of 0 stay 0.
        const float decay = fminf(ptx::ex2_approx_ftz(sum_delta * A[e]), CUDART_MAX_NORMAL_F);
        behind[e] = __fmaf_rn(decay, before[e], h[i + e]);
        h[i + e] = before[e];
      }
      if (exists && !is_last) *slot = quad(behind);
    }
  }
};

}  // namespace llm_kernels
