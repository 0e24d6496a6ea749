// What stands between the product q k and the softmax: scale, softcap, bias, ALiBi, masks, in this order.
//
// Scores leave here in units of the exponent: natural ones times log2(e); where only the scale is left, in units of
// `exponent_scale` of it. A block takes each feature's branch as a whole.
#pragma once

#include <math_constants.h>
#include <cstdint>

#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/score.rs.
struct ScoreParams {
  ScoreTensor bias;            // [b or 1, h or 1, s_q, s_k], of the element type or f32.
  ScoreTensor mask_bits;       // [b or 1, h or 1, s_q, ceil(s_k / 32)] u32: bit j % 32 of word j / 32 shows key j.
  const float* alibi_slopes;   // [h]; null: none.
  const int32_t* prefix;       // [b]; null: none.
  uint64_t dropout_seed;
  uint32_t dropout_threshold;  // A probability stays if its random number is not below; 0: no dropout.
  float dropout_scale;         // 1 / (1 - p).
  float scale_log2;            // Softmax scale times log2(e), finite, of either sign.
  float softcap_log2;          // Cap times log2(e), finite and positive; 0: none.
  float softcap_scale;         // Softmax scale divided by the cap.
  int32_t bias_kind;           // kBiasIsF32 | kBiasIsPaired.

  // Whether scores are but scaled, by a factor that leaves their order: then the exponent's multiply-add does that, and rounds
  // once instead of twice.
  __device__ __forceinline__ bool only_scales() const {
    return scale_log2 > 0.0f && softcap_log2 == 0.0f && bias.data == nullptr && alibi_slopes == nullptr;
  }
  // What scores that `scale_scores` has seen are multiplied by.
  __device__ __forceinline__ float exponent_scale() const { return only_scales() ? scale_log2 : 1.0f; }
};

static_assert(sizeof(ScoreParams) == 112, "mirrored in Rust");

inline constexpr int32_t kBiasIsF32 = 1;
// Two elements from an even column on are aligned and exist together.
inline constexpr int32_t kBiasIsPaired = 2;

inline constexpr float kLog2E = 1.44269504088896341f;

// A product q k, scaled, as the fraction of the softcap that becomes of it.
__device__ __forceinline__ float softcap_fraction(float product, const ScoreParams& params) {
  return tanhf(product * params.softcap_scale);
}

// The rows of scores that a lane holds: [i][h] is row 16 i + 8 h + lane / 4 of its warp's.
template <int kRowTiles>
struct ScoreRows {
  int batch;
  int query[kRowTiles][2];
  int head[kRowTiles][2];
};

// Calls `change(score, i, h, column)` for all scores of this lane; columns count from the tile's first.
template <int kRowTiles, int kScoreTiles, typename Change>
__device__ __forceinline__ void for_each_score(float (&scores)[kRowTiles][kScoreTiles][4], unsigned lane,
                                               Change change) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) change(scores[i][j][2 * h + e], i, h, static_cast<int>(j * 8 + lane % 4 * 2 + e));
      }
    }
  }
}

// Adds a bias of element type E.
template <typename E, int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void add_bias(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                         const ScoreRows<kRowTiles>& rows, int key_first, int s_k, unsigned lane) {
  struct alignas(2 * sizeof(E)) Pair {
    E x, y;
  };
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const E* row = params.bias.row<E>(rows.batch, rows.head[i][h], rows.query[i][h]);
#pragma unroll
      for (int j = 0; j < kScoreTiles; ++j) {
        const int column = key_first + j * 8 + lane % 4 * 2;
        Pair pair = {};
        if (params.bias_kind & kBiasIsPaired) {
          if (column < s_k) pair = *reinterpret_cast<const Pair*>(row + column);
        } else {
          if (column < s_k) pair.x = row[column];
          if (column + 1 < s_k) pair.y = row[column + 1];
        }
        scores[i][j][2 * h] = __fmaf_rn(to_f32(pair.x), kLog2E, scores[i][j][2 * h]);
        scores[i][j][2 * h + 1] = __fmaf_rn(to_f32(pair.y), kLog2E, scores[i][j][2 * h + 1]);
      }
    }
  }
}

// Sets the scores of keys whose bit is 0 to -inf. Words past the last key are not read.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void apply_mask_bits(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                                const ScoreRows<kRowTiles>& rows, int key_first, int s_k,
                                                unsigned lane) {
  // Columns of a tile in one word. A tile begins where a word, or the half of one, does.
  constexpr int kColumns = kScoreTiles < 4 ? kScoreTiles * 8 : 32;
  static_assert(32 % kColumns == 0 && kScoreTiles * 8 % kColumns == 0, "whole words, or an equal part of one");
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t* row = params.mask_bits.row<uint32_t>(rows.batch, rows.head[i][h], rows.query[i][h]);
#pragma unroll
      for (int word = 0; word < kScoreTiles * 8 / kColumns; ++word) {
        const int first = key_first + word * kColumns;
        const int place = kColumns == 32 ? 0 : first % 32;
        const uint32_t bits = (first < s_k ? row[first / 32] : 0) >> (lane % 4 * 2 + place);
        apply_bits<kColumns>(scores[i], h, word, bits);
      }
    }
  }
}

// Products q k become scores: scale, then softcap. In units of the exponent, or of exponent_scale of it.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void scale_scores(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                             unsigned lane) {
  if (params.softcap_log2 > 0.0f) {
    for_each_score(scores, lane, [&](float& score, int, int, int) {
      score = params.softcap_log2 * softcap_fraction(score, params);
    });
  } else if (!params.only_scales()) {
    for_each_score(scores, lane, [&](float& score, int, int, int) { score *= params.scale_log2; });
  }
}

// ALiBi: scores lose slope * distance.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void add_alibi(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                          const ScoreRows<kRowTiles>& rows, int key_first, int diagonal,
                                          unsigned lane) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float slope = params.alibi_slopes[rows.head[i][h]] * -kLog2E;
      // Places are below 2^24 or their distances rounded.
      const float place = static_cast<float>(rows.query[i][h] + diagonal - key_first - static_cast<int>(lane % 4 * 2));
#pragma unroll
      for (int c = 0; c < 2 * kScoreTiles; ++c) {
        float& score = scores[i][c / 2][2 * h + c % 2];
        score = __fmaf_rn(slope, fabsf(place - static_cast<float>(c / 2 * 8 + c % 2)), score);
      }
    }
  }
}

// Products q k of a tile of keys from `key_first` on become scores in units of the exponent, up to the bits of the
// custom mask; which keys a window shows is the caller's.
template <typename T, int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void transform_scores(float (&scores)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                                 const ScoreRows<kRowTiles>& rows, int key_first, int s_k,
                                                 int diagonal, unsigned lane) {
  scale_scores(scores, params, lane);
  if (params.bias.data != nullptr && params.bias_kind & kBiasIsF32) {
    add_bias<f32>(scores, params, rows, key_first, s_k, lane);
  } else if (params.bias.data != nullptr) {
    add_bias<T>(scores, params, rows, key_first, s_k, lane);
  }
  if (params.alibi_slopes != nullptr) add_alibi(scores, params, rows, key_first, diagonal, lane);
  if (params.mask_bits.data != nullptr) apply_mask_bits(scores, params, rows, key_first, s_k, lane);
}

}  // namespace llm_kernels
