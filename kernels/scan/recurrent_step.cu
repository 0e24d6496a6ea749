// One step of the linear recurrence: S = decay S + k (x) v, out = scale q S, with the state in place.
//
//   q, k: [b, h_k, d_k]   v, out: [b, h, d_v]   state: [b, h, d_k, d_v] f32   normaliser: [b, h, d_k] f32
//   decay: none, or f32 logarithms: [h], [b, h], or of every key channel [b, h, d_k]
//
// Block: a head of a sequence, 64 value columns; with a normaliser all of them, since it is in place, too. Thread: 4 columns
// of every eighth channel. Arithmetic: f32. Memory: the state once in and once out.
// Derivation: src/scan/recurrent_step/README.md
#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"
#include "scan/feature_map.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/recurrent_step/.
struct RecurrentStepParams {
  SequenceTensor q, k, v, out;  // Of one position.
  SequenceTensor decay;         // f32, logarithms: rows of 1 element or d_k; null: none.
  float* state;                 // [b, h, d_k, d_v]
  float* normaliser;            // [b, h, d_k]; null: none.
  int32_t h, heads_per_key;     // Heads of v; heads of v for each head of q and k.
  int32_t d_k, d_v;             // Multiples of 16, d_k at most 256.
  int32_t decay_width;          // 1 or d_k.
  int32_t tiles_per_block;      // Of 64 value columns.
  FeatureMap feature_map;       // Of q and k.
  float epsilon, scale;
  int32_t padding;
};

static_assert(sizeof(RecurrentStepParams) == 216 && offsetof(RecurrentStepParams, state) == 160 &&
                  offsetof(RecurrentStepParams, h) == 176 && offsetof(RecurrentStepParams, scale) == 208,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
constexpr int kMostChannels = 256;
constexpr int kColumns = 64;
// Channels that the block goes through together, and how many of those a thread has under way.
constexpr int kRows = kThreads * 4 / kColumns;
constexpr int kInFlight = 8;

struct StepChannels {
  float q[kMostChannels], k[kMostChannels], decay[kMostChannels];
};

__device__ __forceinline__ float4 as_floats(uint4 bits) {
  return {__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z), __uint_as_float(bits.w)};
}

__device__ __forceinline__ uint4 as_bits(float4 x) {
  return {__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w)};
}

// Four neighbouring elements.
template <typename T>
__device__ __forceinline__ float4 load_four(const T* from) {
  if constexpr (sizeof(T) == 4) {
    return as_floats(ptx::ld_global_16(from));
  } else {
    const uint2 packed = ptx::ld_global_8(from);
    const float2 low = T::unpack(packed.x), high = T::unpack(packed.y);
    return {low.x, low.y, high.x, high.y};
  }
}

// Features and decays of all channels; returns what outputs are multiplied by.
template <typename T>
__device__ __forceinline__ float prepare(const RecurrentStepParams& params, int batch, int head,
                                         StepChannels& channels, float* scratch) {
  const int key_head = head / params.heads_per_key;
  const T* q = params.q.row<T>(batch, 0, key_head);
  const T* k = params.k.row<T>(batch, 0, key_head);
  const float* decays = params.decay.row<float>(batch, 0, head);
  float* normaliser = params.normaliser;
  if (normaliser != nullptr) normaliser += (static_cast<int64_t>(batch) * params.h + head) * params.d_k;
  float sum = 0.0f;
  for (int channel = ptx::thread_index(); channel < params.d_k; channel += kThreads) {
    const float own_q = mapped(to_f32(q[channel]), params.feature_map);
    const float own_k = mapped(to_f32(k[channel]), params.feature_map);
    float decay = 1.0f;
    if (params.decay.data != nullptr) decay = __expf(decays[params.decay_width == 1 ? 0 : channel]);
    channels.q[channel] = own_q * params.scale;
    channels.k[channel] = own_k;
    channels.decay[channel] = decay;
    if (normaliser != nullptr) {
      const float next = __fmaf_rn(decay, normaliser[channel], own_k);
      normaliser[channel] = next;
      sum = __fmaf_rn(own_q * params.scale, next, sum);
    }
  }
  // Has barriers: all channels are there.
  const float total = team_sum(sum, kThreads, scratch);
  return normaliser == nullptr ? 1.0f : 1.0f / (total + params.epsilon);
}

