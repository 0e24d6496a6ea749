// Gradients of the selective scan, see selective_scan.cu.
//
//   u, delta, z, d_out, d_u, d_delta, d_z: [b, s, dim], or [total, dim] with offsets of sequences   A, d_A: [dim, n]
//   B, C: [b, s, groups, n]   D, delta_bias: [dim]   boundary_states: [chunks, dim, n], of the forward pass
//   d_final_state, d_initial_state: [b, dim, n]
//
//   dy[t] = d_out[t] silu(z[t])        dh[t] = C[t] dy[t] + exp(delta[t + 1] A) dh[t + 1]
//   w[t] = dh[t] exp(delta[t] A) h[t - 1]
//   d_A = sum over t of delta[t] w[t]  d_B[t] = sum over channels of dh[t] delta[t] u[t]   d_C[t] = .. of dy[t] h[t]
//   d_u[t] = D dy[t] + delta[t] sum over n of dh[t] B[t]
//   d_delta[t] = softplus'(..) sum over n of A w[t] + u[t] dh[t] B[t]
//
// Block: kChannels channels of one group and one sequence, its chunks from the last to the first. kLanes neighbouring
// lanes own a channel, each 4 of its states. A chunk's states are computed forwards from the one before it, kept at
// every kSub-th position, and, kSub positions at a time, again: they stay in registers until the way back. d_B and d_C
// are summed over the channels of the block and stored for it, as are d_A, d_D and d_delta_bias for the sequence; a
// second kernel adds them up, always in the same order. Accumulation: f32.
// Derivation: src/scan/selective_scan_backward/README.md
#include <cstddef>
#include <cstdint>

#include "common/sequences.cuh"
#include "fused/activation.cuh"
#include "scan/column_sum.cuh"
#include "scan/selective_backward.cuh"
#include "scan/selective_tile.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/selective_scan_backward/params.rs.
struct SelectiveScanBackwardParams {
  SequenceTensor u;
  SequenceTensor delta;
  SequenceTensor z;             // Null data: no gate.
  SequenceTensor d_out;
  SequenceTensor d_u;
  SequenceTensor d_delta;
  SequenceTensor d_z;           // Null data: not wanted.
  SequenceTensor B;
  SequenceTensor C;
  const float* A;
  const float* D;               // Null: 0.
  const float* delta_bias;      // Null: 0.
  const float* boundary_states;
  const float* d_final_state;   // Null: 0.
  float* d_initial_state;       // Null: not wanted.
  float* d_B;                   // [tiles_of_group, positions, groups, n]
  float* d_C;                   // Likewise.
  float* d_A;                   // [b, dim, n]
  float* d_D;                   // [b, dim]
  float* d_delta_bias;          // [b, dim]
  int64_t positions;            // Of all sequences.
  Sequences sequences;
  int32_t dim;
  int32_t d_state;
  int32_t groups;
  int32_t tiles_of_group;       // Blocks that share B and C of a position.
  ElementType type;             // Of the tensors of positions.
  int32_t softplus;
};

static_assert(sizeof(SelectiveScanBackwardParams) == 424 && offsetof(SelectiveScanBackwardParams, A) == 288 &&
                  offsetof(SelectiveScanBackwardParams, sequences) == 384 &&
                  offsetof(SelectiveScanBackwardParams, softplus) == 420,
              "mirrored in Rust");

namespace {

template <typename G>
__device__ __forceinline__ float4 share(const float (&values)[1][kScanUnit]) {
  return {values[0][0], values[0][1], values[0][2], values[0][3]};
}

// Where a block works.
template <typename G>
struct Place {
  int batch, group, row, begin, length;
  int tile;           // Of the group.
  int first_channel;  // Of the block.
  int channels;

