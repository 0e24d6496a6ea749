// What a block of the linear recurrence works on, how it is tiled, and its loads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/pipeline.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"
#include "scan/feature_map.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/linear_recurrence/.
struct LinearRecurrenceParams {
  SequenceTensor q, k, v, out;
  SequenceTensor decay;             // f32, logarithms: rows of 1 element or d_k; null: none.
  const float* initial_state;       // [b, h, state]; null: zeros.
  float* final_state;               // Likewise; null: not wanted.
  const float* initial_normaliser;  // [b, h, d_k]; null: zeros.
  float* final_normaliser;          // Likewise; null: not wanted.
  float* chunk_states;              // [b, num_chunks - 1, h, state]: what the chunks but the first begin with.
  float* chunk_normalisers;         // [b, num_chunks - 1, h, d_k]
  float* chunk_decays;              // [b, num_chunks - 1, h, decay_width]: base-2 logarithms, of whole chunks.
  Sequences sequences;              // At most 2^29 positions.
  int32_t h;                        // Heads of the state.
  int32_t heads_per_query;          // Heads of the state for each head of q,
  int32_t heads_per_key;            // of k,
  int32_t heads_per_value;          // and of v.
  int32_t d_k, d_v;                 // Multiples of 16.
  int32_t chunk, num_chunks;        // Steps, a multiple of 64; chunks of the longest sequence.
  int32_t key_stride, value_stride; // In a state, in floats.
  int32_t reverse;                  // From the last step to the first, each decay after its step.
  int32_t states_only;              // What a chunk adds to the state, of all chunks but the last.
  int32_t decay_width;              // Decays of a chunk: 1, d_k, or d_v.
  int32_t out_is_f32;               // Else T.
  FeatureMap feature_map;           // Of q and k.
  int32_t normalised;               // Outputs are divided by q z + epsilon.
  float epsilon;
  float scale, key_scale;           // Of q and of k.
  int32_t padding;
};

static_assert(sizeof(LinearRecurrenceParams) == 312 && offsetof(LinearRecurrenceParams, initial_state) == 160 &&
                  offsetof(LinearRecurrenceParams, sequences) == 216 && offsetof(LinearRecurrenceParams, h) == 232 &&
                  offsetof(LinearRecurrenceParams, scale) == 300,
              "mirrored in Rust");

// What has a decay of its own.
enum class DecayOf { kStep, kKeyChannel, kValueColumn };

// kDecay: of a step is also of a head, or none.
template <typename T_, int kKeys_, int kTile_, DecayOf kDecay_>
struct RecurrenceTraits {
  using T = T_;
  static constexpr int kKeys = kKeys_;            // Key channels, at least d_k.
  static constexpr int kValues = 64;              // Value columns of a block, 16 of a warp.
  static constexpr int kTile = kTile_;            // Steps that are loaded together,
  static constexpr int kSteps = 16;               // and by which the state advances.
  static constexpr int kBlocks = kTile / kSteps;
  static constexpr DecayOf kDecay = kDecay_;
  static constexpr bool kChannels = kDecay == DecayOf::kKeyChannel, kColumns = kDecay == DecayOf::kValueColumn;
  static constexpr bool kOfSteps = kDecay == DecayOf::kStep;
  static constexpr int kWarps = kValues / 16;
  static constexpr int kThreads = kWarps * 32;    // Another warp has the normaliser.

  using KeyTile = SharedTile<kTile, kKeys>;
  using ValueTile = SharedTile<kTile, kValues>;
  static constexpr int kDecays = kColumns ? kValues : kKeys;
  using DecayTile = SharedTile<kTile, 2 * kDecays>;  // Of f32.

  // Two stages of q, k, v and decays.
  static constexpr int kValueOffset = 2 * KeyTile::kBytes;
  static constexpr int kDecayOffset = kValueOffset + ValueTile::kBytes;
  static constexpr int kStageBytes = kDecayOffset + (kOfSteps ? 256 : DecayTile::kBytes);
  // Weighed scores of each block of steps: as a lane holds them, 8 floats.
  static constexpr int kScoreOffset = 2 * kStageBytes;
  // Of each step: the weight of the state that the block begins with, and of its own in the state that the block ends
  // with. Otherwise, of each block and decay: the factor of the state, and its logarithm.
  static constexpr int kRowOffset = kScoreOffset + kBlocks * 1024;
  static constexpr int kKeyOffset = kRowOffset + (kOfSteps ? kTile : kBlocks * kDecays) * 4;
  static constexpr int kFactorOffset = kKeyOffset + (kOfSteps ? kTile : kBlocks * kDecays) * 4;  // [kBlocks][2], likewise.
  static constexpr int kNormaliserOffset = kFactorOffset + kBlocks * 8;     // [2][16]
  static constexpr int kSumOffset = kNormaliserOffset + 128;                // Of each step: its sum of logarithms.
  static constexpr int kSharedBytes = kSumOffset + (kOfSteps ? kTile * 4 : 0);
};

