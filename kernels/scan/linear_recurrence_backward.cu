// What the gradients of the linear recurrence need beside its sweeps: features, the normaliser, sums over heads that share q and
// k, and the gradient of the decays.
//
//   d_q_heads, d_k_heads: [positions, h, d_k] f32, of every head of the state   q, k, d_q, d_k: [b, s, h_k, d_k]
//   differences: [positions, h] f32: q d_q - k d_k, summed over channels   d_decay: [b, s, h] or [h] f32
//   With decays of channels both are [.., d_k], and the differences take the place of d_q_heads.
//
// linear_recurrence_columns_*: the recurrence with a decay of every value column, for d_q and d_k: recurrence_engine.cuh.
// linear_recurrence_backward_features, _keys: warp: a position and a head of q and k; lane: 4 channels at a time. Sums over heads
// are in their order. _divide, _add: the normaliser's scans, forward and in reverse: recurrence_normaliser.cuh. linear_recurrence_backward_decays: block: a chunk of a head, or, for a head's sum, all of them; from its last step to the first,
// kThreads at a time; or, with decays of channels, one at a time, a channel a thread. Arithmetic: f32. Memory: everything once.
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

// A state, or normaliser, and its gradient; null: none.
struct StatePair {
  const float* state;
  const float* d_state;
};

// Likewise.
struct RecurrenceDecaysParams {
  SequenceTensor d_decay;      // Rows of one element, or d_k; [h] if all steps of a head are summed.
  const float* differences;
  StatePair ends;              // [b, h, state]: behind the last step.
  StatePair end_normalisers;   // [b, h, d_k], likewise.
  StatePair chunks;            // [b, num_chunks - 1, h, state]: between chunks; gradients in reverse.
  StatePair chunk_normalisers; // [b, num_chunks - 1, h, d_k], both in the order of steps.
  Sequences sequences;
  int64_t state_size;
  int32_t b, h, d_k;
  int32_t chunk, num_chunks;   // Steps; chunks of the longest sequence.
  int32_t sums;                // All steps of a head are summed, over all sequences.
  int32_t of_channels;         // Decays are of channels.
  int32_t padding;
};

static_assert(sizeof(RecurrenceFeaturesParams) == 104 && offsetof(RecurrenceFeaturesParams, num_rows) == 80,
              "mirrored in Rust");
static_assert(sizeof(RecurrenceKeysParams) == 184 && offsetof(RecurrenceKeysParams, num_rows) == 152,
              "mirrored in Rust");
