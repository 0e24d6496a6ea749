// Rows of accumulators to global memory in 16-byte stores.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// Writes scale * accumulators, rounded to T, of 16 kRowTiles rows and 8 kColumnTiles columns, to rows `stride` elements
// apart, of which `num_rows` exist. They are staged in `tile` from row `tile_row` on, in panels that begin with its
// first: whole 128-byte segments go out at once. No other warp may touch these rows and panels. Only the first
// `num_columns` columns exist, a multiple of 8.
template <typename T, typename Tile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_staged(T* rows, int64_t stride, int num_rows, float scale,
                                             const float (&accumulators)[kRowTiles][kColumnTiles][4], Tile tile,
                                             int tile_row, int num_columns = kColumnTiles * 8) {
  const unsigned lane = ptx::thread_index() % 32;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
        const uint32_t address = tile.chunk_address(tile_row + i * 16 + h * 8 + lane / 4, j % 8) +
                                 j / 8 * Tile::kPanelBytes + lane % 4 * 4;
        const float(&values)[4] = accumulators[i][j];
        ptx::st_shared_4(address, T::pack(values[2 * h] * scale, values[2 * h + 1] * scale));
      }
    }
  }
  __syncwarp();
  // 8 lanes write the 128 bytes of one row of a panel, 4 rows at a time.
#pragma unroll
  for (int step = 0; step < kRowTiles * 4; ++step) {
    const int row = step * 4 + lane / 8;
    if (row < num_rows) {
      T* out = rows + row * stride + lane % 8 * 8;
#pragma unroll
      for (int panel = 0; panel < kColumnTiles / 8; ++panel) {
        if (num_columns < kColumnTiles * 8 && panel * 64 + static_cast<int>(lane % 8 * 8) >= num_columns) break;
        const uint32_t address = tile.chunk_address(tile_row + row, lane % 8) + panel * Tile::kPanelBytes;
        ptx::st_global_16(out + panel * 64, ptx::ld_shared_16(address));
      }
    }
  }
}

}  // namespace llm_kernels