// A chunk of a head of a sequence, and some of its value columns. Blocks next to each other share q and k.
template <typename Traits>
struct RecurrenceBlock {
  int batch, head, chunk, value_first;
  int first, steps;  // Of the sequence.
  bool last;
  Sequence sequence;

  __device__ __forceinline__ explicit RecurrenceBlock(const LinearRecurrenceParams& params) {
    const unsigned value_tiles = (params.d_v + Traits::kValues - 1) / Traits::kValues;
    const unsigned chunks = params.num_chunks - params.states_only;
    unsigned rest = ptx::block_index();
    value_first = rest % value_tiles * Traits::kValues;
    rest /= value_tiles;
    head = rest % params.h;
    rest /= params.h;
    chunk = rest % chunks;
    batch = rest / chunks;
    sequence = params.sequences.at(batch);
    // In reverse the first chunk is the one that falls short: chunks are the same steps in both directions.
    const int short_by = params.reverse ? (params.chunk - sequence.length % params.chunk) % params.chunk : 0;
    const auto begin = [&](int index) {
      const int64_t place = static_cast<int64_t>(index) * params.chunk - (index > 0 ? short_by : 0);
      return static_cast<int>(min(place, static_cast<int64_t>(sequence.length)));
    };
    first = begin(chunk);
    steps = begin(chunk + 1) - first;
    last = first + steps >= sequence.length;
  }

  // Whether there is anything to do: of a sequence without steps the first chunk is the last.
  __device__ __forceinline__ bool exists(const LinearRecurrenceParams& params) const {
    return params.states_only ? !last : chunk == 0 || steps > 0;
  }

  // The place in chunk_states of the state that the next chunk begins with.
  __device__ __forceinline__ int64_t slot(const LinearRecurrenceParams& params) const {
    return (static_cast<int64_t>(batch) * (params.num_chunks - 1) + chunk) * params.h + head;
  }

  // The position, among all, of a step of the chunk.
  __device__ __forceinline__ int position(const LinearRecurrenceParams& params, int step) const {
    const int place = first + step;
    return sequence.begin + (params.reverse ? sequence.length - 1 - place : place);
  }
};

// Loads the tile of steps that begins with `step` to the stage at `stage`. Threads of the value warps.
template <typename Traits>
__device__ __forceinline__ void load_steps(const LinearRecurrenceParams& params, const RecurrenceBlock<Traits>& block,
                                           int step, uint32_t stage) {
  using T = typename Traits::T;
  const unsigned thread = ptx::thread_index();
  const int valid = block.steps - step;
  const auto rows = [&](const SequenceTensor& tensor, int head) {
    return [&, head](int row) -> const T* {
      if (row >= valid) return nullptr;
      return tensor.row<T>(block.batch, block.position(params, step + row), head);
    };
  };
  if (!params.states_only) {
    load_rows<Traits::kTile, Traits::kKeys, Traits::kThreads>(typename Traits::KeyTile{stage}, thread, params.d_k,
                                                              rows(params.q, block.head / params.heads_per_query));
  }
  load_rows<Traits::kTile, Traits::kKeys, Traits::kThreads>(
      typename Traits::KeyTile{stage + Traits::KeyTile::kBytes}, thread, params.d_k,
      rows(params.k, block.head / params.heads_per_key));
  load_rows<Traits::kTile, Traits::kValues, Traits::kThreads>(
      typename Traits::ValueTile{stage + Traits::kValueOffset}, thread, min(params.d_v - block.value_first, Traits::kValues),
      [&](int row) -> const T* {
        return row < valid ? rows(params.v, block.head / params.heads_per_value)(row) + block.value_first : nullptr;
      });
  const auto decay = [&](int row) -> const float* {
    return row < valid ? params.decay.row<float>(block.batch, block.position(params, step + row), block.head) : nullptr;
  };
  if constexpr (!Traits::kOfSteps) {
    const int first = Traits::kColumns ? block.value_first : 0;
    const int count = Traits::kColumns ? min(params.d_v - first, Traits::kValues) : params.d_k;
    load_rows<Traits::kTile, 2 * Traits::kDecays, Traits::kThreads>(
        typename Traits::DecayTile{stage + Traits::kDecayOffset}, thread, count,
        [&](int row) -> const float* { return row < valid ? decay(row) + first : nullptr; });
  } else if (params.decay.data != nullptr && thread < Traits::kTile) {
    ptx::cp_async_4_zero_fill(stage + Traits::kDecayOffset + thread * 4, decay(thread), thread < valid ? 4 : 0);
  }
}

}  // namespace llm_kernels