  __device__ __forceinline__ explicit Place(const SelectiveScanBackwardParams& params) {
    const int tiles = params.groups * params.tiles_of_group, channels_of_group = params.dim / params.groups;
    batch = blockIdx.x / tiles, group = blockIdx.x % tiles / params.tiles_of_group;
    tile = blockIdx.x % params.tiles_of_group;
    first_channel = group * channels_of_group + tile * G::kChannels;
    channels = min(channels_of_group - tile * G::kChannels, G::kChannels);
    const Sequence sequence = params.sequences.at(batch);
    begin = sequence.begin, length = sequence.length;
    row = params.sequences.offsets == nullptr ? batch : 0;
  }

  __device__ __forceinline__ PositionRows of_channels(const SequenceTensor& tensor, ElementType type) const {
    return PositionRows(tensor, type, row, begin, 0, first_channel);
  }
};

// Channels of a chunk to shared memory, as f32. Where there is nothing, all is 0: such positions change nothing.
template <typename G>
__device__ __forceinline__ void load_channels(const SelectiveScanBackwardParams& params, const Place<G>& place, int first,
                                           BackwardShared<G>& shared) {
  constexpr int kRow = G::kChannels / kScanUnit, kStateRow = G::kMaxStates / kScanUnit;
  const ElementType type = params.type;
  for (int unit = threadIdx.x; unit < kChunk * kRow; unit += G::kThreads) {
    const int at = unit / kRow, column = unit % kRow * kScanUnit;
    float u[1][kScanUnit] = {}, delta[1][kScanUnit] = {}, dy[1][kScanUnit] = {}, gate[1][kScanUnit] = {};
    if (first + at < place.length && column < place.channels) {
      Units<kScanUnit> units[4];
      place.of_channels(params.u, type).load(first + at, column, units[0], 0);
      place.of_channels(params.delta, type).load(first + at, column, units[1], 0);
      place.of_channels(params.d_out, type).load(first + at, column, units[2], 0);
      if (params.z.data != nullptr) place.of_channels(params.z, type).load(first + at, column, units[3], 0);
      unpack(type, units[0], u);
      unpack(type, units[1], delta);
      unpack(type, units[2], dy);
      if (params.z.data != nullptr) unpack(type, units[3], gate);
#pragma unroll
      for (int e = 0; e < kScanUnit; ++e) {
        delta[0][e] += shared.delta_bias[column + e];
        if (params.softplus) delta[0][e] = softplus(delta[0][e]);
        if (params.z.data != nullptr) {
          const Activated silu = activate_and_derive<Activation::kSilu>(gate[0][e]);
          gate[0][e] = dy[0][e] * silu.derivative;
          dy[0][e] *= silu.value;
        }
      }
    }
    *reinterpret_cast<float4*>(&shared.u[at][column]) = share<G>(u);
    *reinterpret_cast<float4*>(&shared.delta[at][column]) = share<G>(delta);
    *reinterpret_cast<float4*>(&shared.dy[at][column]) = share<G>(dy);
    *reinterpret_cast<float4*>(&shared.gate[at][column]) = share<G>(gate);
  }
}

// B and C of a window of positions, in the same way.
template <typename G>
__device__ __forceinline__ void load_states(const SelectiveScanBackwardParams& params, const Place<G>& place, int first,
                                            BackwardShared<G>& shared) {
  constexpr int kStateRow = G::kMaxStates / kScanUnit;
  const ElementType type = params.type;
  const PositionRows rows_B(params.B, type, place.row, place.begin, place.group, 0);
  const PositionRows rows_C(params.C, type, place.row, place.begin, place.group, 0);
  for (int unit = threadIdx.x; unit < G::kWindow * kStateRow; unit += G::kThreads) {
    const int at = unit / kStateRow, state = unit % kStateRow * kScanUnit;
    float B[1][kScanUnit] = {}, C[1][kScanUnit] = {};
    if (first + at < place.length && state < params.d_state) {
      Units<kScanUnit> units[2];
      rows_B.load(first + at, state, units[0], 0);
      rows_C.load(first + at, state, units[1], 0);
      unpack(type, units[0], B);
      unpack(type, units[1], C);
    }
    *reinterpret_cast<float4*>(&shared.B[at][state]) = share<G>(B);
    *reinterpret_cast<float4*>(&shared.C[at][state]) = share<G>(C);
  }
}

template <typename G>
__device__ __forceinline__ void store_chunk(const SelectiveScanBackwardParams& params, const Place<G>& place, int first,
                                            const BackwardShared<G>& shared) {
  constexpr int kRow = G::kChannels / kScanUnit;
  const auto store = [&](const SequenceTensor& tensor, const float(&values)[kChunk][G::kStride], int at, int column) {
    if (tensor.data == nullptr) return;
    const float4 loaded = *reinterpret_cast<const float4*>(&values[at][column]);
    const float unpacked[1][kScanUnit] = {{loaded.x, loaded.y, loaded.z, loaded.w}};
    Units<kScanUnit> unit;
    pack(params.type, unpacked, unit);
    place.of_channels(tensor, params.type).store(first + at, column, unit, 0);
  };
  for (int unit = threadIdx.x; unit < kChunk * kRow; unit += G::kThreads) {
    const int at = unit / kRow, column = unit % kRow * kScanUnit;
    if (first + at >= place.length || column >= place.channels) continue;
    store(params.d_u, shared.u, at, column);
    store(params.d_delta, shared.delta, at, column);
    store(params.d_z, shared.gate, at, column);
  }
}

template <typename G>
__device__ __forceinline__ void selective_scan_backward(const SelectiveScanBackwardParams& params) {
  extern __shared__ __align__(16) char memory[];
  BackwardShared<G>& shared = *reinterpret_cast<BackwardShared<G>*>(memory);
  const Place<G> place(params);
  for (int channel = threadIdx.x; channel < G::kChannels; channel += G::kThreads) {
    const auto at = [&](const float* values) {
      return values == nullptr || channel >= place.channels ? 0.0f : values[place.first_channel + channel];
    };
    shared.delta_bias[channel] = at(params.delta_bias);
    shared.D[channel] = at(params.D);
  }
  __syncthreads();

  Backward<G> own = {};
  own.lane = threadIdx.x % G::kLanes, own.channel = threadIdx.x / G::kLanes;
  own.D = shared.D[own.channel];
  const bool exists = own.channel < place.channels;
  const int64_t channel = place.first_channel + own.channel;
  const int64_t state = (static_cast<int64_t>(place.batch) * params.dim + channel) * params.d_state;
  if (exists) {
    own.load(params.A + channel * params.d_state, params.d_state, CUDART_L2E_F, own.A);
    own.load(params.d_final_state == nullptr ? nullptr : params.d_final_state + state, params.d_state, 1.0f, own.dh);
  }
  // Sums of staged d_B and d_C over the warps go to the workspace.
  const int64_t first_position = place.begin + static_cast<int64_t>(place.row) * place.length;
  const auto sum_stage = [&](int first) {
    __syncthreads();
    for (int i = threadIdx.x; i < G::kStage * 2 * G::kMaxStates; i += G::kThreads) {
      const int at = i / (2 * G::kMaxStates), column = i % (2 * G::kMaxStates), n = column % G::kMaxStates;
      float sum = 0.0f;
#pragma unroll
      for (int warp = 0; warp < G::kWarps; ++warp) sum += shared.stage[warp][at][column];
      if (first + at >= place.length || n >= params.d_state) continue;
      const int64_t position = place.tile * params.positions + first_position + first + at;
      float* sums = column < G::kMaxStates ? params.d_B : params.d_C;
      sums[(position * params.groups + place.group) * params.d_state + n] = sum;
    }
    __syncthreads();
  };

  const int num_chunks = (place.length + kChunk - 1) / kChunk;
  const int first_chunk = first_tile(params.sequences, place.batch, kChunk);
  for (int chunk = num_chunks - 1; chunk >= 0; --chunk) {
    const int first = chunk * kChunk;
    load_channels(params, place, first, shared);
    if (exists) {
      const int64_t before = (static_cast<int64_t>(first_chunk) + chunk) * params.dim + channel;
      own.load(params.boundary_states + before * params.d_state, params.d_state, 1.0f, own.h);
    }
    for (int window = 0; window < kChunk; window += G::kWindow) {
      if (window > 0) __syncthreads();
      load_states(params, place, first + window, shared);
      __syncthreads();
      own.keep_states(shared, window);
    }
    for (int window = kChunk - G::kWindow; window >= 0; window -= G::kWindow) {
      if (first + window >= place.length) continue;
      if (window < kChunk - G::kWindow) {
        __syncthreads();
        load_states(params, place, first + window, shared);
        __syncthreads();
      }
      for (int at = window + G::kWindow - kSub; at >= window; at -= kSub) {
        if (first + at >= place.length) continue;
        own.positions(shared, at, place.length - first, params.d_z.data != nullptr, params.softplus,
                      [&](int from) { sum_stage(first + from); });
      }
    }
    store_chunk(params, place, first, shared);
    __syncthreads();
  }

  if (exists) {
    own.store(params.d_A + state, params.d_state, own.d_A);
    if (params.d_initial_state != nullptr) own.store(params.d_initial_state + state, params.d_state, own.dh);
  }
  float ends[2] = {own.d_D, own.d_delta_bias};
#pragma unroll
  for (int distance = 1; distance < kTogether; distance *= 2) {
    ends[0] += __shfl_xor_sync(kAllLanes, ends[0], distance);
    ends[1] += __shfl_xor_sync(kAllLanes, ends[1], distance);
  }
  if (own.lane == 0 && own.channel < place.channels) {
    const int64_t at = static_cast<int64_t>(place.batch) * params.dim + channel;
    params.d_D[at] = ends[0];
    params.d_delta_bias[at] = ends[1];
  }
}

// Lanes of a channel and states of a lane; channels of a block; positions with B and C in shared memory; positions summed
// over warps together; blocks of a multiprocessor.
using UpTo16 = BackwardGeometry<4, 4, 32, 32, 8, 3>;
using UpTo64 = BackwardGeometry<16, 4, 16, 32, 4, 1>;
using UpTo128 = BackwardGeometry<32, 4, 8, 32, 4, 1>;
using UpTo256 = BackwardGeometry<32, 8, 8, 16, 2, 1>;

static_assert(sizeof(BackwardShared<UpTo16>) == 35072 && sizeof(BackwardShared<UpTo64>) == 57472 &&
                  sizeof(BackwardShared<UpTo128>) == 86080 && sizeof(BackwardShared<UpTo256>) == 98368,
              "mirrored in Rust: plan.rs");

}  // namespace
}  // namespace llm_kernels

#define SELECTIVE_SCAN_BACKWARD_INSTANCE(NAME, GEOMETRY)                                                              \
  extern "C" __global__ void __launch_bounds__(llm_kernels::GEOMETRY::kThreads, llm_kernels::GEOMETRY::kBlocks)       \
      NAME(const __grid_constant__ llm_kernels::SelectiveScanBackwardParams params) {                                 \
    llm_kernels::selective_scan_backward<llm_kernels::GEOMETRY>(params);                                              \
  }

SELECTIVE_SCAN_BACKWARD_INSTANCE(selective_scan_backward_16, UpTo16)
SELECTIVE_SCAN_BACKWARD_INSTANCE(selective_scan_backward_64, UpTo64)
SELECTIVE_SCAN_BACKWARD_INSTANCE(selective_scan_backward_128, UpTo128)
SELECTIVE_SCAN_BACKWARD_INSTANCE(selective_scan_backward_256, UpTo256)

extern "C" __global__ void __launch_bounds__(llm_kernels::kSumColumns * llm_kernels::kSumGroups)
    selective_scan_backward_sum(const __grid_constant__ llm_kernels::ColumnSumParams params) {
  llm_kernels::column_sum(params);
}
