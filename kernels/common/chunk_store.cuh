// Rows of f32 accumulators to global memory in 16-byte stores.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/tf32.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Writes scale * accumulators of 16 kRowTiles rows and 8 kColumnTiles columns, in the order of `output_chunk`, to rows
// `stride` elements apart, of which `num_rows` exist, and of each the first `num_columns` columns, a multiple of 4.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_chunks(f32* rows, int64_t stride, int num_rows, float scale,
                                             const float (&accumulators)[kRowTiles][kColumnTiles][4], int num_columns) {
  const unsigned lane = ptx::thread_index() % 32;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = i * 16 + h * 8 + lane / 4;
      if (row >= num_rows) continue;
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 4) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; ++e) {
          const int column = j * 8 + output_chunk(lane % 4 * 2 + e % 2) * 4;
          const float(&x)[kColumnTiles][4] = accumulators[i];
          const float chunk[4] = {x[j][e] * scale, x[j + 1][e] * scale, x[j + 2][e] * scale, x[j + 3][e] * scale};
          if (column < num_columns) store(rows + row * stride + column, chunk);
        }
      }
    }
  }
}

}  // namespace llm_kernels