static_assert(sizeof(RecurrenceDecaysParams) == 160 && offsetof(RecurrenceDecaysParams, sequences) == 104 &&
                  offsetof(RecurrenceDecaysParams, b) == 128,
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

template <typename T, int kUnits>
__device__ __forceinline__ void map_features_of(const RecurrenceFeaturesParams& params) {
  using WarpRow = WarpRow<kUnits>;
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
__device__ __forceinline__ void map_features(const RecurrenceFeaturesParams& params) {
  with_units(params.width, [&](auto units) { map_features_of<T, units()>(params); });
}

template <typename T, int kUnits>
__device__ __forceinline__ void finish_keys_of(const RecurrenceKeysParams& params) {
  using WarpRow = WarpRow<kUnits>;
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

template <typename T>
__device__ __forceinline__ void finish_keys(const RecurrenceKeysParams& params) {
  with_units(params.width, [&](auto units) { finish_keys_of<T, units()>(params); });
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

// A chunk of the steps of a head.
struct DecayChunk {
  const RecurrenceDecaysParams& params;
  const int batch, head, index;
  const Sequence sequence;
  const int first, last;  // Steps of the sequence; `last` is the next chunk's first.

  __device__ __forceinline__ DecayChunk(const RecurrenceDecaysParams& params_, int batch_, int head_, int index_)
      : params(params_),
        batch(batch_),
        head(head_),
        index(index_),
        sequence(params_.sequences.at(batch_)),
        first(static_cast<int>(min(static_cast<int64_t>(index_) * params_.chunk, static_cast<int64_t>(sequence.length)))),
        last(min(params_.chunk, sequence.length - first) + first) {}

  // Row of a step in tensors without gaps.
  __device__ __forceinline__ int64_t row(int step) const {
    const bool various = params.sequences.offsets != nullptr;
    const int64_t begin = various ? sequence.begin : static_cast<int64_t>(batch) * params.sequences.longest;
    return (begin + step) * params.h + head;
  }

  // Calls visit(state, its gradient, elements of a channel) for the state behind the chunk, and for the normaliser, from
  // channel 0 on.
  template <typename Visit>
  __device__ __forceinline__ void each_state(Visit visit) const {
    const int64_t widths[2] = {params.state_size, params.d_k};
    const bool ends = last == sequence.length;
    const int64_t slots = static_cast<int64_t>(batch) * (params.num_chunks - 1);
    const int reverse = (sequence.length - 1) / params.chunk - 1 - index;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const StatePair end = i == 0 ? params.ends : params.end_normalisers;
      const StatePair within = i == 0 ? params.chunks : params.chunk_normalisers;
      const StatePair pair = ends ? end : within;
      if (pair.d_state == nullptr) continue;
      const int64_t slot = ends ? static_cast<int64_t>(batch) * params.h + head : (slots + index) * params.h + head;
      const int64_t d_slot = ends || i == 1 ? slot : (slots + reverse) * params.h + head;
      visit(pair.state + slot * widths[i], pair.d_state + d_slot * widths[i], widths[i] / params.d_k);
    }
  }

  // From the last step to the first: a channel.
  __device__ __forceinline__ void finish_channel(int channel) const {
    constexpr int kAhead = 8;
    float sum = 0.0f;
    each_state([&](const float* state, const float* d_state, int64_t width) {
      for (int64_t i = channel * width; i < (channel + 1) * width; ++i) sum += state[i] * d_state[i];
    });
    for (int step = last - 1; step >= first; step -= kAhead) {
      float differences[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) differences[i] = params.differences[row(max(step - i, first)) * params.d_k + channel];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        sum += differences[i];
        if (step - i >= first) params.d_decay.row<float>(batch, sequence.begin + step - i, head)[channel] = sum;
      }
    }
  }

  // Likewise of all channels: all threads of the block. Returns this thread's sum of the gradients of steps.
  __device__ __forceinline__ float finish(float* scratch) const {
    const unsigned thread = ptx::thread_index();
    float after = 0.0f, all = 0.0f;
    each_state([&](const float* state, const float* d_state, int64_t width) {
      for (int64_t i = thread; i < width * params.d_k; i += kThreads) after += state[i] * d_state[i];
    });
    after = team_sum(after, kThreads, scratch);
    for (int tile = (last - first + kThreads - 1) / kThreads - 1; tile >= 0; --tile) {
      const int step = first + tile * kThreads + thread;
      const bool exists = step < last;
      const float difference = exists ? params.differences[row(step)] : 0.0f;
      float total;
      const float gradient = suffix_sum(difference, scratch, total) + after;
      after += total;
      if (exists) all += gradient;
      if (exists && !params.sums) *params.d_decay.row<float>(batch, sequence.begin + step, head) = gradient;
    }
    return all;
  }
};

__device__ __forceinline__ void finish_decays(const RecurrenceDecaysParams& params) {
  __shared__ float scratch[kThreads / 32];
  const unsigned thread = ptx::thread_index(), index = ptx::block_index();
  if (!params.sums) {
    const DecayChunk chunk(params, index / params.h / params.num_chunks, index % params.h,
                           index / params.h % params.num_chunks);
    if (chunk.first == chunk.last) return;
    if (!params.of_channels) {
      chunk.finish(scratch);
      return;
    }
    for (int channel = thread; channel < params.d_k; channel += kThreads) chunk.finish_channel(channel);
    return;
  }
  float all = 0.0f;
  for (int batch = 0; batch < params.b; ++batch) {
    for (int i = 0; i < params.num_chunks; ++i) {
      const DecayChunk chunk(params, batch, index, i);
      if (chunk.first < chunk.last) all += chunk.finish(scratch);
    }
  }
  all = team_sum(all, kThreads, scratch);
  if (thread == 0) *params.d_decay.row<float>(0, 0, index) = all;
}

}  // namespace
}  // namespace llm_kernels

// Name, element type, parameters, threads, the function.
#define RECURRENCE_ROWS_INSTANCE(NAME, T, PARAMS, THREADS, RUN)                                    \
  extern "C" __global__ void __launch_bounds__(llm_kernels::THREADS)                               \
      NAME(const __grid_constant__ llm_kernels::PARAMS params) {                                   \
    llm_kernels::RUN<llm_kernels::T>(params);                                                      \
  }

RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_features_f16, f16, RecurrenceFeaturesParams, kThreads, map_features)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_features_bf16, bf16, RecurrenceFeaturesParams, kThreads,
                         map_features)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_divide_f16, f16, RecurrenceNormaliserParams, kScanThreads, divide)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_divide_bf16, bf16, RecurrenceNormaliserParams, kScanThreads, divide)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_add_f16, f16, RecurrenceNormaliserParams, kScanThreads, add_to_keys)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_add_bf16, bf16, RecurrenceNormaliserParams, kScanThreads,
                         add_to_keys)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_keys_f16, f16, RecurrenceKeysParams, kThreads, finish_keys)
RECURRENCE_ROWS_INSTANCE(linear_recurrence_backward_keys_bf16, bf16, RecurrenceKeysParams, kThreads, finish_keys)

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
