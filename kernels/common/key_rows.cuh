// The rows of keys and values in a cache, contiguous or paged, and their way to shared memory.
//
// A cache is pages of 2^page_shift slots. With a block table, key j of a sequence lies in slot j % 2^page_shift of the page
// that the sequence's line of the table has at j / 2^page_shift. Without, page i is sequence i's, and its only one.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/tensor.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/block_table.rs.
struct PageTable {
  const int32_t* pages;  // [b, pages_per_sequence]; null: page i is sequence i's.
  int32_t pages_per_sequence;
  int32_t num_pages;     // Pages of the cache.
  int32_t page_shift;    // 31 without a table.
  int32_t padding;
};

static_assert(sizeof(PageTable) == 24, "mirrored in Rust");

// Where a key's row lies.
struct KeyPlace {
  int page;  // -1: nowhere, it is not to be read.
  int slot;

  __device__ __forceinline__ bool exists() const { return page >= 0; }

  // In elements.
  __device__ __forceinline__ int64_t offset(const SequenceTensor& pages) const { return pages.offset(page, slot, 0); }
};

// Of key `key` of sequence `batch`, if it is one of begin to end - 1. Whatever the table holds, the page is one of the
// cache.
__device__ __forceinline__ KeyPlace key_place(const PageTable& table, int batch, int key, int begin, int end) {
  if (key < begin || key >= end) return {-1, 0};
  const int slot = key & ((1u << table.page_shift) - 1);
  if (table.pages == nullptr) return {batch, slot};
  const int64_t line = static_cast<int64_t>(batch) * table.pages_per_sequence;
  const int page = ptx::ld_global_4(table.pages + line + (key >> table.page_shift));
  return {min(max(page, 0), table.num_pages - 1), slot};
}

// Where key `key` of a sequence is to be written: nowhere, unless it is one of `capacity` and its page one of the cache.
__device__ __forceinline__ KeyPlace new_key_place(const PageTable& table, int batch, int key, int capacity) {
  if (static_cast<unsigned>(key) >= static_cast<unsigned>(capacity)) return {-1, 0};
  const int slot = key & ((1u << table.page_shift) - 1);
  if (table.pages == nullptr) return {batch, slot};
  const int64_t line = static_cast<int64_t>(batch) * table.pages_per_sequence;
  const int page = ptx::ld_global_4(table.pages + line + (key >> table.page_shift));
  return {static_cast<unsigned>(page) < static_cast<unsigned>(table.num_pages) ? page : -1, slot};
}

// The byte offsets of a tile's rows of keys and of values: 16 bytes for each, in shared memory, so that each is computed by
// one thread and not by all that copy the row.
template <int kRows>
struct RowOffsets {
  static constexpr int kBytes = kRows * 16;
  static constexpr int kValues = 8;  // From a key's offset to its value's.
  // Set in the offset of a row that is to be read; offsets are multiples of 16.
  static constexpr uint32_t kExists = 1;

  uint32_t base;

  // Offsets of a row that is not to be read are 0.
  __device__ __forceinline__ void store(int row, int64_t key, int64_t value, bool exists) const {
    const uint32_t flag = exists ? kExists : 0;
    ptx::st_shared_16(base + row * 16, {static_cast<uint32_t>(key) | flag, static_cast<uint32_t>(key >> 32),
                                        static_cast<uint32_t>(value) | flag, static_cast<uint32_t>(value >> 32)});
  }

  // The lower and the upper half; `which` is 0 or kValues.
  __device__ __forceinline__ uint2 load(int row, int which) const { return ptx::ld_shared_8(base + row * 16 + which); }
};

// Copies a tile of kRows rows of kRowBytes bytes each into a swizzled tile of shared memory; of a row `row_bytes` exist,
// the rest becomes zero, and so do rows that don't exist. Up to 8 lanes copy 128 bytes of a row.
template <typename Tile, int kRows, int kRowBytes, int kThreads>
__device__ __forceinline__ void copy_rows(Tile tile, const char* data, RowOffsets<kRows> offsets, int which,
                                          int row_bytes, unsigned thread) {
  constexpr int kLanes = kRowBytes < 128 ? kRowBytes / 16 : 8;
  constexpr int kRowsPerPass = kThreads / kLanes;
  static_assert(kRows % kRowsPerPass == 0, "whole passes");
  const int chunk = thread % kLanes;
  const char* column = data + chunk * 16;
#pragma unroll
  for (int pass = 0; pass < kRows / kRowsPerPass; ++pass) {
    const int row = pass * kRowsPerPass + thread / kLanes;
    const uint2 offset = offsets.load(row, which);
    const char* from = column + (static_cast<int64_t>(offset.y) << 32 | (offset.x & ~offsets.kExists));
    const int row_end = (offset.x & offsets.kExists) != 0 ? row_bytes : 0;
    const uint32_t to = tile.chunk_address(row, chunk);
#pragma unroll
    for (int panel = 0; panel < kRowBytes / (kLanes * 16); ++panel) {
      const uint32_t bytes = panel * 128 + chunk * 16 < row_end ? 16 : 0;
      ptx::cp_async_16_zero_fill(to + panel * kRows * 128, from + panel * 128, bytes);
    }
  }
}

}  // namespace llm_kernels
