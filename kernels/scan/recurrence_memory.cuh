// What the linear recurrence has in device memory: outputs, and the states of sequences and chunks.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "scan/recurrence_block.cuh"
#include "scan/recurrence_state.cuh"

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

}  // namespace llm_kernels
