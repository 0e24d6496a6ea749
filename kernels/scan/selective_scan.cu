// The selective scan of Mamba: a linear recurrence of every channel by itself, with coefficients by position.
//
//   u, delta, z, out: [b, s, dim], or [total, dim] with offsets of sequences   A: [dim, n]   B, C: [b, s, groups, n]
//   D, delta_bias: [dim]   initial_state, final_state: [b, dim, n]   boundary_states: [chunks, dim, n]
//
//   h[t] = exp(delta A) h[t - 1] + delta B[t] u[t],  delta = softplus(delta[t] + delta_bias)
//   out[t] = (sum over n of C[t] h[t] + D u[t]) silu(z[t])
//
// Block: kChannels channels of one group and one sequence, all of its positions, kPositions at a time. kLanes
// neighbouring lanes own a channel, each kStates of its states, in registers. Thread as copier: kScanUnit neighbouring
// channels of some positions, whose next values are under way while it scans. delta, delta u, B, C and results go
// through shared memory, in f32. Accumulation: f32. Memory: everything once; B and C once for every kChannels channels.
// Derivation: src/scan/selective_scan/README.md
#include <cstddef>
#include <cstdint>

#include "common/sequences.cuh"
#include "fused/activation.cuh"
#include "scan/selective_tile.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/selective_scan/params.rs.
struct SelectiveScanParams {
  SequenceTensor u;
  SequenceTensor delta;
  SequenceTensor z;        // Null data: no gate.
  SequenceTensor out;
  SequenceTensor B;
  SequenceTensor C;
  const float* A;
  const float* D;              // Null: 0.
  const float* delta_bias;     // Null: 0.
  const float* initial_state;  // Null: 0.
  float* final_state;          // Null: not wanted. May be initial_state.
  float* boundary_states;      // Before each chunk of `chunk` positions; null: not wanted.
  Sequences sequences;
  int32_t dim;
  int32_t d_state;
  int32_t groups;
  int32_t tiles_of_group;      // Blocks that share B and C of a position.
  int32_t chunk;               // A multiple of kPositions.
  ElementType type;            // Of u, delta, z, out, B and C.
  int32_t softplus;
  int32_t padding;
};

static_assert(sizeof(SelectiveScanParams) == 288 && offsetof(SelectiveScanParams, A) == 192 &&
                  offsetof(SelectiveScanParams, sequences) == 240 && offsetof(SelectiveScanParams, softplus) == 280,
              "mirrored in Rust");

namespace {

template <int kLanes_, int kStates_, int kChannels_, int kPositions_, int kBlocks_>
struct Geometry {
  static constexpr int kLanes = kLanes_, kStates = kStates_, kChannels = kChannels_, kPositions = kPositions_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kMaxStates = kLanes * kStates, kThreads = kLanes * kChannels;
  // Units of a tile of channels, and of a tile of B or C, that a thread copies; some threads copy fewer.
  static constexpr int kChannelUnits = (kPositions * kChannels / kScanUnit + kThreads - 1) / kThreads;
  static constexpr int kStateUnits = (kPositions * kMaxStates / kScanUnit + kThreads - 1) / kThreads;
  static_assert(32 % kPositions == 0, "chunks are whole tiles");
  // Results of the lanes of a warp lie in different banks.
  static constexpr int kOutStride = kChannels + 8;
};

template <typename G>
struct Shared {
  float delta[G::kPositions][G::kChannels];
  float delta_u[G::kPositions][G::kChannels];
  float B[G::kPositions][G::kMaxStates];
  float C[G::kPositions][G::kMaxStates];
  float out[G::kPositions][G::kOutStride];
  float delta_bias[G::kChannels];
  float D[G::kChannels];
};

// A thread's part of a tile, as it lies in memory. Beyond the sequence, the channels and the states it is 0.
template <typename G>
struct Copied {
  Units<kScanUnit, G::kChannelUnits> u, delta, z;
  Units<kScanUnit, G::kStateUnits> B, C;
};

template <typename G>
struct Copier {
  const SelectiveScanParams& params;
  PositionRows u, delta, z, out, B, C;
  int length;
  int channels;  // Of this block.

  __device__ __forceinline__ static int position(int i) {
    return (i * G::kThreads + threadIdx.x) / (G::kChannels / kScanUnit);
  }
  __device__ __forceinline__ static int channel(int i) {
    return (i * G::kThreads + threadIdx.x) % (G::kChannels / kScanUnit) * kScanUnit;
  }
  __device__ __forceinline__ static int state_position(int i) {
    return (i * G::kThreads + threadIdx.x) / (G::kMaxStates / kScanUnit);
  }
  __device__ __forceinline__ static int state(int i) {
    return (i * G::kThreads + threadIdx.x) % (G::kMaxStates / kScanUnit) * kScanUnit;
  }
  __device__ __forceinline__ static bool copies_states(int i) { return state_position(i) < G::kPositions; }
  __device__ __forceinline__ static bool copies(int i) { return position(i) < G::kPositions; }
  __device__ __forceinline__ bool exists(int first, int i) const {
    return copies(i) && first + position(i) < length && channel(i) < channels;
  }

