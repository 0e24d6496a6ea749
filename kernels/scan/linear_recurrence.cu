// The linear recurrence S_t = decay_t S_{t-1} + k_t (x) v_t, out_t = scale q_t S_t, in chunks.
//
//   q, k: [b, s, h_k, d_k]   v, out: [b, s, h, d_v]   state: [b, h, d_k, d_v] f32   normaliser: [b, h, d_k] f32
//   decay: none, or f32 logarithms: [h], [b, s, h], or of every key channel [b, s, h, d_k]
//   With cu_seqlens q, k, v, out and decay are [total, ...].
//
// Block: a chunk of a head, kValues value columns; goes through its tiles of kTile steps in order. Warp: 16 value columns of
// the state, in registers; the blocks of 16 steps of a tile one after the other. The scores q k^T within a block of steps
// are one warp's, shared by all. One more warp has the normaliser, as a column of ones. All sums are f32; states and weighed
// scores are multiplied as bf16, or for f16 as tf32.
// Memory: q, k, v, decay and out once; with more than one chunk in a sequence k, v and decay twice, and the states between.
// Derivation: src/scan/linear_recurrence/README.md
#include <cstddef>
#include <cstdint>

#include "scan/recurrence_block.cuh"
#include "scan/recurrence_channels.cuh"
#include "scan/recurrence_state.cuh"
#include "scan/recurrence_steps.cuh"

