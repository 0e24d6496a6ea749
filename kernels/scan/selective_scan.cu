// The selective scan of Mamba: a linear recurrence of every channel by itself, with coefficients by position.
//
//   u, delta, z, out: [b, s, dim], or [total, dim] with offsets of sequences   A: [dim, n]   B, C: [b, s, groups, n]
//   D, delta_bias: [dim]   initial_state, final_state: [b, dim, n]   boundary_states: [chunks, dim, n]
//
//   h[t] = exp(delta A) h[t - 1] + delta B[t] u[t],  delta = softplus(delta[t] + delta_bias)
//   out[t] = (sum over n of C[t] h[t] + D u[t]) silu(z[t])
//
// Block: kChannels channels of one group and one sequence, all of its positions or a segment of them, kPositions at a
// time. kLanes neighbouring lanes own a channel, each kStates of its states, in registers. Thread as copier: kScanUnit
// neighbouring channels of some positions, whose next values are under way while it scans, where kPrefetch says so.
// delta, u, the gate, B, C and results go through shared memory, in f32. Accumulation: f32. Memory: everything once; B
// and C once for every kChannels channels. Segments: a block makes its segment's end from zeros, waits for the states
// before it, hands on those behind it, and only then goes through the segment for its results.
// Derivation: src/scan/selective_scan/README.md
#include <cstddef>
#include <cstdint>

#include "common/sequences.cuh"
#include "common/turns.cuh"
#include "fused/activation.cuh"
#include "scan/selective_forward.cuh"

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
  float* carry;                // [b, dim, n]: the states between segments. Null: a segment is a sequence.
  uint32_t* turns;             // [1 + num_blocks], zeros: a ticket, then how many segments are behind those states.
  Sequences sequences;
  int32_t dim;
  int32_t d_state;
  int32_t groups;
  int32_t tiles_of_group;      // Blocks that share B and C of a position.
  int32_t chunk;               // A multiple of kPositions.
  int32_t segment;             // Positions of a block: a multiple of chunk, or all.
  int32_t num_blocks;          // Of a segment.
  ElementType type;            // Of u, delta, z, out, B and C.
  int32_t softplus;
  int32_t padding;
};

static_assert(sizeof(SelectiveScanParams) == 312 && offsetof(SelectiveScanParams, A) == 192 &&
                  offsetof(SelectiveScanParams, sequences) == 256 && offsetof(SelectiveScanParams, softplus) == 304,
              "mirrored in Rust");

// Mirrored in the same place.
struct ClearParams {
  uint32_t* words;
  int64_t count;
};

namespace {

// A thread's part of a tile, as it lies in memory. Beyond the sequence, the channels and the states it is 0.
template <typename G>
struct Copied {
  Units<kScanUnit, G::kChannelUnits> u, delta, z;
  Units<kScanUnit, G::kStateUnits> states;
};

template <typename G>
struct Copier {
  const SelectiveScanParams& params;
  Shared<G>& shared;

  __device__ __forceinline__ static int position(int i) {
    return (i * G::kThreads + threadIdx.x) / (G::kChannels / kScanUnit);
  }
  __device__ __forceinline__ static int channel(int i) {
    return (i * G::kThreads + threadIdx.x) % (G::kChannels / kScanUnit) * kScanUnit;
  }
  // B and C of a tile are one row after the other.
  __device__ __forceinline__ static int state_row(int i) {
    return (i * G::kThreads + threadIdx.x) / (G::kMaxStates / kScanUnit);
  }
  __device__ __forceinline__ static bool is_C(int i) { return state_row(i) >= G::kPositions; }
  __device__ __forceinline__ static int state_position(int i) { return state_row(i) % G::kPositions; }
  __device__ __forceinline__ static int state(int i) {
    return (i * G::kThreads + threadIdx.x) % (G::kMaxStates / kScanUnit) * kScanUnit;
  }
  template <bool kResults>
  __device__ __forceinline__ static bool copies_states(int i) {
    return state_row(i) < (kResults ? 2 : 1) * G::kPositions;
  }
  __device__ __forceinline__ static bool copies(int i) { return position(i) < G::kPositions; }
  __device__ __forceinline__ bool exists(int first, int i) const {
    return copies(i) && first + position(i) < shared.place.end && channel(i) < shared.place.channels;
  }

