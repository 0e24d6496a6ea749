// What the backward pass needs of each row beside its operands: lse in base 2 (of f32 natural), and delta = sum of out * d_out. And what
// follows from them alone: the gradients of sinks.
#pragma once

#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/reduce.cuh"
#include "common/sequences.cuh"
#include "common/tensor.cuh"
#include "common/tf32.cuh"
#include "common/types.cuh"

namespace llm_kernels::row_statistics {

constexpr int kRows = 32;  // Of a block; rows of a head are padded to a multiple.
constexpr int kThreads = 128;

// Mirrored in Rust: src/attention/flash_backward/.
struct Params {
  SequenceTensor out, d_out;
  RowTensor lse;
  const float* sinks;        // [h_q]; null: none.
  float2* statistics;        // [h_q, tiles, kRows]: -lse, in units of the exponent but for f32; -delta * delta_scale.
  uint32_t* turns;           // [h_q, tiles]: set to 0.
  uint32_t* ticket;          // Set to 0.
  float* sink_sums;          // [h_q, b * num_tiles]: gradient of the sink from each tile; null: not wanted.
  Sequences queries;
  int32_t b, h_q, d_v;
  int32_t tiles;             // Tiles of all sequences, numbered by `first_tile`.
  int32_t num_tiles;         // ceil(longest / kRows).
  float delta_scale;
};

static_assert(sizeof(Params) == 168 && offsetof(Params, sinks) == 88 && offsetof(Params, queries) == 128 &&
                  offsetof(Params, b) == 144 && offsetof(Params, delta_scale) == 164,
              "mirrored in Rust");

// Block: kRows queries of a head. 8 lanes a row. A row that sees no key gets -inf and 0, and so do rows past the last.
template <typename T>
__device__ __forceinline__ void statistics(const Params& params) {
  __shared__ float deltas[kRows];
  const unsigned thread = ptx::thread_index();
  if (ptx::block_index() == 0 && thread == 0) *params.ticket = 0;
  // Without queries one block has come for the ticket alone.
  if (params.num_tiles == 0) return;
  const int tile = ptx::block_index() % params.num_tiles;
  const int batch = ptx::block_index() / params.num_tiles % params.b;
  const int head = ptx::block_index() / params.num_tiles / params.b;
  if (head >= params.h_q) return;
  const Sequence sequence = params.queries.at(batch);
  const int64_t sum_index = (static_cast<int64_t>(head) * params.b + batch) * params.num_tiles + tile;
  if (tile * kRows >= sequence.length) {
    if (params.sink_sums != nullptr && thread == 0) params.sink_sums[sum_index] = 0.0f;
    return;
  }
#pragma unroll
  for (int pass = 0; pass < kRows / (kThreads / 8); ++pass) {
    const int row = pass * (kThreads / 8) + thread / 8;
    const int query = tile * kRows + row;
    float sum = 0.0f;
    if (query < sequence.length) {
      const T* out = params.out.row<T>(batch, sequence.begin + query, head);
      const T* d_out = params.d_out.row<T>(batch, sequence.begin + query, head);
      constexpr int kPerChunk = T::kPerChunk;
      for (int column = thread % 8 * kPerChunk; column < params.d_v; column += 8 * kPerChunk) {
        float x[kPerChunk], y[kPerChunk];
        unpack<T>(ptx::ld_global_16(out + column), x);
        unpack<T>(ptx::ld_global_16(d_out + column), y);
#pragma unroll
        for (int i = 0; i < kPerChunk; ++i) sum = __fmaf_rn(x[i], y[i], sum);
      }
    }
    sum = quad_sum(sum);
    sum += __shfl_xor_sync(kAllLanes, sum, 4);
    if (thread % 8 == 0) deltas[row] = sum;
  }
  __syncthreads();
  if (thread >= kRows) return;
  const int query = tile * kRows + thread;
  const float lse = query < sequence.length ? params.lse.at(batch, head, sequence.begin + query) : -CUDART_INF_F;
  const bool empty = lse == -CUDART_INF_F;
  const float delta = empty ? 0.0f : deltas[thread];
  const int64_t slot = static_cast<int64_t>(head) * params.tiles + first_tile(params.queries, batch, kRows) + tile;
  const float unit = kIsF32<T> ? 1.0f : CUDART_L2E_F;
  params.statistics[slot * kRows + thread] = {empty ? -CUDART_INF_F : -lse * unit, -delta * params.delta_scale};
  if (thread == 0) params.turns[slot] = 0;
  if (params.sink_sums != nullptr) {
    // The sink's probability times what it adds to the loss, 0, less delta.
    const float gradient = empty ? 0.0f : -delta * ptx::ex2_approx_ftz((params.sinks[head] - lse) * CUDART_L2E_F);
    const float sum = warp_sum(gradient);
    if (thread == 0) params.sink_sums[sum_index] = sum;
  }
}

// Mirrored in Rust: src/attention/flash_backward/.
struct SinkSumParams {
  const float* sums;  // [h_q, n]
  float* d_sinks;     // [h_q]
  int64_t n;
};

static_assert(sizeof(SinkSumParams) == 24, "mirrored in Rust");

// Adds up a head's gradients of its sink, in one order. Block: a head, one warp.
__device__ __forceinline__ void sum_sinks(const SinkSumParams& params) {
  const float* sums = params.sums + ptx::block_index() * params.n;
  float sum = 0.0f;
  for (int64_t i = ptx::thread_index(); i < params.n; i += 32) sum += sums[i];
  sum = warp_sum(sum);
  if (ptx::thread_index() == 0) params.d_sinks[ptx::block_index()] = sum;
}

}  // namespace llm_kernels::row_statistics