namespace llm_kernels {

// Writes the rows of a tile that are staged where v was. Threads of the value warps.
template <typename Traits>
__device__ __forceinline__ void store_outputs(const LinearRecurrenceParams& params,
                                              const RecurrenceBlock<Traits>& block, int step, uint32_t stage) {
  using T = typename Traits::T;
  const unsigned thread = ptx::thread_index();
  const int chunk = thread % 8;
  if (block.value_first + chunk * 8 >= params.d_v) return;
  const typename Traits::ValueTile tile{stage + Traits::kValueOffset};
  const int valid = min(Traits::kTile, block.steps - step);
  for (int row = thread / 8; row < valid; row += Traits::kThreads / 8) {
    T* out = params.out.row<T>(block.batch, block.position(params, step + row), block.head) + block.value_first;
    ptx::st_global_16(out + chunk * 8, ptx::ld_shared_16(tile.chunk_address(row, chunk)));
  }
}

// A warp's part of a state in memory, or of a normaliser.
struct StatePart {
  const float* data;  // Null: none.
  int value_first, values, value_stride, key_stride;
};

template <typename Traits>
__device__ __forceinline__ StatePart state_part(const LinearRecurrenceParams& params,
                                                const RecurrenceBlock<Traits>& block, int64_t slot, const float* states,
                                                const float* normalisers) {
  const unsigned warp = ptx::thread_index() / 32;
  if (warp == Traits::kWarps) {
    return {normalisers == nullptr ? nullptr : normalisers + slot * params.d_k, 0, 1, 0, 1};
  }
  const int64_t size = static_cast<int64_t>(params.d_k) * params.d_v;
  return {states == nullptr ? nullptr : states + slot * size, block.value_first + static_cast<int>(warp) * 16, params.d_v,
          params.value_stride, params.key_stride};
}

// The state that the chunk begins with, and the one that it ends with.
template <typename Traits>
__device__ __forceinline__ void load_state(const LinearRecurrenceParams& params, const RecurrenceBlock<Traits>& block,
                                           RecurrenceState<Traits>& state) {
  state.clear();
  if (params.states_only) return;
  const bool given = block.chunk == 0;
  const int64_t slot = given ? static_cast<int64_t>(block.batch) * params.h + block.head : block.slot(params) - params.h;
  const StatePart part = state_part(params, block, slot, given ? params.initial_state : params.chunk_states,
                                    given ? params.initial_normaliser : params.chunk_normalisers);
  if (part.data == nullptr) return;
  state.each(params.d_k, part.value_first, part.values, part.value_stride, part.key_stride,
             [&](float& element, int offset) {
               element = __uint_as_float(ptx::ld_global_4(static_cast<const void*>(part.data + offset)));
             });
}

template <typename Traits>
__device__ __forceinline__ void store_state(const LinearRecurrenceParams& params, const RecurrenceBlock<Traits>& block,
                                            RecurrenceState<Traits>& state) {
  const bool within = params.states_only;
  if (!within && !block.last) return;
  const int64_t slot = within ? block.slot(params) : static_cast<int64_t>(block.batch) * params.h + block.head;
  const StatePart part = state_part(params, block, slot, within ? params.chunk_states : params.final_state,
                                    within ? params.chunk_normalisers : params.final_normaliser);
  // All blocks of a head have the same normaliser.
  if (part.data == nullptr || (part.values == 1 && block.value_first > 0)) return;
  state.each(params.d_k, part.value_first, part.values, part.value_stride, part.key_stride,
             [&](float& element, int offset) {
               ptx::st_global_4(const_cast<float*>(part.data) + offset, __float_as_uint(element));
             });
}

// A warp's way through the blocks of steps of a tile. All warps take part where there is a normaliser.
template <typename Traits>
__device__ __forceinline__ void advance(const LinearRecurrenceParams& params, const RecurrenceBlock<Traits>& chunk,
                                        int step, uint32_t shared, uint32_t stage, bool active,
                                        RecurrenceState<Traits>& state) {
  using T = typename Traits::T;
  const int valid = min(Traits::kTile, chunk.steps - step);
  const unsigned lane = ptx::thread_index() % 32, warp = ptx::thread_index() / 32;
  const bool has_values = warp < Traits::kWarps;
  const typename Traits::KeyTile q_tile{stage}, k_tile{stage + Traits::KeyTile::kBytes};
  const typename Traits::ValueTile v_tile{stage + Traits::kValueOffset};
  const uint32_t q_address = q_tile.ldmatrix_address(lane), k_address = k_tile.ldmatrix_address(lane);
  const uint32_t v_address = v_tile.ldmatrix_address(lane), v_address_n_by_k = v_tile.ldmatrix_address_n_by_k(lane);
#pragma unroll 1
  for (int block = 0; block * 16 < valid; ++block) {
    float o[2][4] = {};
    RecurrenceValues<Traits> v;
    if (active) {
      if (has_values) {
        v.load(v_address, v_address_n_by_k, block, warp);
      } else {
        v.set_ones(lane);
      }
    }
    if (active && !params.states_only) {
      state.multiply(o, q_address, block, params.d_k);
      float row_weights[2] = {params.scale, params.scale};
      if constexpr (!Traits::kChannels) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          row_weights[i] = shared_float(shared + Traits::kRowOffset + (block * 16 + i * 8 + lane / 4) * 4);
        }
      }
      float scores[8];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[n][e] *= row_weights[e / 2];
        const uint4 bits = ptx::ld_shared_16(shared + Traits::kScoreOffset + block * 1024 + n * 512 + lane * 16);
        scores[n * 4] = __uint_as_float(bits.x), scores[n * 4 + 1] = __uint_as_float(bits.y);
        scores[n * 4 + 2] = __uint_as_float(bits.z), scores[n * 4 + 3] = __uint_as_float(bits.w);
      }
      mma_wide_a<T>(o[0], scores, v.by_step.b[0], v.by_step.b[1]);
      mma_wide_a<T>(o[1], scores, v.by_step.b[2], v.by_step.b[3]);
    }
    if (active) {
      if constexpr (Traits::kChannels) {
        state.scale_channels(shared + Traits::kRowOffset + block * Traits::kKeys * 4);
      } else if (params.decay.data != nullptr || params.key_scale != 1.0f) {
        state.scale(shared_float(shared + Traits::kFactorOffset + block * 8));
        v.weigh(shared + Traits::kKeyOffset + block * 64, lane);
      }
      state.add(v.transposed, k_address, block, params.d_k);
    }
    if (params.states_only) continue;
    if (params.normalised) {
      const uint32_t sums = shared + Traits::kNormaliserOffset + block % 2 * 64 + lane / 4 * 4;
      if (!has_values && lane % 4 == 0) {
        ptx::st_shared_4(sums, __float_as_uint(o[0][0]));
        ptx::st_shared_4(sums + 32, __float_as_uint(o[0][2]));
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float inverse = 1.0f / (shared_float(sums + i * 32) + params.epsilon);
#pragma unroll
        for (int n = 0; n < 2; ++n) o[n][2 * i] *= inverse, o[n][2 * i + 1] *= inverse;
      }
    }
    if (active && has_values && params.out_is_f32) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = block * 16 + i * 8 + lane / 4;
        if (row >= valid) break;
        float* out = params.out.row<float>(chunk.batch, chunk.position(params, step + row), chunk.head) +
                     chunk.value_first + warp * 16 + lane % 4 * 2;
        ptx::st_global_8(out, {__float_as_uint(o[0][2 * i]), __float_as_uint(o[0][2 * i + 1])});
        ptx::st_global_8(out + 8, {__float_as_uint(o[1][2 * i]), __float_as_uint(o[1][2 * i + 1])});
      }
    } else if (active && has_values) {
      // Where this warp's part of v was, which nobody else reads.
      __syncwarp();
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t address = v_tile.chunk_address(block * 16 + i * 8 + lane / 4, warp * 2 + n) + lane % 4 * 4;
          ptx::st_shared_4(address, T::pack(o[n][2 * i], o[n][2 * i + 1]));
        }
      }
    }
  }
}