  __device__ __forceinline__ PositionRows rows(const SequenceTensor& tensor, int group, int channel) const {
    const int row = params.sequences.offsets == nullptr ? shared.place.batch : 0;
    return PositionRows(tensor, params.type, row, shared.place.begin, group, channel);
  }
  __device__ __forceinline__ PositionRows channels_of(const SequenceTensor& tensor) const {
    return rows(tensor, 0, shared.place.first_channel);
  }
  __device__ __forceinline__ PositionRows states_of(const SequenceTensor& tensor) const {
    return rows(tensor, shared.place.group, 0);
  }

  // Without results nothing is loaded that only they depend on.
  template <bool kResults>
  __device__ __forceinline__ void load(int first, Copied<G>& copied) const {
    copied = {};
    const PositionRows u = channels_of(params.u), delta = channels_of(params.delta), z = channels_of(params.z);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (!exists(first, i)) continue;
      u.load(first + position(i), channel(i), copied.u, i);
      delta.load(first + position(i), channel(i), copied.delta, i);
      if (kResults && params.z.data != nullptr) z.load(first + position(i), channel(i), copied.z, i);
    }
#pragma unroll
    for (int i = 0; i < G::kStateUnits; ++i) {
      const bool exists = first + state_position(i) < shared.place.end && state(i) < params.d_state;
      if (!copies_states<kResults>(i) || !exists) continue;
      states_of(is_C(i) ? params.C : params.B).load(first + state_position(i), state(i), copied.states, i);
    }
  }

  // To shared memory. Where there is nothing, delta is 0: such positions change no state.
  template <bool kResults>
  __device__ __forceinline__ void share(int first, const Copied<G>& copied) const {
    float u[G::kChannelUnits][kScanUnit], delta[G::kChannelUnits][kScanUnit];
    unpack(params.type, copied.u, u);
    unpack(params.type, copied.delta, delta);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (!copies(i)) continue;
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        delta[i][e] += shared.delta_bias[channel(i) + e];
        if (params.softplus) delta[i][e] = softplus(delta[i][e]);
        if (!exists(first, i)) delta[i][e] = 0.0f;
      }
      *reinterpret_cast<float4*>(&shared.delta[position(i)][channel(i)]) = quad(delta[i]);
      *reinterpret_cast<float4*>(&shared.u[position(i)][channel(i)]) = quad(u[i]);
    }
    if (kResults && params.z.data != nullptr) {
      float gate[G::kChannelUnits][kScanUnit];
      unpack(params.type, copied.z, gate);
#pragma unroll
      for (int i = 0; i < G::kChannelUnits; ++i) {
        if (!copies(i)) continue;
#pragma unroll
        for (int e = 0; e < kScanUnit; ++e) gate[i][e] = activate<Activation::kSilu>(gate[i][e]);
        *reinterpret_cast<float4*>(&shared.gate[position(i)][channel(i)]) = quad(gate[i]);
      }
    }
    float states[G::kStateUnits][kScanUnit];
    unpack(params.type, copied.states, states);
