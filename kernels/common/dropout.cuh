// Dropout of probabilities, by Philox.
#pragma once

#include <cstdint>

#include "common/philox.cuh"
#include "common/score.cuh"

namespace llm_kernels {

// Sets dropped probabilities to 0. Four random numbers serve the four scores that a lane holds of a row in 16 columns.
template <int kRowTiles, int kScoreTiles>
__device__ __forceinline__ void drop_out(float (&powers)[kRowTiles][kScoreTiles][4], const ScoreParams& params,
                                         const ScoreRows<kRowTiles>& rows, int key_first, unsigned lane) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int j = 0; j < kScoreTiles; j += 2) {
        const int key = key_first + j * 8 + static_cast<int>(lane % 4 * 2);
        const uint4 random = dropout_numbers(params.dropout_seed, rows.batch, rows.head[i][h], rows.query[i][h], key);
        const uint32_t least = params.dropout_threshold;
        if (random.x < least) powers[i][j][2 * h] = 0.0f;
        if (random.y < least) powers[i][j][2 * h + 1] = 0.0f;
        if (random.z < least) powers[i][j + 1][2 * h] = 0.0f;
        if (random.w < least) powers[i][j + 1][2 * h + 1] = 0.0f;
      }
    }
  }
}

}  // namespace llm_kernels
