// Merges partial attentions, over disjoint sets of keys, into the attention over all of them.
//
//   parts_out: [n, b, s_q, h_q, d]   parts_lse: [n, b, h_q, s_q] f32, natural logarithm
//   out: [b, s_q, h_q, d]   lse: [b, h_q, s_q] f32
//
// out = sum of exp(lse_i - lse) out_i, lse = ln sum of exp(lse_i). A part whose lse is -inf has seen no key: its out is
// not even read. Block: kRows rows, neighbours in lse. Thread: 16 bytes of a row of each part at a time. Accumulation:
// f32. Memory: every part once, out and lse once. Derivation: src/attention/merge/README.md
#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/merge/.
struct MergeParams {
  SequenceTensor parts;    // Of part 0.
  SequenceTensor out;
  const float* parts_lse;  // Contiguous.
  float* lse;              // Contiguous; null when it is not wanted.
  int64_t part_stride;     // In elements, from a part of parts_out to the next.
  int64_t num_rows;        // b * h_q * s_q.
  int32_t num_parts;
  int32_t s_q, h_q;
  int32_t d;               // A multiple of 8.
};

static_assert(sizeof(MergeParams) == 112 && offsetof(MergeParams, parts_lse) == 64 &&
                  offsetof(MergeParams, num_rows) == 88 && offsetof(MergeParams, d) == 108,
              "mirrored in Rust");

namespace {

constexpr int kRows = 32;
constexpr int kThreads = 128;
// Parts whose loads are under way together.
constexpr int kInFlight = 4;
// The weight of a part that has seen no key. Other weights are not negative, or NaN.
constexpr float kEmpty = -1.0f;

// Turns the logarithms of a row, `kRows` apart, into weights, and returns the logarithm of their sum.
__device__ __forceinline__ float weigh(float* column, int num_parts) {
  float maximum = -CUDART_INF_F;
  for (int part = 0; part < num_parts; ++part) maximum = fmaxf(maximum, column[part * kRows]);
  // The maximum ignores NaN, the sum does not. Both are -inf and 0 if there is no key in any part.
  float sum = 0.0f;
  for (int part = 0; part < num_parts; ++part) {
    const float lse = column[part * kRows];
    const bool empty = lse == -CUDART_INF_F;
    const float power = ptx::ex2_approx_ftz((lse - maximum) * CUDART_L2E_F);
    column[part * kRows] = empty ? kEmpty : power;
    sum += empty ? 0.0f : power;
  }
  const float inverse = 1.0f / sum;
  for (int part = 0; part < num_parts; ++part) {
    const float power = column[part * kRows];
    column[part * kRows] = power == kEmpty ? kEmpty : power * inverse;
  }
  return sum == 0.0f ? -CUDART_INF_F : maximum + logf(sum);
}

template <typename Part, typename Out>
__device__ __forceinline__ void merge(const MergeParams& params) {
  constexpr int kPerChunk = Part::kPerChunk;
  extern __shared__ float weights[];  // [n][kRows]
  __shared__ int64_t part_places[kRows], out_places[kRows];  // Of the rows, in elements.
  const unsigned thread = ptx::thread_index();
  const int64_t row_first = static_cast<int64_t>(ptx::block_index()) * kRows;
  const int num_rows = static_cast<int>(min(static_cast<int64_t>(kRows), params.num_rows - row_first));

  // Rows past the last are empty, so that whole warps go on together.
  const unsigned lane_row = thread % kRows;
  const float* lse = params.parts_lse + row_first + lane_row;
  for (int part = thread / kRows; part < params.num_parts; part += kThreads / kRows) {
    weights[part * kRows + lane_row] = lane_row < num_rows ? lse[part * params.num_rows] : -CUDART_INF_F;
  }
  __syncthreads();
  if (thread < kRows) {
    const float lse = weigh(weights + thread, params.num_parts);
    if (thread < num_rows) {
      const int64_t row = row_first + thread;
      const int64_t head_of_all = row / params.s_q;
      const int position = static_cast<int>(row - head_of_all * params.s_q);
      const int batch = static_cast<int>(head_of_all / params.h_q);
      const int head = static_cast<int>(head_of_all - static_cast<int64_t>(batch) * params.h_q);
      part_places[thread] = params.parts.offset(batch, position, head);
      out_places[thread] = params.out.offset(batch, position, head);
      if (params.lse != nullptr) params.lse[row] = lse;
    }
  }
  __syncthreads();

  const int chunks_per_row = params.d / kPerChunk;
  for (int item = thread; item < num_rows * chunks_per_row; item += kThreads) {
    const int row = item / chunks_per_row;
    const int element = (item - row * chunks_per_row) * kPerChunk;
    const Part* source = static_cast<const Part*>(params.parts.data) + part_places[row] + element;
    float sum[kPerChunk] = {};
    for (int first = 0; first < params.num_parts; first += kInFlight) {
      // Zeros where there is nothing to load: whatever their weight, they add nothing.
      uint4 chunk[kInFlight] = {};
      float weight[kInFlight];
#pragma unroll
      for (int i = 0; i < kInFlight; ++i, source += params.part_stride) {
        weight[i] = first + i < params.num_parts ? weights[(first + i) * kRows + row] : kEmpty;
        if (weight[i] != kEmpty) chunk[i] = ptx::ld_global_16(source);
      }
#pragma unroll
      for (int i = 0; i < kInFlight; ++i) {
        float values[kPerChunk];
        unpack<Part>(chunk[i], values);
#pragma unroll
        for (int e = 0; e < kPerChunk; ++e) sum[e] = __fmaf_rn(weight[i], values[e], sum[e]);
      }
    }
    store(static_cast<Out*>(params.out.data) + out_places[row] + element, sum);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, element types of the parts and of the result.
#define MERGE_INSTANCE(NAME, PART, OUT)                                                           \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)                             \
      NAME(const __grid_constant__ llm_kernels::MergeParams params) {                             \
    llm_kernels::merge<llm_kernels::PART, llm_kernels::OUT>(params);                              \
  }

MERGE_INSTANCE(merge_f16_f16, f16, f16)
MERGE_INSTANCE(merge_bf16_bf16, bf16, bf16)
MERGE_INSTANCE(merge_f32_f32, f32, f32)
MERGE_INSTANCE(merge_f32_f16, f32, f16)
MERGE_INSTANCE(merge_f32_bf16, f32, bf16)
