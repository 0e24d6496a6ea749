// What the gradients of the linear recurrence need beside its sweeps: features, the normaliser, sums over heads that share q and
// k, and the gradient of the decays.
//
//   d_q_heads, d_k_heads: [positions, h, d_k] f32, of every head of the state   q, k, d_q, d_k: [b, s, h_k, d_k]
//   differences: [positions, h] f32: q d_q - k d_k, summed over channels   d_decay: [b, s, h] or [h] f32
//   With decays of channels both are [.., d_k], and the differences take the place of d_q_heads.
//
// linear_recurrence_columns_*: the recurrence with a decay of every value column, for d_q and d_k: recurrence_engine.cuh.
// linear_recurrence_backward_features, _keys: warp: a position and a head of q and k; lane: 4 channels at a time. Sums over heads
// are in their order. _divide, _add: the normaliser's scans, forward and in reverse: recurrence_normaliser.cuh. linear_recurrence_backward_decays: block: a head, and a sequence or one after the other; from the last step to
// the first, kThreads at a time; or, with decays of channels, one at a time, a channel a thread. Arithmetic: f32. Memory: everything once.
// Derivation: src/scan/linear_recurrence_backward/README.md
#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/sequences.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"
#include "scan/feature_map.cuh"
#include "scan/recurrence_instance.cuh"
#include "scan/recurrence_normaliser.cuh"
#include "scan/warp_row.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/linear_recurrence_backward/.
struct RecurrenceFeaturesParams {
  SequenceTensor q, k;
  void* q_features;        // [positions, h_k, width] of the element type.
  void* k_features;
  int64_t num_rows;        // positions * h_k.
  int32_t length;          // Positions of a batch entry: of all sequences, if they are various.
  int32_t h_k, width;
  FeatureMap feature_map;
};

// Likewise.
struct RecurrenceKeysParams {
  SequenceTensor q, k, d_q, d_k;  // Of the numbers before the feature map.
  float* d_q_heads;        // In: gradients; out: differences of channels, if they are wanted.
  const float* d_k_heads;
  float* differences;      // Null: not wanted.
  int64_t num_rows;        // positions * h_k.
  int32_t length;          // Positions of a batch entry: of all sequences, if they are various.
  int32_t h_k, group;      // Heads of the state for each of q and k.
  int32_t width;           // Channels: a multiple of 16, at most 256.
  int32_t of_channels;     // Decays are of channels, and their differences are wanted.
  FeatureMap feature_map;
};

// Likewise.
struct RecurrenceDecaysParams {
  SequenceTensor d_decay;      // Rows of one element; [h] if all steps of a head are summed.
  const float* differences;
  const float* final_state;    // [b, h, state], and the gradient of it; null: none.
  const float* d_final_state;
  const float* final_normaliser;    // [b, h, d_k], likewise.
  const float* d_final_normaliser;
  Sequences sequences;
  int64_t state_size;
  int32_t b, h, d_k;
  int32_t sums;                // All steps of a head are summed, over all sequences.
  int32_t of_channels;         // Decays are of channels.
  int32_t padding;
};

static_assert(sizeof(RecurrenceFeaturesParams) == 104 && offsetof(RecurrenceFeaturesParams, num_rows) == 80,
              "mirrored in Rust");
static_assert(sizeof(RecurrenceKeysParams) == 184 && offsetof(RecurrenceKeysParams, num_rows) == 152,
              "mirrored in Rust");