#pragma unroll
    for (int i = 0; i < G::kStateUnits; ++i) {
      if (!copies_states<kResults>(i)) continue;
      *reinterpret_cast<float4*>(&shared.coefficients[is_C(i)][state_position(i)][state(i)]) = quad(states[i]);
    }
  }

  // Results with what skips the states, through the gate: of the positions that this thread has shared.
  __device__ __forceinline__ void finish(int first) const {
    float result[G::kChannelUnits][kScanUnit] = {};
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (!exists(first, i)) continue;
      const auto read = [&](const float(&row)[G::kStride]) {
        return *reinterpret_cast<const float4*>(&row[channel(i)]);
      };
      const float4 sums = read(shared.delta[position(i)]), u = read(shared.u[position(i)]);
      const float4 D = *reinterpret_cast<const float4*>(&shared.D[channel(i)]);
      result[i][0] = __fmaf_rn(D.x, u.x, sums.x), result[i][1] = __fmaf_rn(D.y, u.y, sums.y);
      result[i][2] = __fmaf_rn(D.z, u.z, sums.z), result[i][3] = __fmaf_rn(D.w, u.w, sums.w);
      if (params.z.data == nullptr) continue;
      const float4 gate = read(shared.gate[position(i)]);
      result[i][0] *= gate.x, result[i][1] *= gate.y, result[i][2] *= gate.z, result[i][3] *= gate.w;
    }
    Units<kScanUnit, G::kChannelUnits> units;
    pack(params.type, result, units);
    const PositionRows out = channels_of(params.out);
#pragma unroll
    for (int i = 0; i < G::kChannelUnits; ++i) {
      if (exists(first, i)) out.store(first + position(i), channel(i), units, i);
    }
  }
};

// The block's positions. `store_states` is called before each tile of results.
template <typename G, bool kResults, typename StoreStates>
__device__ __forceinline__ void scan_positions(const Copier<G>& copier, Scan<G>& scan, Shared<G>& shared,
                                               const StoreStates& store_states) {
  Copied<G> copied;
  int first = shared.place.first;
  if (G::kPrefetch) copier.template load<kResults>(first, copied);
  for (; first < shared.place.end; first += G::kPositions) {
    if (!G::kPrefetch) copier.template load<kResults>(first, copied);
    copier.template share<kResults>(first, copied);
    __syncthreads();
    if (G::kPrefetch) copier.template load<kResults>(first + G::kPositions, copied);
    if (kResults) store_states(first);
    scan.template tile<kResults>(shared, shared.place.end - first);
    __syncthreads();
    if (kResults) copier.finish(first);
  }
}

// By one thread: the next work in an order in which all of a segment come before the next segment. What a block waits
// for has been begun then.
template <typename G>
__device__ __forceinline__ Place find_place(const SelectiveScanParams& params) {
  const unsigned work = params.turns == nullptr ? blockIdx.x : take_ticket(params.turns);
  Place place;
  place.segment = work / params.num_blocks, place.block = work % params.num_blocks;
  // Blocks of the same positions are neighbours.
  const int tiles = params.groups * params.tiles_of_group, channels_of_group = params.dim / params.groups;
  const int first_of_group = place.block % params.tiles_of_group * G::kChannels;
  place.batch = place.block / tiles, place.group = place.block % tiles / params.tiles_of_group;
  place.first_channel = place.group * channels_of_group + first_of_group;
  place.channels = min(channels_of_group - first_of_group, G::kChannels);
  const Sequence sequence = params.sequences.at(place.batch);
  place.begin = sequence.begin, place.first = place.segment * params.segment;
  place.end = place.first + min(sequence.length - place.first, params.segment);
  place.is_last = place.end == sequence.length;
  return place;
}

