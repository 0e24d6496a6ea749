// What the backward pass needs of each row beside its operands: lse in base 2, and delta = sum of out * d_out.
#pragma once

#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/reduce.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels::row_statistics {

constexpr int kRows = 32;  // Of a block; rows of a head are padded to a multiple.
constexpr int kThreads = 128;

// Mirrored in Rust: src/attention/flash_backward/.
struct Params {
  SequenceTensor out, d_out;
  const float* lse;    // Contiguous.
  float2* statistics;  // [b, h_q, num_tiles * kRows]
  int32_t s_q, h_q, d;
  int32_t num_tiles;   // ceil(s_q / kRows).
};

static_assert(sizeof(Params) == 96 && offsetof(Params, lse) == 64 &&
                  offsetof(Params, num_tiles) == 92,
              "mirrored in Rust");

// Block: kRows queries of a head. 8 lanes a row. A row that sees no key gets -inf and 0, and so do rows past the last.
template <typename T>
__device__ __forceinline__ void statistics(const Params& params) {
  __shared__ float deltas[kRows];
  const unsigned thread = ptx::thread_index();
  const int tile = ptx::block_index() % params.num_tiles;
  const int head_of_all = ptx::block_index() / params.num_tiles;
  const int batch = head_of_all / params.h_q;
  const int head = head_of_all % params.h_q;
#pragma unroll
  for (int pass = 0; pass < kRows / (kThreads / 8); ++pass) {
    const int row = pass * (kThreads / 8) + thread / 8;
    const int query = tile * kRows + row;
    float sum = 0.0f;
    if (query < params.s_q) {
      const T* out = params.out.row<T>(batch, query, head) + thread % 8 * 8;
      const T* d_out = params.d_out.row<T>(batch, query, head) + thread % 8 * 8;
      for (int column = 0; column < params.d; column += 64) {
        float x[8], y[8];
        unpack<T>(ptx::ld_global_16(out + column), x);
        unpack<T>(ptx::ld_global_16(d_out + column), y);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum = __fmaf_rn(x[i], y[i], sum);
      }
    }
    sum = quad_sum(sum);
    sum += __shfl_xor_sync(kAllLanes, sum, 4);
    if (thread % 8 == 0) deltas[row] = sum;
  }
  __syncthreads();
  if (thread < kRows) {
    const int query = tile * kRows + thread;
    const float lse = query < params.s_q ? params.lse[static_cast<int64_t>(head_of_all) * params.s_q + query]
                                         : -CUDART_INF_F;
    const bool empty = lse == -CUDART_INF_F;
    const int64_t row = static_cast<int64_t>(ptx::block_index()) * kRows + thread;
    params.statistics[row] = {empty ? -CUDART_INF_F : -lse * CUDART_L2E_F, empty ? 0.0f : -deltas[thread]};
  }
}

}  // namespace llm_kernels::row_statistics