template <typename T>
__device__ __forceinline__ void recurrent_step(const RecurrentStepParams& params) {
  __shared__ StepChannels channels;
  __shared__ float scratch[kThreads / 32];
  __shared__ float4 partial[kThreads / 32][kColumns / 4];
  const unsigned thread = ptx::thread_index();
  const unsigned tiles = (params.d_v + kColumns - 1) / kColumns;
  const unsigned groups = (tiles + params.tiles_per_block - 1) / params.tiles_per_block;
  const unsigned slot = ptx::block_index() / groups;
  const int head = slot % params.h, batch = slot / params.h;
  const float factor = prepare<T>(params, batch, head, channels, scratch);
  float* state = params.state + static_cast<int64_t>(slot) * params.d_k * params.d_v;
  const unsigned first = ptx::block_index() % groups * params.tiles_per_block;
  for (unsigned tile = first; tile < min(tiles, first + params.tiles_per_block); ++tile) {
    const int column = tile * kColumns + thread % (kColumns / 4) * 4;
    const bool exists = column < params.d_v;
    float4 sum = {};
    if (exists) {
      const float4 v = load_four(params.v.row<T>(batch, 0, head) + column);
      for (int base = thread / (kColumns / 4); base < params.d_k; base += kRows * kInFlight) {
        uint4 loaded[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
          const int channel = base + i * kRows;
          if (channel < params.d_k) loaded[i] = ptx::ld_global_16(state + channel * params.d_v + column);
        }
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
          const int channel = base + i * kRows;
          if (channel >= params.d_k) break;
          const float q = channels.q[channel], k = channels.k[channel], decay = channels.decay[channel];
          float4 s = as_floats(loaded[i]);
          s = {__fmaf_rn(decay, s.x, k * v.x), __fmaf_rn(decay, s.y, k * v.y), __fmaf_rn(decay, s.z, k * v.z),
               __fmaf_rn(decay, s.w, k * v.w)};
          sum = {__fmaf_rn(q, s.x, sum.x), __fmaf_rn(q, s.y, sum.y), __fmaf_rn(q, s.z, sum.z),
                 __fmaf_rn(q, s.w, sum.w)};
          ptx::st_global_16(state + channel * params.d_v + column, as_bits(s));
        }
      }
    }
    // The two halves of a warp have the same columns.
    sum.x += __shfl_xor_sync(kAllLanes, sum.x, 16), sum.y += __shfl_xor_sync(kAllLanes, sum.y, 16);
    sum.z += __shfl_xor_sync(kAllLanes, sum.z, 16), sum.w += __shfl_xor_sync(kAllLanes, sum.w, 16);
    if (thread % 32 < 16) partial[thread / 32][thread % 16] = sum;
    __syncthreads();
    if (thread < kColumns / 4 && exists) {
      float values[4] = {};
#pragma unroll
      for (int warp = 0; warp < kThreads / 32; ++warp) {
        const float4 part = partial[warp][thread];
        values[0] += part.x, values[1] += part.y, values[2] += part.z, values[3] += part.w;
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) values[e] *= factor;
      store(params.out.row<T>(batch, 0, head) + column, values);
    }
    __syncthreads();
  }
}

}  // namespace
}  // namespace llm_kernels

#define RECURRENT_STEP_INSTANCE(NAME, T)                                                          \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)                             \
      NAME(const __grid_constant__ llm_kernels::RecurrentStepParams params) {                     \
    llm_kernels::recurrent_step<llm_kernels::T>(params);                                          \
  }

RECURRENT_STEP_INSTANCE(recurrent_step_f16, f16)
RECURRENT_STEP_INSTANCE(recurrent_step_bf16, bf16)
RECURRENT_STEP_INSTANCE(recurrent_step_f32, f32)