template <typename Traits>
__device__ __forceinline__ void linear_recurrence(const LinearRecurrenceParams& params) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t shared = ptx::shared_address(shared_memory);
  const unsigned thread = ptx::thread_index();
  const unsigned warp = thread / 32;
  const RecurrenceBlock<Traits> block(params);
  if (!block.exists(params)) return;
  const bool has_values = warp < Traits::kWarps;
  const bool active = !has_values || block.value_first + static_cast<int>(warp) * 16 < params.d_v;

  if (block.steps > 0 && has_values) load_steps(params, block, 0, shared);
  commit_copies();
  RecurrenceState<Traits> state;
  load_state(params, block, state);
  // Sums of the logarithms of decays: of this thread's channels, or, of thread 0, of all.
  constexpr int kSums = Traits::kChannels ? (Traits::kKeys + Traits::kThreads - 1) / Traits::kThreads : 1;
  float log_sums[kSums] = {};
#pragma unroll 1
  for (int step = 0; step < block.steps; step += Traits::kTile) {
    const uint32_t stage = shared + step / Traits::kTile % 2 * Traits::kStageBytes;
    const int valid = min(Traits::kTile, block.steps - step);
    wait_for_copies();
    if (params.feature_map != FeatureMap::kIdentity && has_values) map_own_copies<Traits>(params, stage, valid);
    // The tile is here; and the outputs of the one before have been read from the other stage.
    __syncthreads();
    if (step + Traits::kTile < block.steps && has_values) {
      const uint32_t next = shared + (step / Traits::kTile + 1) % 2 * Traits::kStageBytes;
      load_steps(params, block, step + Traits::kTile, next);
    }
    commit_copies();
    if constexpr (Traits::kChannels) {
      weigh_channels<Traits>(params, shared, stage);
    } else {
      if (warp < Traits::kBlocks) weigh_steps<Traits>(params, shared, stage, warp);
    }
    __syncthreads();
    if (params.states_only && has_values) {
#pragma unroll
      for (int i = 0; i < kSums * Traits::kBlocks; ++i) {
        const int tile_block = i / kSums, channel = i % kSums * Traits::kThreads + thread;
        if constexpr (Traits::kChannels) {
          if (channel < Traits::kKeys) {
            log_sums[i % kSums] += shared_float(shared + Traits::kKeyOffset + (tile_block * Traits::kKeys + channel) * 4);
          }
        } else {
          log_sums[0] += shared_float(shared + Traits::kFactorOffset + tile_block * 8 + 4);
        }
      }
    }
    advance(params, block, step, shared, stage, active, state);
    if (!params.states_only && !params.out_is_f32) {
      __syncthreads();
      if (has_values) store_outputs(params, block, step, stage);
    }
  }
  if (active) store_state(params, block, state);
  if (params.states_only && block.value_first == 0 && has_values) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int channel = i * Traits::kThreads + thread;
      if (channel < params.decay_width) {
        params.chunk_decays[block.slot(params) * params.decay_width + channel] = log_sums[i];
      }
    }
  }
}

