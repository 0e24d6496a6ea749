// The end of a decoding block: what its warps have, over the same rows and other keys, becomes the block's result.
#pragma once

#include <math_constants.h>

#include <cfloat>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/score.cuh"
#include "common/softmax.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Adds up the warps' sums and writes the block's rows of the output and of lse. `output` is in units of `unit`.
template <typename Traits, typename Params, typename Block>
__device__ __forceinline__ void finish(const Params& params, const Block& block, uint32_t staging, uint32_t states,
                                       const float (&output)[1][Traits::kHeadDim / 8][4],
                                       OnlineSoftmax<1>& softmax, float unit, unsigned thread) {
  constexpr int kHeadDim = Traits::kHeadDim;
  const unsigned lane = thread % 32, warp = thread / 32;
  // Staged rows are chunks of four columns, moved so that no store or load below has a bank conflict.
  const auto staged = [=](unsigned warp, unsigned row, unsigned chunk) {
    return staging + ((warp * 16 + row) * (kHeadDim / 4) + (chunk ^ ((row & 1) << 2 | (row & 2)))) * 16;
  };
  softmax.finish();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const unsigned row = h * 8 + lane / 4;
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; j += 2) {
      const float(&left)[4] = output[0][j];
      const float(&right)[4] = output[0][j + 1];
      const auto bits = [](float x) { return __float_as_uint(x); };
      if constexpr (Traits::kEightBit) {
        ptx::st_shared_16(staged(warp, row, j * 2 + lane % 4),
                          {bits(left[2 * h]), bits(right[2 * h]), bits(left[2 * h + 1]), bits(right[2 * h + 1])});
      } else {
        const uint32_t offset = lane % 2 * 8;
        ptx::st_shared_8(staged(warp, row, j * 2 + lane % 4 / 2) + offset, {bits(left[2 * h]), bits(left[2 * h + 1])});
        ptx::st_shared_8(staged(warp, row, j * 2 + 2 + lane % 4 / 2) + offset,
                         {bits(right[2 * h]), bits(right[2 * h + 1])});
      }
    }
    if (lane % 4 == 0) {
      ptx::st_shared_16(states + (warp * 16 + row) * 16, {__float_as_uint(softmax.reference[0][h]),
                                                          __float_as_uint(softmax.sum[0][h]), __float_as_uint(unit)});
    }
  }
  __syncthreads();

  // Warps first, first + row_tiles, ... have a row's sums. A factor for each of them takes the place of its state.
  const int num_rows = block.last - block.first + 1;
  const auto state = [=](int row, unsigned warp) { return states + (warp * 16 + row % 16) * 16; };
  if (thread < num_rows) {
    const int row = thread;
    float sink = -CUDART_INF_F, maximum = -FLT_MAX, sum = 0.0f;
    if (params.sinks != nullptr && block.split == 0) sink = params.sinks[block.head_of(row)] * kLog2E;
    for (unsigned w = row / 16; w < Traits::kWarps; w += params.row_tiles) {
      maximum = fmaxf(maximum, __uint_as_float(ptx::ld_shared_16(state(row, w)).x));
    }
    maximum = fmaxf(maximum, sink);
    for (unsigned w = row / 16; w < Traits::kWarps; w += params.row_tiles) {
      const uint4 own = ptx::ld_shared_16(state(row, w));
      sum += __uint_as_float(own.y) * ptx::ex2_approx_ftz(__uint_as_float(own.x) - maximum);
    }
    // Of a row that saw no key nothing is read: its zero powers may have met a v that is not finite.
    const bool empty = sum == 0.0f;
    sum += ptx::ex2_approx_ftz(sink - maximum);
    const float inverse = 1.0f / sum;
    for (unsigned w = row / 16; w < Traits::kWarps; w += params.row_tiles) {
      const uint4 own = ptx::ld_shared_16(state(row, w));
      const float factor = ptx::ex2_approx_ftz(__uint_as_float(own.x) - maximum) * inverse * __uint_as_float(own.z);
      ptx::st_shared_4(state(row, w), __float_as_uint(empty ? 0.0f : factor));
    }
    if (params.lse.data != nullptr) {
      float* lse = &params.lse.at(block.batch, block.head_of(row), block.query_of(row));
      lse[block.split * params.lse_split_stride] = __fmaf_rn(maximum, CUDART_LN2_F, logf(sum));
    }
  }
  __syncthreads();

  const int chunks = params.d / 4;
  for (int item = thread; item < num_rows * chunks; item += Traits::kThreads) {
    const int row = item / chunks, chunk = item - row * chunks;
    float values[4] = {};
    for (unsigned w = row / 16; w < Traits::kWarps; w += params.row_tiles) {
      const float factor = __uint_as_float(ptx::ld_shared_16(state(row, w)).x);
      float part[4];
      unpack<f32>(ptx::ld_shared_16(staged(w, row % 16, chunk)), part);
#pragma unroll
      for (int e = 0; e < 4; ++e) values[e] = factor == 0.0f ? values[e] : __fmaf_rn(factor, part[e], values[e]);
    }
    const int64_t place = params.out.offset(block.batch, block.query_of(row), block.head_of(row)) + chunk * 4;
    if (params.num_splits > 1) {
      store(static_cast<f32*>(params.out.data) + block.split * params.out_split_stride + place, values);
    } else {
      store(static_cast<typename Traits::T*>(params.out.data) + place, values);
    }
  }
}

}  // namespace llm_kernels
