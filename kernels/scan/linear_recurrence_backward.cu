// What is left of the gradients of the linear recurrence when its sweeps have run: sums over heads that share q and k, and the
// gradient of the decays.
//
//   d_q_heads, d_k_heads: [positions, h, d_k] f32, of every head of the state   q, k, d_q, d_k: [b, s, h_k, d_k]
//   differences: [positions, h] f32: q d_q - k d_k, summed over channels   d_decay: [b, s, h] or [h] f32
//   With decays of channels both are [.., d_k], and the differences take the place of d_q_heads.
//
// linear_recurrence_columns_*: the recurrence with a decay of every value column, for d_q and d_k: recurrence_engine.cuh.
// linear_recurrence_backward_keys: warp: a position and a head of q and k; lane: 4 channels at a time. Sums over heads are in
// their order. linear_recurrence_backward_decays: block: a head, and a sequence or one after the other; from the last step to
// the first, kThreads at a time; or, with decays of channels, one at a time, a channel a thread. Arithmetic: f32. Memory: everything once.
// Derivation: src/scan/linear_recurrence_backward/README.md
#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/sequences.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"
#include "scan/recurrence_instance.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/linear_recurrence_backward/.
struct RecurrenceKeysParams {
  SequenceTensor q, k, d_q, d_k;
  float* d_q_heads;        // In: gradients; out: differences of channels, if they are wanted.
  const float* d_k_heads;
  float* differences;      // Null: not wanted.
  int64_t num_rows;        // positions * h_k.
  int32_t length;          // Positions of a batch entry: of all sequences, if they are various.
  int32_t h_k, group;      // Heads of the state for each of q and k.
  int32_t width;           // Channels: a multiple of 16, at most 256.
  int32_t of_channels;     // Decays are of channels, and their differences are wanted.
  int32_t padding;
};

// Likewise.
struct RecurrenceDecaysParams {
  SequenceTensor d_decay;      // Rows of one element; [h] if all steps of a head are summed.
  const float* differences;
  const float* final_state;    // [b, h, state], and the gradient of it; null: none.
  const float* d_final_state;
  Sequences sequences;
  int64_t state_size;
  int32_t b, h;
  int32_t sums;                // All steps of a head are summed, over all sequences.
  int32_t width;               // Channels, if decays are of these; else 0.
};

static_assert(sizeof(RecurrenceKeysParams) == 184 && offsetof(RecurrenceKeysParams, num_rows) == 152,
              "mirrored in Rust");
static_assert(sizeof(RecurrenceDecaysParams) == 96 && offsetof(RecurrenceDecaysParams, sequences) == 56 &&
                  offsetof(RecurrenceDecaysParams, b) == 80,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
constexpr int kMostUnits = 2;  // Of 4 channels in a lane.

__device__ __forceinline__ float4 as_floats(uint4 bits) {
  return {__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z), __uint_as_float(bits.w)};
}

template <typename T>
__device__ __forceinline__ float4 load_four(const T* from) {
  const uint2 packed = ptx::ld_global_8(from);
  const float2 low = T::unpack(packed.x), high = T::unpack(packed.y);
  return {low.x, low.y, high.x, high.y};
}

__device__ __forceinline__ float dot(const float4& a, const float4& b) {
  return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w);
}

__device__ __forceinline__ void add(float (&sum)[4], const float4& x) {
  sum[0] += x.x, sum[1] += x.y, sum[2] += x.z, sum[3] += x.w;
}

template <typename T>
__device__ __forceinline__ void finish_keys(const RecurrenceKeysParams& params) {
  const unsigned thread = ptx::thread_index(), lane = thread % 32;
  const int64_t row = static_cast<int64_t>(ptx::block_index()) * (kThreads / 32) + thread / 32;
  if (row >= params.num_rows) return;
  const int64_t position = row / params.h_k;
  const int key_head = static_cast<int>(row - position * params.h_k);
  const int batch = static_cast<int>(position / params.length);
  const int step = static_cast<int>(position - static_cast<int64_t>(batch) * params.length);
  float4 q[kMostUnits] = {}, k[kMostUnits] = {};
  float d_q[kMostUnits][4] = {}, d_k[kMostUnits][4] = {};
#pragma unroll
  for (int unit = 0; unit < kMostUnits; ++unit) {
    const int channel = (unit * 32 + lane) * 4;
    if (channel >= params.width) continue;
    q[unit] = load_four(params.q.row<T>(batch, step, key_head) + channel);
    k[unit] = load_four(params.k.row<T>(batch, step, key_head) + channel);
  }
  for (int i = 0; i < params.group; ++i) {
    const int64_t head = row * params.group + i;
    float difference = 0.0f;
#pragma unroll
    for (int unit = 0; unit < kMostUnits; ++unit) {
      const int channel = (unit * 32 + lane) * 4;
      if (channel >= params.width) continue;
      const float4 of_q = as_floats(ptx::ld_global_16(params.d_q_heads + head * params.width + channel));
      const float4 of_k = as_floats(ptx::ld_global_16(params.d_k_heads + head * params.width + channel));
      add(d_q[unit], of_q);
      add(d_k[unit], of_k);
      difference += dot(q[unit], of_q) - dot(k[unit], of_k);
      if (params.of_channels) {
        const float each[4] = {q[unit].x * of_q.x - k[unit].x * of_k.x, q[unit].y * of_q.y - k[unit].y * of_k.y,
                               q[unit].z * of_q.z - k[unit].z * of_k.z, q[unit].w * of_q.w - k[unit].w * of_k.w};
        store(reinterpret_cast<f32*>(params.d_q_heads) + head * params.width + channel, each);
      }
    }
    if (params.differences != nullptr) {
      difference = warp_sum(difference);
      if (lane == 0) params.differences[head] = difference;
    }
  }
#pragma unroll
  for (int unit = 0; unit < kMostUnits; ++unit) {
    const int channel = (unit * 32 + lane) * 4;
    if (channel >= params.width) continue;
    store(params.d_q.row<T>(batch, step, key_head) + channel, d_q[unit]);
    store(params.d_k.row<T>(batch, step, key_head) + channel, d_k[unit]);
  }
}