  __device__ __forceinline__ void load(int first, Copied<G>& copied) const {
    copied = {};
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (!exists(first, i)) continue;
      u.load(first + position(i), channel(i), copied.u, i);
      delta.load(first + position(i), channel(i), copied.delta, i);
      if (params.z.data != nullptr) z.load(first + position(i), channel(i), copied.z, i);
    }
#pragma unroll
    for (int i = 0; i < G::kStateUnits; ++i) {
      if (!copies_states(i) || first + state_position(i) >= length || state(i) >= params.d_state) continue;
      B.load(first + state_position(i), state(i), copied.B, i);
      C.load(first + state_position(i), state(i), copied.C, i);
    }
  }

  // To shared memory. Where there is nothing, delta is 0: such positions change no state.
  __device__ __forceinline__ void share(int first, const Copied<G>& copied, Shared<G>& shared) const {
    float u[G::kChannelUnits][kScanUnit], delta[G::kChannelUnits][kScanUnit];
    unpack(params.type, copied.u, u);
    unpack(params.type, copied.delta, delta);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        delta[i][e] += shared.delta_bias[channel(i) + e];
        if (params.softplus) delta[i][e] = softplus(delta[i][e]);
        if (!exists(first, i)) delta[i][e] = 0.0f;
      }
      if (!copies(i)) continue;
      const int at = position(i), column = channel(i);
      *reinterpret_cast<float4*>(&shared.delta[at][column]) = {delta[i][0], delta[i][1], delta[i][2], delta[i][3]};
      *reinterpret_cast<float4*>(&shared.delta_u[at][column]) = {delta[i][0] * u[i][0], delta[i][1] * u[i][1],
                                                                 delta[i][2] * u[i][2], delta[i][3] * u[i][3]};
    }
    float values[G::kStateUnits][kScanUnit];
    unpack(params.type, copied.B, values);
#pragma unroll
    for (int i = 0; i < G::kStateUnits; ++i) {
      if (!copies_states(i)) continue;
      *reinterpret_cast<float4*>(&shared.B[state_position(i)][state(i)]) = {values[i][0], values[i][1], values[i][2],
                                                                            values[i][3]};
    }
    unpack(params.type, copied.C, values);
#pragma unroll
    for (int i = 0; i < G::kStateUnits; ++i) {
      if (!copies_states(i)) continue;
      *reinterpret_cast<float4*>(&shared.C[state_position(i)][state(i)]) = {values[i][0], values[i][1], values[i][2],
                                                                            values[i][3]};
    }
  }

  // Results with what skips the states, through the gate.
  __device__ __forceinline__ void finish(int first, const Copied<G>& copied, const Shared<G>& shared) const {
    float u[G::kChannelUnits][kScanUnit], z[G::kChannelUnits][kScanUnit], result[G::kChannelUnits][kScanUnit] = {};
    unpack(params.type, copied.u, u);
    unpack(params.type, copied.z, z);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (!exists(first, i)) continue;
      const float4 sums = *reinterpret_cast<const float4*>(&shared.out[position(i)][channel(i)]);
      const float of_states[kScanUnit] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        result[i][e] = __fmaf_rn(shared.D[channel(i) + e], u[i][e], of_states[e]);
        if (params.z.data != nullptr) result[i][e] *= activate<Activation::kSilu>(z[i][e]);
      }
    }
    Units<kScanUnit, G::kChannelUnits> units;
    pack(params.type, result, units);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (exists(first, i)) out.store(first + position(i), channel(i), units, i);
    }
  }
};

// A thread's states.
template <typename G>
struct Scan : ChannelStates<G::kLanes, G::kStates> {
  float A[G::kStates];  // Times log2(e).
  float h[G::kStates];
  int channel;          // Of the block.

  using ChannelStates<G::kLanes, G::kStates>::lane;
  using ChannelStates<G::kLanes, G::kStates>::state;

  // The first `count` positions of a tile, and up to kTogether - 1 more.
  __device__ __forceinline__ void tile(Shared<G>& shared, int count) {
    for (int first = 0; first < min(count, G::kPositions); first += kTogether) {
      float sums[kTogether];
#pragma unroll
      for (int at = 0; at < kTogether; ++at) {
        const float delta = shared.delta[first + at][channel], delta_u = shared.delta_u[first + at][channel];
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < G::kStates; i += kScanUnit) {
          const float4 b = *reinterpret_cast<const float4*>(&shared.B[first + at][state(i)]);
          const float4 c = *reinterpret_cast<const float4*>(&shared.C[first + at][state(i)]);
          const float B[kScanUnit] = {b.x, b.y, b.z, b.w}, C[kScanUnit] = {c.x, c.y, c.z, c.w};
#pragma unroll
          for (int e = 0; e < kScanUnit; ++e) {
            h[i + e] = __fmaf_rn(ptx::ex2_approx_ftz(delta * A[i + e]), h[i + e], delta_u * B[e]);
            sum = __fmaf_rn(C[e], h[i + e], sum);
          }
        }
        sums[at] = sum;
      }
      const float sum = sum_of_lanes<G::kLanes>(sums, lane);
      if (lane < kTogether) shared.out[first + lane][channel] = sum;
    }
  }
};

