// Tiles of 16-bit elements in shared memory, swizzled so that no access below has a bank conflict. A tile of f32 is one
// of twice as many columns.
//
// A tile of kRows x kColumns is stored as panels of 64 columns: panel p holds columns 64 p to 64 p + 63 as kRows rows
// of 128 bytes, so a row of a panel spans the 32 banks once. Within it, the 16-byte chunk c lies at position c ^ (row %
// 8). Any 8 consecutive rows at one c, and any 8 chunks of one row, then cover all banks exactly once. These are the
// phases of ldmatrix, of 16-byte stores (cp.async) and loads; 4-byte stores of an accumulator (8 rows x 4 words) fit as
// well.
//
// Since the swizzle depends on row % 8 alone, a step of 16 rows or of a panel is a constant, which the compiler folds
// into the immediate offset of the instruction: the addresses of a whole tile need four registers.
#pragma once

#include <cstdint>

namespace llm_kernels {

template <int kRows, int kColumns>
struct SharedTile {
  static_assert(kRows % 16 == 0 && kColumns % 64 == 0, "whole 16-row blocks and 64-column panels");
  static constexpr int kPanels = kColumns / 64;
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kBytes = kPanels * kPanelBytes;

  uint32_t base;  // Address in the shared state space, a multiple of 128.

  // Address of the 16-byte chunk `chunk` (0 to 7) of row `row` in panel 0. Panel p lies kPanelBytes * p further on, row
  // `row` + 8 n lies 1024 n further on.
  __device__ __forceinline__ uint32_t chunk_address(int row, int chunk) const {
    return base + row * 128 + ((chunk ^ (row & 7)) << 4);
  }

  // This lane's address for ldmatrix.x4 of the 16x16 block at (0, 0), in the order of matrices that operand A needs,
  // and B of a block stored as [k][n]: (rows 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  __device__ __forceinline__ uint32_t ldmatrix_address(unsigned lane) const {
    return chunk_address(lane & 15, lane >> 4);
  }

  // Likewise in the order that operand B of a block stored as [n][k] needs, so that the two registers of each half are
  // neighbours: (rows 0-7, columns 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
  __device__ __forceinline__ uint32_t ldmatrix_address_n_by_k(unsigned lane) const {
    return chunk_address((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }

  // The same lane's address for the 16x16 block at row block `row_block`, column block `column_block` (16 each).
  // `origin` is the result of either function above. Flipping bits 5 and 6 moves by 2 chunks under the swizzle.
  static __device__ __forceinline__ uint32_t block_address(uint32_t origin, int row_block, int column_block) {
    return (origin ^ ((column_block & 3) << 5)) + row_block * 2048 + (column_block >> 2) * kPanelBytes;
  }
};

// A tile of kRows x 32 elements: rows of 64 bytes, two to a line of all banks. Chunk c (0 to 3) of a row lies at
// position c ^ (row / 2 % 4); the same accesses as above are without conflicts.
template <int kRows>
struct NarrowTile {
  static_assert(kRows % 16 == 0, "whole 16-row blocks");
  static constexpr int kBytes = kRows * 64;

  uint32_t base;  // As above.

  // Row `row` + 8 n lies 512 n further on.
  __device__ __forceinline__ uint32_t chunk_address(int row, int chunk) const {
    return base + row * 64 + ((chunk ^ (row >> 1 & 3)) << 4);
  }

  // The three functions of SharedTile.
  __device__ __forceinline__ uint32_t ldmatrix_address(unsigned lane) const {
    return chunk_address(lane & 15, lane >> 4);
  }

  __device__ __forceinline__ uint32_t ldmatrix_address_n_by_k(unsigned lane) const {
    return chunk_address((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }

  static __device__ __forceinline__ uint32_t block_address(uint32_t origin, int row_block, int column_block) {
    return (origin ^ (column_block << 5)) + row_block * 1024;
  }
};

}  // namespace llm_kernels