// Sums over this thread and all after it in the block; `total` is that of all.
__device__ __forceinline__ float suffix_sum(float x, float* scratch, float& total) {
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const float after = __shfl_down_sync(kAllLanes, x, distance);
    if (lane + distance < 32) x += after;
  }
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  total = 0.0f;
  float after = 0.0f;
  for (int i = kThreads / 32 - 1; i >= 0; --i) {
    if (i == static_cast<int>(warp)) after = total;
    total += scratch[i];
  }
  return x + after;
}

// Of a sequence, from the last step to the first: a channel of a head.
__device__ __forceinline__ void finish_channel(const RecurrenceDecaysParams& params, int batch, int head, int channel) {
  constexpr int kAhead = 8;
  const Sequence sequence = params.sequences.at(batch);
  const int64_t begin = params.sequences.offsets == nullptr
                            ? static_cast<int64_t>(batch) * params.sequences.longest
                            : sequence.begin;
  float sum = 0.0f;
  if (params.d_final_state != nullptr) {
    const int64_t d_v = params.state_size / params.width;
    const int64_t row = (static_cast<int64_t>(batch) * params.h + head) * params.state_size + channel * d_v;
    for (int64_t i = 0; i < d_v; ++i) sum += params.final_state[row + i] * params.d_final_state[row + i];
  }
  for (int last = sequence.length - 1; last >= 0; last -= kAhead) {
    float differences[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t row = (begin + max(last - i, 0)) * params.h + head;
      differences[i] = params.differences[row * params.width + channel];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      sum += differences[i];
      if (last >= i) params.d_decay.row<float>(batch, sequence.begin + last - i, head)[channel] = sum;
    }
  }
}

__device__ __forceinline__ void finish_decays(const RecurrenceDecaysParams& params) {
  __shared__ float scratch[kThreads / 32];
  const unsigned thread = ptx::thread_index();
  const unsigned index = ptx::block_index();
  if (params.width > 0) {
    for (int channel = thread; channel < params.width; channel += kThreads) {
      finish_channel(params, index / params.h, index % params.h, channel);
    }
    return;
  }
  const int head = params.sums ? index : index % params.h;
  const int first = params.sums ? 0 : index / params.h, last = params.sums ? params.b - 1 : first;
  float all = 0.0f;
  for (int batch = first; batch <= last; ++batch) {
    const Sequence sequence = params.sequences.at(batch);
    const int64_t begin = params.sequences.offsets == nullptr
                              ? static_cast<int64_t>(batch) * params.sequences.longest
                              : sequence.begin;
    // Through the final state all decays have a part.
    float after = 0.0f;
    if (params.d_final_state != nullptr) {
      const int64_t slot = (static_cast<int64_t>(batch) * params.h + head) * params.state_size;
      for (int64_t i = thread; i < params.state_size; i += kThreads) {
        after += params.final_state[slot + i] * params.d_final_state[slot + i];
      }
      after = team_sum(after, kThreads, scratch);
    }
    for (int tile = (sequence.length + kThreads - 1) / kThreads - 1; tile >= 0; --tile) {
      const int step = tile * kThreads + thread;
      const bool exists = step < sequence.length;
      const float difference = exists ? params.differences[(begin + step) * params.h + head] : 0.0f;
      float total;
      const float gradient = suffix_sum(difference, scratch, total) + after;
      after += total;
      if (exists && params.sums) all += gradient;
      if (exists && !params.sums) *params.d_decay.row<float>(batch, sequence.begin + step, head) = gradient;
    }
  }
  if (!params.sums) return;
  all = team_sum(all, kThreads, scratch);
  if (thread == 0) *params.d_decay.row<float>(0, 0, head) = all;
}

}  // namespace
}  // namespace llm_kernels

#define RECURRENCE_KEYS_INSTANCE(NAME, T)                                                         \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)                             \
      NAME(const __grid_constant__ llm_kernels::RecurrenceKeysParams params) {                    \
    llm_kernels::finish_keys<llm_kernels::T>(params);                                             \
  }

RECURRENCE_KEYS_INSTANCE(linear_recurrence_backward_keys_f16, f16)
RECURRENCE_KEYS_INSTANCE(linear_recurrence_backward_keys_bf16, bf16)

extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)
    linear_recurrence_backward_decays(const __grid_constant__ llm_kernels::RecurrenceDecaysParams params) {
  llm_kernels::finish_decays(params);
}

// See recurrence_instance.cuh.
RECURRENCE_INSTANCE(linear_recurrence_columns_f16_d64, f16, 64, 32, kValueColumn, 44176)
RECURRENCE_INSTANCE(linear_recurrence_columns_f16_d128, f16, 128, 32, kValueColumn, 60560)
RECURRENCE_INSTANCE(linear_recurrence_columns_f16_d256, f16, 256, 32, kValueColumn, 93328)
RECURRENCE_INSTANCE(linear_recurrence_columns_bf16_d64, bf16, 64, 32, kValueColumn, 44176)
RECURRENCE_INSTANCE(linear_recurrence_columns_bf16_d128, bf16, 128, 32, kValueColumn, 60560)
RECURRENCE_INSTANCE(linear_recurrence_columns_bf16_d256, bf16, 256, 32, kValueColumn, 93328)