template <typename G>
__device__ __forceinline__ void selective_scan(const SelectiveScanParams& params) {
  extern __shared__ __align__(16) char memory[];
  Shared<G>& shared = *reinterpret_cast<Shared<G>*>(memory);
  const Place& place = shared.place;
  if (threadIdx.x == 0) shared.place = find_place<G>(params);
  __syncthreads();
  // A sequence shorter than others.
  if (place.segment > 0 && place.first >= place.end) return;
  for (int channel = threadIdx.x; channel < G::kChannels; channel += G::kThreads) {
    const auto at = [&](const float* values) {
      return values == nullptr || channel >= place.channels ? 0.0f : values[place.first_channel + channel];
    };
    shared.delta_bias[channel] = at(params.delta_bias);
    shared.D[channel] = at(params.D);
  }
  __syncthreads();

  const Copier<G> copier = {params, shared};
  Scan<G> scan = {};
  scan.lane = threadIdx.x % G::kLanes, scan.channel = threadIdx.x / G::kLanes;
  // The row of the thread's channel in a tensor of rows of states, the first of which is row `first` * dim.
  const auto own_row = [&](auto* states, int64_t first) {
    if (states == nullptr || scan.channel >= place.channels) return static_cast<decltype(states)>(nullptr);
    return states + (first * params.dim + place.first_channel + scan.channel) * params.d_state;
  };
  scan.load_A(own_row(params.A, 0), params.d_state, shared);
  if (!G::kSegments || place.segment == 0) {
    scan.load(own_row(params.initial_state, place.batch), params.d_state, 1.0f, scan.h);
  } else {
    if (!place.is_last) scan_positions<G, false>(copier, scan, shared, [](int) {});
    if (threadIdx.x == 0) wait_for_turn(params.turns + 1 + place.block, place.segment);
    __syncthreads();
    scan.take_carry(own_row(params.carry, place.batch), params.d_state, shared, place.is_last);
    __syncthreads();
    if (!place.is_last && threadIdx.x == 0) pass_turn(params.turns + 1 + place.block);
  }

  scan_positions<G, true>(copier, scan, shared, [&](int first) {
    if (params.boundary_states == nullptr || first % params.chunk != 0) return;
    const int chunk = first_tile(params.sequences, place.batch, params.chunk) + first / params.chunk;
    scan.store(own_row(params.boundary_states, chunk), params.d_state, scan.h);
  });

  if (!G::kSegments || place.is_last) {
    scan.store(own_row(params.final_state, place.batch), params.d_state, scan.h);
  } else if (place.segment == 0) {
    scan.store(own_row(params.carry, place.batch), params.d_state, scan.h);
    __syncthreads();
    if (threadIdx.x == 0) pass_turn(params.turns + 1 + place.block);
  }
}

// States of a lane, and those of them whose A is in registers; channels of a block; positions of a tile; whether the next
// tile is under way meanwhile; blocks of a multiprocessor.
using UpTo16 = Geometry<4, 4, 32, 32, 4, true, 3>;
using UpTo64 = Geometry<16, 16, 64, 16, 4, true, 2>;
using UpTo128 = Geometry<32, 32, 96, 8, 4, false, 1>;
using UpTo256 = Geometry<64, 24, 128, 4, 4, false, 1>;

static_assert(sizeof(Shared<UpTo16>) == 19752 && sizeof(Shared<UpTo64>) == 22568 &&
                  sizeof(Shared<UpTo128>) == 18984 && sizeof(Shared<UpTo256>) == 97712, "mirrored in Rust: plan.rs");

}  // namespace
}  // namespace llm_kernels

#define SELECTIVE_SCAN_INSTANCE(NAME, GEOMETRY)                                                                       \
  extern "C" __global__ void __launch_bounds__(llm_kernels::GEOMETRY::kThreads, llm_kernels::GEOMETRY::kBlocks)       \
      NAME(const __grid_constant__ llm_kernels::SelectiveScanParams params) {                                         \
    llm_kernels::selective_scan<llm_kernels::GEOMETRY>(params);                                                       \
  }

SELECTIVE_SCAN_INSTANCE(selective_scan_16, UpTo16)
SELECTIVE_SCAN_INSTANCE(selective_scan_64, UpTo64)
SELECTIVE_SCAN_INSTANCE(selective_scan_128, UpTo128)
SELECTIVE_SCAN_INSTANCE(selective_scan_256, UpTo256)

// Zeros for a ticket and turns.
extern "C" __global__ void __launch_bounds__(256) selective_scan_clear(const __grid_constant__ llm_kernels::ClearParams params) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (at < params.count) params.words[at] = 0;
}
