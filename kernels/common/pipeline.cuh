// Asynchronous copies of tiles from global to swizzled shared memory.
//
// The rule of use: a thread waits for its own copies (`wait_for_copies`), then a barrier shows them to the others; and
// a barrier stands between the last read of a tile and the next copy into it. Both may be one barrier.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/shared_tile.cuh"

namespace llm_kernels {

// Closes the group of copies this thread has issued since the last call.
__device__ __forceinline__ void commit_copies() { ptx::cp_async_commit_group(); }

// Waits until at most the newest `kPending` groups of this thread are still under way.
template <int kPending = 0>
__device__ __forceinline__ void wait_for_copies() {
  ptx::cp_async_wait_group<kPending>();
}

// Copies tiles of kRows x kColumns 16-bit elements, or half as many of f32, one below the other in memory, from last to
// first.
//
// 8 lanes copy the 128 bytes of one row of a panel, so every request is of whole 128-byte lines if rows are so aligned.
// A thread keeps its column; all its addresses are one pointer, one row step and immediates. With kCutColumns a row has
// `columns` elements, whole chunks; the rest of the tile's columns become zero and are not read.
template <int kRows, int kColumns, int kThreads, bool kCutColumns = false>
struct TileLoader {
  using Tile = SharedTile<kRows, kColumns>;
  static constexpr int kRowsPerPass = kThreads / 8;
  static_assert(kRows % kRowsPerPass == 0 && kRowsPerPass % 8 == 0, "whole passes that keep row % 8");

  const char* source;    // This thread's first chunk of the next tile.
  int64_t pass_bytes;    // From a row to the one this thread copies next.
  uint32_t destination;  // This thread's first chunk in shared memory.
  int row;               // This thread's first row.
  int panels;            // Panels in which this thread's column exists.

  // `first_row` points at row 0 of the tile to be copied first; `row_stride` is in elements.
  template <typename T>
  __device__ __forceinline__ TileLoader(Tile tile, const T* first_row, int64_t row_stride, unsigned thread,
                                        int columns = kColumns) {
    static_assert(sizeof(T) == 2 || kCutColumns, "other elements say how many there are");
    constexpr int kPerChunk = 16 / sizeof(T);
    const int chunk = thread & 7;
    panels = (columns - chunk * kPerChunk + 8 * kPerChunk - 1) / (8 * kPerChunk);
    row = thread >> 3;
    source = reinterpret_cast<const char*>(first_row + row * row_stride + chunk * kPerChunk);
    pass_bytes = row_stride * static_cast<int>(kRowsPerPass * sizeof(T));
    destination = tile.chunk_address(row, chunk);
  }

  // Issues the copies of one whole tile, then moves on to the tile before it.
  __device__ __forceinline__ void load() {
    const char* from = source;
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsPerPass; ++pass, from = ptx::opaque(from + pass_bytes)) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        const uint32_t to = destination + pass * kRowsPerPass * 128 + panel * Tile::kPanelBytes;
        if constexpr (kCutColumns) {
          ptx::cp_async_16_zero_fill(to, from + panel * 128, panel < panels ? 16 : 0);
        } else {
          ptx::cp_async_16(to, from + panel * 128);
        }
      }
    }
    source -= pass_bytes * (kRows / kRowsPerPass);
  }

  // Moves on by `tiles` tiles more.
  __device__ __forceinline__ void skip(int tiles) { source -= pass_bytes * (kRows / kRowsPerPass) * tiles; }

  // As `load`, for a tile of which only the first `valid_rows` rows exist; the others become zero and are not read. The
  // tile in shared memory is the one `offset` bytes after the loader's own.
  __device__ __forceinline__ void load_cut(int valid_rows, uint32_t offset = 0) {
    const char* from = source;
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsPerPass; ++pass, from = ptx::opaque(from + pass_bytes)) {
      // With 0 source bytes nothing is read, wherever the address lies.
      const uint32_t source_bytes = pass * kRowsPerPass + row < valid_rows ? 16 : 0;
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        const uint32_t to = destination + offset + pass * kRowsPerPass * 128 + panel * Tile::kPanelBytes;
        ptx::cp_async_16_zero_fill(to, from + panel * 128, !kCutColumns || panel < panels ? source_bytes : 0);
      }
    }
    source -= pass_bytes * (kRows / kRowsPerPass);
  }
};

// Copies one tile, as above, whose rows lie anywhere: `row_of(row)` points at a row of `columns` elements, or is null, for
// a row of zeros.
template <int kRows, int kColumns, int kThreads, typename RowOf>
__device__ __forceinline__ void load_rows(SharedTile<kRows, kColumns> tile, unsigned thread, int columns,
                                          RowOf row_of) {
  const int chunk = thread & 7;
#pragma unroll 1
  for (int row = thread >> 3; row < kRows; row += kThreads / 8) {
    const auto* from = row_of(row);
    constexpr int kPerChunk = 16 / sizeof(*from);
#pragma unroll
    for (int panel = 0; panel < kColumns / 64; ++panel) {
      const int column = (panel * 8 + chunk) * kPerChunk;
      const bool exists = from != nullptr && column < columns;
      ptx::cp_async_16_zero_fill(tile.chunk_address(row, chunk) + panel * SharedTile<kRows, kColumns>::kPanelBytes,
                                 from + column, exists ? 16 : 0);
    }
  }
}

}  // namespace llm_kernels
