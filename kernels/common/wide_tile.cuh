// A tile of kRows x 32 f32 in shared memory that accumulators are stored to, swizzled so that no access below has a bank
// conflict.
//
// A row is 128 bytes, all banks once. Its 16-byte chunk c (0 to 7) lies at position c ^ swizzle(row), where rows that
// follow one another differ by 2: 8-byte stores of an accumulator are 4 rows of 2 chunks a phase, 4-byte loads of a column
// 4 rows (r to r + 3, or r + 4 to r + 7 from a multiple r of 8) of 2 chunks. ldmatrix reads a chunk of 8 rows, as everywhere.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

template <int kRows>
struct WideTile {
  static_assert(kRows % 16 == 0, "whole 16-row blocks");
  static constexpr int kBytes = kRows * 128;

  uint32_t base;  // Address in the shared state space, a multiple of 128.

  // A permutation of 0 to 7.
  static __device__ __forceinline__ int swizzle(int row) { return row % 4 * 2 + row / 4 % 2; }

  // Row `row` + 8 n lies 1024 n further on. Another chunk is another XOR of bits 4 to 6.
  __device__ __forceinline__ uint32_t chunk_address(int row, int chunk) const {
    return base + row * 128 + ((chunk ^ swizzle(row)) << 4);
  }

  // This lane's two elements of the accumulator at (0, 0) that are in the row lane / 4.
  __device__ __forceinline__ uint32_t accumulator_address(unsigned lane) const {
    return chunk_address(lane / 4, lane % 4 / 2) + lane % 2 * 8;
  }

  // This lane's address for ldmatrix.x4 of the 16x8 block at (0, 0) as operand A of f32; the block of columns n is at
  // XOR n << 5, from 0 to 3.
  __device__ __forceinline__ uint32_t ldmatrix_address(unsigned lane) const {
    return chunk_address(lane & 15, lane >> 4);
  }

  // This lane's element of the transposed 16x8 block: row lane % 4, column lane / 4. Column + 8 is at XOR 32, column + 16
  // at XOR 64, row + 4 at XOR 16 and 512 further on.
  __device__ __forceinline__ uint32_t transposed_address(unsigned lane) const {
    return chunk_address(lane % 4, lane / 16) + lane / 4 % 4 * 4;
  }
};

// Stores accumulators from the one at `address`, this lane's accumulator_address.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_accumulators(uint32_t address,
                                                   const float (&x)[kRowTiles][kColumnTiles][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        ptx::st_shared_8((address ^ j << 5) + i * 2048 + h * 1024,
                         {__float_as_uint(x[i][j][2 * h]), __float_as_uint(x[i][j][2 * h + 1])});
      }
    }
  }
}

}  // namespace llm_kernels