template <typename G>
__device__ __forceinline__ void selective_scan(const SelectiveScanParams& params) {
  __shared__ Shared<G> shared;
  // Blocks of the same positions are neighbours.
  const int tiles = params.groups * params.tiles_of_group;
  const int batch = blockIdx.x / tiles, group = blockIdx.x % tiles / params.tiles_of_group;
  const int channels_of_group = params.dim / params.groups;
  const int first_of_group = blockIdx.x % params.tiles_of_group * G::kChannels;
  const int first_channel = group * channels_of_group + first_of_group;
  const Sequence sequence = params.sequences.at(batch);
  const int row = params.sequences.offsets == nullptr ? batch : 0;
  const auto channels = [&](const SequenceTensor& tensor) {
    return PositionRows(tensor, params.type, row, sequence.begin, 0, first_channel);
  };
  const auto states = [&](const SequenceTensor& tensor) {
    return PositionRows(tensor, params.type, row, sequence.begin, group, 0);
  };
  const Copier<G> copier = {params,
                            channels(params.u),
                            channels(params.delta),
                            channels(params.z),
                            channels(params.out),
                            states(params.B),
                            states(params.C),
                            sequence.length,
                            min(channels_of_group - first_of_group, G::kChannels)};
  for (int channel = threadIdx.x; channel < G::kChannels; channel += G::kThreads) {
    const auto at = [&](const float* values) {
      return values == nullptr || channel >= copier.channels ? 0.0f : values[first_channel + channel];
    };
    shared.delta_bias[channel] = at(params.delta_bias);
    shared.D[channel] = at(params.D);
  }
  __syncthreads();

  Scan<G> scan = {};
  scan.lane = threadIdx.x % G::kLanes, scan.channel = threadIdx.x / G::kLanes;
  const bool is_channel = scan.channel < copier.channels;
  const int64_t channel = first_channel + scan.channel;
  const int64_t state = (static_cast<int64_t>(batch) * params.dim + channel) * params.d_state;
  if (is_channel) {
    scan.load(params.A + channel * params.d_state, params.d_state, CUDART_L2E_F, scan.A);
    scan.load(params.initial_state == nullptr ? nullptr : params.initial_state + state, params.d_state, 1.0f, scan.h);
  }
  const int first_chunk = params.boundary_states == nullptr ? 0 : first_tile(params.sequences, batch, params.chunk);

  Copied<G> copied, next;
  copier.load(0, copied);
  for (int first = 0; first < sequence.length; first += G::kPositions) {
    copier.share(first, copied, shared);
    __syncthreads();
    copier.load(first + G::kPositions, next);
    if (is_channel && params.boundary_states != nullptr && first % params.chunk == 0) {
      const int64_t chunk = first_chunk + first / params.chunk;
      scan.store(params.boundary_states + (chunk * params.dim + channel) * params.d_state, params.d_state, scan.h);
    }
    scan.tile(shared, sequence.length - first);
    __syncthreads();
    copier.finish(first, copied, shared);
    copied = next;
  }
  if (is_channel && params.final_state != nullptr) {
    scan.store(params.final_state + state, params.d_state, scan.h);
  }
}

// Lanes of a channel and states of a lane; channels of a block; positions of a tile; blocks of a multiprocessor.
using UpTo16 = Geometry<4, 4, 32, 32, 3>;
using UpTo64 = Geometry<8, 8, 64, 32, 1>;
using UpTo256 = Geometry<16, 16, 24, 8, 1>;

}  // namespace
}  // namespace llm_kernels

#define SELECTIVE_SCAN_INSTANCE(NAME, GEOMETRY)                                                 \
  extern "C" __global__ void __launch_bounds__(llm_kernels::GEOMETRY::kThreads, llm_kernels::GEOMETRY::kBlocks) \
      NAME(const __grid_constant__ llm_kernels::SelectiveScanParams params) {                   \
    llm_kernels::selective_scan<llm_kernels::GEOMETRY>(params);                                 \
  }

SELECTIVE_SCAN_INSTANCE(selective_scan_16, UpTo16)
SELECTIVE_SCAN_INSTANCE(selective_scan_64, UpTo64)
SELECTIVE_SCAN_INSTANCE(selective_scan_256, UpTo256)
