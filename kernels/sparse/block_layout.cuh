// A layout of listed tiles in device memory. What its words are: src/sparse/block_layout.rs.
#pragma once

#include <cstdint>

#include "common/mask.cuh"
#include "common/ptx.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/sparse/layout_operand.rs. Whatever the words hold, nothing outside them is read.
struct BlockLayoutParams {
  const int32_t* words;  // Bands first.
  int32_t heads_at, offsets_at, tiles_at, masks_at, bits_at, columns_at, rows_at, places_at;  // Words before each part.
  int32_t num_heads;     // 1: all heads share a pattern.
  int32_t num_patterns, num_tiles, num_bands, num_masks;
  int32_t query_tiles, key_tiles;  // Rows and columns of a pattern.
  int32_t tile_q_log2, tile_k_log2;
  int32_t q_steps_log2, q_last_step;  // Tiles of kBlockM in a listed one: log2 of their number, and the number of the last.
  int32_t k_steps_log2, k_last_step;  // Likewise of kBlockN.
  int32_t padding;

  __device__ __forceinline__ int pattern(int head) const {
    const unsigned named = ptx::ld_global_4(words + heads_at + (num_heads > 1 ? head : 0));
    return min(named, num_patterns - 1u);
  }

  // What the list at `offsets` names as begin and end of its entry 0, of all tiles.
  __device__ __forceinline__ int2 range(const int32_t* offsets) const {
    const int begin = min(max(ptx::ld_global_4(offsets), 0), num_tiles);
    return {begin, min(max(ptx::ld_global_4(offsets + 1), begin), num_tiles)};
  }

  // The end of those of `range` whose entry in the list at `entries`, less its `kFlags` lowest bits, is at most `last`;
  // entries rise. Of a sequence as long as the layout that is all.
  template <int kFlags>
  __device__ __forceinline__ int end_of(int2 range, int entries, int last) const {
    int low = range.x, end = range.y, middle = range.y - 1;
    while (low < end) {
      if ((ptx::ld_global_4(words + entries + middle) >> kFlags) <= last) {
        low = middle + 1;
      } else {
        end = middle;
      }
      middle = (low + end) >> 1;
    }
    return end;
  }

  // The band that the mask `code` names, of queries numbered from query `first` on.
  __device__ __forceinline__ KeyMask band(int code, int s_k, int first) const {
    KeyMask mask(s_k - first, s_k, -1, -1);
    if (code < 0 && num_bands > 0) {
      const uint4 numbers = ptx::ld_global_16(words + static_cast<int64_t>(min(~code, num_bands - 1)) * 4);
      mask.diagonal += static_cast<int>(numbers.x);
      mask.window_left = numbers.y, mask.window_right = numbers.z;
    }
    return mask;
  }

  // The bits that the mask `code` names, of row `row` of its tile, from key `key` of its tile on; null if it names none.
  __device__ __forceinline__ const int32_t* bits(int code, int row, int key) const {
    if (code <= 0 || num_masks == 0) return nullptr;
    const int64_t first = static_cast<int64_t>(min(code, num_masks) - 1) << tile_q_log2;
    return words + bits_at + ((first + row) << (tile_k_log2 - 5)) + key / 32;
  }
};

static_assert(sizeof(BlockLayoutParams) == 96, "mirrored in Rust");

}  // namespace llm_kernels