// chunk_states: what each chunk adds becomes what the next begins with. Thread: 4 value columns of a channel, or 4 channels
// of the normaliser.
__device__ __forceinline__ void combine(const LinearRecurrenceParams& params) {
  const int units = params.d_k * params.d_v / 4;
  const int tiles = (units + (params.normalised ? params.d_k / 4 : 0) + 127) / 128;
  const unsigned index = ptx::block_index();
  const int unit = index % tiles * 128 + ptx::thread_index();
  const int head = index / tiles % params.h, batch = index / tiles / params.h;
  const bool is_state = unit < units;
  if (!is_state && (!params.normalised || unit - units >= params.d_k / 4)) return;
  const int64_t width = is_state ? static_cast<int64_t>(params.d_k) * params.d_v : params.d_k;
  const int element = (is_state ? unit : unit - units) * 4;
  const float* initial = is_state ? params.initial_state : params.initial_normaliser;
  float* chunks = is_state ? params.chunk_states : params.chunk_normalisers;
  uint4 state = {};
  if (initial != nullptr) {
    state = ptx::ld_global_16(initial + (static_cast<int64_t>(batch) * params.h + head) * width + element);
  }
  const int length = params.sequences.at(batch).length;
  for (int chunk = 0; static_cast<int64_t>(chunk + 1) * params.chunk < length; ++chunk) {
    const int64_t slot = (static_cast<int64_t>(batch) * (params.num_chunks - 1) + chunk) * params.h + head;
    // Of 4 value columns one channel's, of the normaliser each its own.
    float factors[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int channel = params.decay_width == 1 ? 0 : is_state ? element / params.d_v : element + e;
      factors[e] = ptx::ex2_approx_ftz(params.chunk_decays[slot * params.decay_width + channel]);
    }
    float* place = chunks + slot * width + element;
    const uint4 added = ptx::ld_global_16(place);
    const auto next = [](uint32_t before, float factor, uint32_t more) {
      return __float_as_uint(__fmaf_rn(__uint_as_float(before), factor, __uint_as_float(more)));
    };
    state = {next(state.x, factors[0], added.x), next(state.y, factors[1], added.y),
             next(state.z, factors[2], added.z), next(state.w, factors[3], added.w)};
    ptx::st_global_16(place, state);
  }
}

}  // namespace llm_kernels

// Name, element type, most key channels, steps of a tile, a decay of every channel, dynamic shared bytes.
#define RECURRENCE_INSTANCE(NAME, T, KEYS, TILE, CHANNELS, SHARED)                                                   \
  static_assert(llm_kernels::RecurrenceTraits<llm_kernels::T, KEYS, TILE, CHANNELS>::kSharedBytes == SHARED,         \
                "mirrored in Rust");                                                                                 \
  extern "C" __global__ void __launch_bounds__(160)                                                                  \
      NAME(const __grid_constant__ llm_kernels::LinearRecurrenceParams params) {                                     \
    llm_kernels::linear_recurrence<llm_kernels::RecurrenceTraits<llm_kernels::T, KEYS, TILE, CHANNELS>>(params);     \
  }

RECURRENCE_INSTANCE(linear_recurrence_f16_d64, f16, 64, 64, false, 54432)
RECURRENCE_INSTANCE(linear_recurrence_f16_d128, f16, 128, 32, false, 43920)
RECURRENCE_INSTANCE(linear_recurrence_f16_d256, f16, 256, 32, false, 76688)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d64, bf16, 64, 64, false, 54432)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d128, bf16, 128, 32, false, 43920)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d256, bf16, 256, 32, false, 76688)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d64, f16, 64, 32, true, 44176)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d128, f16, 128, 32, true, 77968)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d256, f16, 256, 16, true, 72840)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d64, bf16, 64, 32, true, 44176)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d128, bf16, 128, 32, true, 77968)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d256, bf16, 256, 16, true, 72840)

extern "C" __global__ void __launch_bounds__(128)
    linear_recurrence_combine(const __grid_constant__ llm_kernels::LinearRecurrenceParams params) {
  llm_kernels::combine(params);
}
