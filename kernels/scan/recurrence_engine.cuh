// The way of a block of the linear recurrence through its chunk.
#pragma once

#include <cstdint>

#include "scan/recurrence_block.cuh"
#include "scan/recurrence_channels.cuh"
#include "scan/recurrence_columns.cuh"
#include "scan/recurrence_memory.cuh"
#include "scan/recurrence_state.cuh"
#include "scan/recurrence_steps.cuh"

namespace llm_kernels {

// A warp's way through the blocks of steps of a tile. All warps take part where there is a normaliser.
template <typename Traits>
__device__ __forceinline__ void advance(const LinearRecurrenceParams& params, const RecurrenceBlock<Traits>& chunk,
                                        int step, uint32_t shared, uint32_t stage, bool active, bool directly,
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
      if constexpr (Traits::kOfSteps) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          row_weights[i] = shared_float(shared + Traits::kRowOffset + (block * 16 + i * 8 + lane / 4) * 4);
        }
      }
      float scores[8];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 4 && !Traits::kColumns; ++e) o[n][e] *= row_weights[e / 2];
        const uint4 bits = ptx::ld_shared_16(shared + Traits::kScoreOffset + block * 1024 + n * 512 + lane * 16);
        scores[n * 4] = __uint_as_float(bits.x), scores[n * 4 + 1] = __uint_as_float(bits.y);
        scores[n * 4 + 2] = __uint_as_float(bits.z), scores[n * 4 + 3] = __uint_as_float(bits.w);
      }
      if constexpr (Traits::kColumns) {
        const ColumnWeights<Traits> weights(shared, stage, block, warp);
        float product[2][4] = {};
        if (directly) {
          weights.add_up(product, v_tile, shared + Traits::kScoreOffset + block * 1024, params.key_scale, lane);
        }
        weights.weigh(v, params.key_scale, lane);
        if (!directly) {
          mma_wide_a<T>(product[0], scores, v.by_step.b[0], v.by_step.b[1]);
          mma_wide_a<T>(product[1], scores, v.by_step.b[2], v.by_step.b[3]);
        }
        weights.finish(o, product, params.scale, directly, lane);
      } else {
        mma_wide_a<T>(o[0], scores, v.by_step.b[0], v.by_step.b[1]);
        mma_wide_a<T>(o[1], scores, v.by_step.b[2], v.by_step.b[3]);
      }
    }
    if (active) {
      if constexpr (Traits::kColumns) {
        const ColumnWeights<Traits> weights(shared, stage, block, warp);
        if (params.states_only) weights.weigh(v, params.key_scale, lane);
        weights.scale(state, lane);
      } else if constexpr (Traits::kChannels) {
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
  constexpr int kSums = Traits::kOfSteps ? 1 : (Traits::kDecays + Traits::kThreads - 1) / Traits::kThreads;
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
    bool directly = false;
    if constexpr (Traits::kColumns) {
      directly = weigh_columns<Traits>(params, shared, stage);
    } else if constexpr (Traits::kChannels) {
      weigh_channels<Traits>(params, shared, stage);
    } else {
      if (warp < Traits::kBlocks) weigh_steps<Traits>(params, shared, stage, warp);
    }
    __syncthreads();
    if (params.states_only && has_values) {
#pragma unroll
      for (int i = 0; i < kSums * Traits::kBlocks; ++i) {
        const int tile_block = i / kSums, channel = i % kSums * Traits::kThreads + thread;
        if constexpr (!Traits::kOfSteps) {
          if (channel < Traits::kDecays) {
            log_sums[i % kSums] += shared_float(shared + Traits::kKeyOffset + (tile_block * Traits::kDecays + channel) * 4);
          }
        } else {
          log_sums[0] += shared_float(shared + Traits::kFactorOffset + tile_block * 8 + 4);
        }
      }
    }
    advance(params, block, step, shared, stage, active, directly, state);
    if (!params.states_only && !params.out_is_f32) {
      __syncthreads();
      if (has_values) store_outputs(params, block, step, stage);
    }
  }
  if (active) store_state(params, block, state);
  // Decays of value columns are those of this block alone.
  if (params.states_only && (Traits::kColumns || block.value_first == 0) && has_values) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int own = i * Traits::kThreads + thread, channel = own + (Traits::kColumns ? block.value_first : 0);
      if ((Traits::kOfSteps || own < Traits::kDecays) && channel < params.decay_width) {
        params.chunk_decays[block.slot(params) * params.decay_width + channel] = log_sums[i];
      }
    }
  }
}

}  // namespace llm_kernels