static_assert(sizeof(RecurrenceDecaysParams) == 120 && offsetof(RecurrenceDecaysParams, sequences) == 72 &&
                  offsetof(RecurrenceDecaysParams, b) == 96,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
// A position and a head of q and k, of each warp.
struct KeyRow {
  int64_t row;  // Of tensors without gaps.
  int batch, step, head;
  bool exists;

  __device__ __forceinline__ KeyRow(int64_t num_rows, int length, int h_k) {
    row = static_cast<int64_t>(ptx::block_index()) * (kThreads / 32) + ptx::thread_index() / 32;
    exists = row < num_rows;
    const int64_t position = row / h_k;
    head = static_cast<int>(row - position * h_k);
    batch = static_cast<int>(position / length);
    step = static_cast<int>(position - static_cast<int64_t>(batch) * length);
  }

  template <typename T>
  __device__ __forceinline__ T* of(const SequenceTensor& tensor) const {
    return tensor.row<T>(batch, step, head);
  }
};

template <typename T>
__device__ __forceinline__ void map_features(const RecurrenceFeaturesParams& params) {
  const KeyRow place(params.num_rows, params.length, params.h_k);
  if (!place.exists) return;
  const auto feature = [&](float x) { return mapped(x, params.feature_map); };
  WarpRow::load(place.of<T>(params.q), params.width)
      .map(feature)
      .store_to(static_cast<T*>(params.q_features) + place.row * params.width, params.width);
  WarpRow::load(place.of<T>(params.k), params.width)
      .map(feature)
      .store_to(static_cast<T*>(params.k_features) + place.row * params.width, params.width);
}

template <typename T>
__device__ __forceinline__ void finish_keys(const RecurrenceKeysParams& params) {
  const KeyRow place(params.num_rows, params.length, params.h_k);
  if (!place.exists) return;
  const auto feature = [&](float x) { return rounded<T>(mapped(x, params.feature_map)); };
  const auto add = [](float x, float y) { return x + y; };
  const auto multiply = [](float x, float y) { return x * y; };
  const auto subtract = [](float x, float y) { return x - y; };
  const WarpRow q = WarpRow::load(place.of<T>(params.q), params.width);
  const WarpRow k = WarpRow::load(place.of<T>(params.k), params.width);
  const WarpRow q_features = q.map(feature), k_features = k.map(feature);
  WarpRow d_q = WarpRow::filled(0.0f), d_k = WarpRow::filled(0.0f);
  for (int i = 0; i < params.group; ++i) {
    const int64_t head = place.row * params.group + i;
    f32* d_q_row = reinterpret_cast<f32*>(params.d_q_heads) + head * params.width;
    const WarpRow of_q = WarpRow::load(d_q_row, params.width);
    const WarpRow of_k = WarpRow::load(reinterpret_cast<const f32*>(params.d_k_heads) + head * params.width, params.width);
    d_q = d_q.zip(of_q, add);
    d_k = d_k.zip(of_k, add);
    if (params.of_channels) {
      q_features.zip(of_q, multiply).zip(k_features.zip(of_k, multiply), subtract).store_to(d_q_row, params.width);
    }
    if (params.differences != nullptr) {
      const float difference = warp_sum(q_features.dot(of_q) - k_features.dot(of_k));
      if (ptx::thread_index() % 32 == 0) params.differences[head] = difference;
    }
  }
  const auto slope_of = [&](float x) { return slope(x, params.feature_map); };
  d_q.zip(q.map(slope_of), multiply).store_to(place.of<T>(params.d_q), params.width);
  d_k.zip(k.map(slope_of), multiply).store_to(place.of<T>(params.d_k), params.width);
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
  const int64_t slot = static_cast<int64_t>(batch) * params.h + head;
  if (params.d_final_state != nullptr) {
    const int64_t d_v = params.state_size / params.d_k, row = slot * params.state_size + channel * d_v;
    for (int64_t i = 0; i < d_v; ++i) sum += params.final_state[row + i] * params.d_final_state[row + i];
  }
  if (params.d_final_normaliser != nullptr) {
    const int64_t i = slot * params.d_k + channel;
    sum += params.final_normaliser[i] * params.d_final_normaliser[i];
  }
  for (int last = sequence.length - 1; last >= 0; last -= kAhead) {
    float differences[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t row = (begin + max(last - i, 0)) * params.h + head;
      differences[i] = params.differences[row * params.d_k + channel];
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
  if (params.of_channels) {
    for (int channel = thread; channel < params.d_k; channel += kThreads) {
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
    const int64_t slot = static_cast<int64_t>(batch) * params.h + head;
    const auto add_products = [&](const float* end, const float* d_end, int64_t size) {
      if (d_end == nullptr) return;
      for (int64_t i = slot * size + thread; i < (slot + 1) * size; i += kThreads) after += end[i] * d_end[i];
    };
    add_products(params.final_state, params.d_final_state, params.state_size);
    add_products(params.final_normaliser, params.d_final_normaliser, params.d_k);
    after = team_sum(after, kThreads, scratch);
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

// Name, parameters, threads, what it runs.
#define RECURRENCE_ROWS_INSTANCE(NAME, PARAMS, THREADS, RUN)                                                           \
  extern "C" __global__ void __launch_bounds__(llm_kernels::THREADS) NAME(const __grid_constant__ llm_kernels::PARAMS params) {     \
    using namespace llm_kernels;                                                                                       \
    RUN;                                                                                                               \
  }

RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_features_f16, RecurrenceFeaturesParams,
                         kThreads, map_features<f16>(params))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_features_bf16, RecurrenceFeaturesParams,
                         kThreads, map_features<bf16>(params))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_divide_f16, RecurrenceNormaliserParams,
                         kScanThreads, (NormaliserScan<f16, false>(params).run()))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_divide_bf16, RecurrenceNormaliserParams,
                         kScanThreads, (NormaliserScan<bf16, false>(params).run()))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_add_f16, RecurrenceNormaliserParams,
                         kScanThreads, (NormaliserScan<f16, true>(params).run()))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_add_bf16, RecurrenceNormaliserParams,
                         kScanThreads, (NormaliserScan<bf16, true>(params).run()))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_keys_f16, RecurrenceKeysParams, kThreads, finish_keys<f16>(params))
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_keys_bf16, RecurrenceKeysParams,
                         kThreads, finish_keys<bf16>(params))

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
