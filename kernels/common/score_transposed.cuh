// What score.cuh does, and its derivatives, where accumulators hold scores transposed: rows are keys, columns queries of
// one head. Lane l has row [i][h]: key 16 i + 8 h + l / 4, and column [j][e]: query 8 j + 2 (l % 4) + e.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "common/philox.cuh"
#include "common/reduce.cuh"
#include "common/score.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Where the scores of a warp lie.
struct ScoreColumns {
  int batch, head;
  int key_first, s_k;
  int query_first, s_q;

  // Queries past the last count as the last.
  __device__ __forceinline__ int query(int j, int e, unsigned lane) const {
    return min(query_first + j * 8 + static_cast<int>(lane % 4 * 2) + e, s_q - 1);
  }
  __device__ __forceinline__ int key(int i, int h, unsigned lane) const { return key_first + i * 16 + h * 8 + lane / 4; }
};

// Calls `change(score, i, h, j, e)` for all scores of this lane.
template <int kRowTiles, int kScoreTiles, typename Change>
__device__ __forceinline__ void for_each_transposed(float (&scores)[kRowTiles][kScoreTiles][4], Change change) {
#pragma unroll
  for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) change(scores[i][j][2 * h + e], i, h, j, e);
      }
    }
  }
}

// Adds a bias of element type E.
template <typename E, int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void add_bias_transposed(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                                    const ScoreColumns& columns, unsigned lane) {
  for_each_transposed(scores, [&](float& score, int i, int h, int j, int e) {
    const E* row = params.bias.row<E>(columns.batch, columns.head, columns.query(j, e, lane));
    const int key = columns.key(i, h, lane);
    E bias = {};
    if (key < columns.s_k) bias = row[key];
    score = __fmaf_rn(to_f32(bias), kLog2E, score);
  });
}

// Products q k become scores in units of the exponent, or of exponent_scale of it, up to the bits of the custom mask; which keys a window shows is the
// caller's. `slopes` are the derivatives of capped scores; untouched without a softcap.
template <typename T, int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void transform_transposed(float (&scores)[kRowTiles][kScoreTiles][4],
                                                     float (&slopes)[kRowTiles][kScoreTiles][4],
                                                     const ScoreParams& params, const ScoreColumns& columns,
                                                     unsigned lane) {
  if (params.softcap_log2 > 0.0f) {
    for_each_transposed(scores, [&](float& score, int i, int h, int j, int e) {
      const float fraction = softcap_fraction(score, params);
      score = params.softcap_log2 * fraction;
      slopes[i][j][2 * h + e] = __fmaf_rn(-fraction, fraction, 1.0f);
    });
  } else if (!params.only_scales()) {
    for_each_transposed(scores, [&](float& score, int, int, int, int) { score *= params.scale_log2; });
  }
  if (params.bias.data != nullptr) {
    if (params.bias_kind & kBiasIsF32) {
      add_bias_transposed<f32>(scores, params, columns, lane);
    } else {
      add_bias_transposed<T>(scores, params, columns, lane);
    }
  }
  if (params.alibi_slopes != nullptr) {
    const float slope = params.alibi_slopes[columns.head] * -kLog2E;
    for_each_transposed(scores, [&](float& score, int i, int h, int j, int e) {
      const int distance = columns.query(j, e, lane) + columns.s_k - columns.s_q - columns.key(i, h, lane);
      score = __fmaf_rn(slope, fabsf(static_cast<float>(distance)), score);
    });
  }
  if (params.mask_bits.data != nullptr) {
    for_each_transposed(scores, [&](float& score, int i, int h, int j, int e) {
      const uint32_t* row = params.mask_bits.row<uint32_t>(columns.batch, columns.head, columns.query(j, e, lane));
      const int key = columns.key(i, h, lane);
      const uint32_t bits = key < columns.s_k ? row[key / 32] : 0;
      score = bits >> key % 32 & 1 ? score : -CUDART_INF_F;
    });
  }
}

// Multiplies derivatives by powers, and drops both. On entry a derivative is that of a probability that stays, less its
// row's delta, both by the factor 1 - p; `deltas` are those of the rows, [j][e], negative, by the same factor. On return a
// derivative is that of the score, and powers of dropped scores are 0.
//
// Two lanes have the four keys of a query that share a call of the generator: each makes the call for one of two queries.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void drop_out_transposed(float (&derivatives)[kRowTiles][kScoreTiles][4],
                                                    float (&powers)[kRowTiles][kScoreTiles][4],
                                                    const float (&deltas)[kScoreTiles][4], const ScoreParams& params,
                                                    const ScoreColumns& columns, unsigned lane) {
  const bool odd = lane / 4 % 2 == 1;
#pragma unroll
  for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      const int query = columns.query_first + j * 8 + static_cast<int>(lane % 4 * 2) + odd;
      const uint4 random = dropout_numbers(params.dropout_seed, columns.batch, columns.head, query,
                                           columns.key(i, 0, lane));
      const uint32_t mine[2] = {odd ? random.y : random.x, odd ? random.w : random.z};
      const uint32_t others[2] = {__shfl_xor_sync(kAllLanes, odd ? random.x : random.y, 4),
                                  __shfl_xor_sync(kAllLanes, odd ? random.z : random.w, 4)};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const bool stays = (odd == (e == 1) ? mine[h] : others[h]) >= params.dropout_threshold;
          float& derivative = derivatives[i][j][2 * h + e];
          float& power = powers[i][j][2 * h + e];
          derivative = (stays ? derivative : deltas[j][e]) * (params.dropout_scale * power);
          power = stays ? power : 0.0f;
        }
      }
    }
  }
}

// Writes derivatives of scores to a `[b or 1, h or 1, num_rows, num_columns]` tensor of f32, or adds them to what a thread of
// this block has written there: the same thread each time.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void store_bias_gradient(float (&derivatives)[kRowTiles][kScoreTiles][4],
                                                    const ScoreTensor& tensor, const ScoreColumns& columns, int num_rows,
                                                    int num_columns, bool adds, unsigned lane) {
  for_each_transposed(derivatives, [&](float& derivative, int i, int h, int j, int e) {
    const int query = columns.query_first + j * 8 + static_cast<int>(lane % 4 * 2) + e;
    const int key = columns.key(i, h, lane);
    if (query < num_rows && key < num_columns) {
      float* place = const_cast<float*>(tensor.row<float>(columns.batch, columns.head, query)) + key;
      *place = adds ? *place + derivative : derivative;
    }
  });
}

// Zeros in all columns of the block's keys of a head, but for `but_rows` rows from `but_first` on.
__device__ __forceinline__ void clear_bias_gradient(const ScoreTensor& tensor, int batch, int head, int key_first,
                                                    int num_keys, int num_rows, int num_columns, int but_first,
                                                    int but_rows, unsigned thread, unsigned num_threads) {
  const int columns = min(num_keys, num_columns - key_first);
#pragma unroll 1
  for (int row = thread / num_keys; row < num_rows; row += num_threads / num_keys) {
    const int column = thread % num_keys;
    if (column < columns && static_cast<unsigned>(row - but_first) >= static_cast<unsigned>(but_rows)) {
      const_cast<float*>(tensor.row<float>(batch, head, row))[key_first + column] = 0.0f;
    }
  }
}

}  // namespace llm_kernels
