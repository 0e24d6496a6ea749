// Online softmax in base 2 over accumulator fragments, with lazy rescaling.
//
// For every row the state holds a reference r, in units of the exponent (score * scale_log2), and sum = sum of
// 2^(score * scale_log2 - r) over the columns this lane has seen. Any r gives the same softmax; it only has to keep the
// powers in range. So r follows the row's maximum lazily: it moves, and sum and output are rescaled, only when a score
// exceeds it by more than kSlack, which after the first tiles is rare. A row's result depends on that row alone.
//
// NaN: max ignores it, so it never moves r, and the power of a NaN score is NaN: exactly its row becomes NaN.
// -inf (masked): its power is 0, and a row of nothing else keeps sum = 0.
#pragma once

#include <math_constants.h>

#include <cfloat>

#include "common/ptx.cuh"
#include "common/reduce.cuh"

namespace llm_kernels {

// State of kRowTiles x 16 rows of a warp; index [i][h] is row 16 i + 8 h + lane / 4, as in accumulators.
template <int kRowTiles>
struct OnlineSoftmax {
  // Powers reach 2^kSlack at most, far inside f16's range.
  static constexpr float kSlack = 8.0f;

  float reference[kRowTiles][2];  // r above. Before the first score -FLT_MAX: 2^(-inf - r) is then 0 and not NaN.
  float sum[kRowTiles][2];        // Of this lane's columns.

  __device__ __forceinline__ OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        reference[i][h] = -FLT_MAX;
        sum[i][h] = 0.0f;
      }
    }
  }

  // Turns raw scores into powers, adds them to the sums, and rescales `output` where a reference moves.
  // `scale_log2` > 0 is the softmax scale times log2(e).
  template <int kScoreTiles, int kOutputTiles>
  __device__ __forceinline__ void update(float (&scores)[kRowTiles][kScoreTiles][4],
                                         float (&output)[kRowTiles][kOutputTiles][4], float scale_log2) {
    float maximum[kRowTiles][2];
    bool above = false;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float m = fmaxf(scores[i][0][2 * h], scores[i][0][2 * h + 1]);
#pragma unroll
        for (int j = 1; j < kScoreTiles; ++j) {
          m = fmaxf(m, fmaxf(scores[i][j][2 * h], scores[i][j][2 * h + 1]));
        }
        maximum[i][h] = m;
        above |= must_move(m, i, h, scale_log2);
      }
    }
    if (__any_sync(kAllLanes, above)) rescale(maximum, output, scale_log2);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            const float power = ptx::ex2_approx_ftz(__fmaf_rn(scores[i][j][e], scale_log2, -reference[i][h]));
            scores[i][j][e] = power;
            sum[i][h] += power;
          }
        }
      }
    }
  }

  // Whether `maximum` exceeds the reference by more than the slack. Not so for -inf, NaN, and once the reference is
  // +inf.
  __device__ __forceinline__ bool must_move(float maximum, int i, int h, float scale_log2) const {
    return __fmaf_rn(maximum, scale_log2, -reference[i][h]) > kSlack;
  }

  // Moves the reference to the row's maximum wherever it must move.
  template <int kOutputTiles>
  __device__ __forceinline__ void rescale(const float (&lane_maximum)[kRowTiles][2],
                                          float (&output)[kRowTiles][kOutputTiles][4], float scale_log2) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float maximum = quad_max(lane_maximum[i][h]);
        const bool moves = must_move(maximum, i, h, scale_log2);
        const float moved = moves ? maximum * scale_log2 : reference[i][h];
        // 0 before the first score, and exactly 1 for a row that does not move.
        const float factor = moves ? ptx::ex2_approx_ftz(reference[i][h] - moved) : 1.0f;
        reference[i][h] = moved;
        sum[i][h] *= factor;
#pragma unroll
        for (int j = 0; j < kOutputTiles; ++j) {
          output[i][j][2 * h] *= factor;
          output[i][j][2 * h + 1] *= factor;
        }
      }
    }
  }

  // Adds up the lanes' sums of each row; afterwards every lane of the row has the whole.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) sum[i][h] = quad_sum(sum[i][h]);
    }
  }

  // Adds to row [i][h], after `finish`, a score without a value: `sink`, in units of the exponent; -inf adds nothing.
  // Returns what the row's output is multiplied by because of it.
  __device__ __forceinline__ float add_sink(int i, int h, float sink) {
    const float moved = fmaxf(reference[i][h], sink);
    // 0 for a row that has seen no score, whose reference is -FLT_MAX.
    const float factor = ptx::ex2_approx_ftz(reference[i][h] - moved);
    sum[i][h] = __fmaf_rn(sum[i][h], factor, ptx::ex2_approx_ftz(sink - moved));
    reference[i][h] = moved;
    return factor;
  }

  // What the output of row [i][h] is multiplied by, after `finish`.
  __device__ __forceinline__ float inverse_sum(int i, int h) const { return ptx::rcp_approx_ftz(sum[i][h]); }

  // Natural logarithm of the sum of exp(score * scale) of row [i][h], after `finish`; -inf if it has seen no score.
  __device__ __forceinline__ float log_sum_exp(int i, int h) const {
    return __fmaf_rn(reference[i][h], CUDART_LN2_F, logf(sum[i][h]));
  }
};

}  // namespace llm_kernels
