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

#include "scan/recurrence_instance.cuh"

namespace llm_kernels {

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
  const int row = max(params.key_stride, params.value_stride);
  uint4 state = {};
  if (initial != nullptr) {
    state = ptx::ld_global_16(initial + (static_cast<int64_t>(batch) * params.h + head) * width + element);
  }
  const int length = params.sequences.at(batch).length;
  for (int chunk = 0; static_cast<int64_t>(chunk + 1) * params.chunk < length; ++chunk) {
    const int64_t slot = (static_cast<int64_t>(batch) * (params.num_chunks - 1) + chunk) * params.h + head;
    // Of 4 neighbours in a row of the state one channel's, of the normaliser each its own.
    float factors[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int channel = params.decay_width == 1 ? 0 : is_state ? element / row : element + e;
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

RECURRENCE_INSTANCE(linear_recurrence_f16_d64, f16, 64, 64, kStep, 54688)
RECURRENCE_INSTANCE(linear_recurrence_f16_d128, f16, 128, 32, kStep, 44048)
RECURRENCE_INSTANCE(linear_recurrence_f16_d256, f16, 256, 32, kStep, 76816)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d64, bf16, 64, 64, kStep, 54688)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d128, bf16, 128, 32, kStep, 44048)
RECURRENCE_INSTANCE(linear_recurrence_bf16_d256, bf16, 256, 32, kStep, 76816)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d64, f16, 64, 32, kKeyChannel, 44176)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d128, f16, 128, 32, kKeyChannel, 77968)
RECURRENCE_INSTANCE(linear_recurrence_channels_f16_d256, f16, 256, 16, kKeyChannel, 72840)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d64, bf16, 64, 32, kKeyChannel, 44176)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d128, bf16, 128, 32, kKeyChannel, 77968)
RECURRENCE_INSTANCE(linear_recurrence_channels_bf16_d256, bf16, 256, 16, kKeyChannel, 72840)

extern "C" __global__ void __launch_bounds__(128)
    linear_recurrence_combine(const __grid_constant__ llm_kernels::LinearRecurrenceParams params) {
  llm_kernels::combine(params);
}
