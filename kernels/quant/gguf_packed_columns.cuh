// Packed bytes of some columns of a product (rows of w) in shared memory, for the kernels of many rows.
#pragma once

#include <type_traits>

#include "common/pipeline.cuh"
#include "common/ptx/async_copy_word.cuh"
#include "common/quant/formats.cuh"
#include "quant/gguf_matrix_params.cuh"

namespace llm_kernels {

// A block at any multiple of 4 or of 2 bytes.
template <typename Format>
using BlockOf = std::conditional_t<Format::kBytes % 4 == 0, PackedBlock<4, 0>, PackedBlockAt<true>>;

// They come as much of each column at once, a chunk of two blocks or one, in words, from the word of the first byte on. An odd
// number of words from a column to the next: lanes of neighbouring columns meet different banks. kUnroll: of the loop over copies.
template <typename Format, int kColumns, int kThreads, int kUnroll>
struct PackedColumns {
  static constexpr bool kSmall = Format::kWeights == 32;
  static constexpr int kChunkSteps = kSmall ? 1 : 4;  // Of 64 of k.
  static constexpr int kChunkBlocks = kSmall ? 2 : 1;
  static constexpr int kPitch = (kChunkBlocks * Format::kBytes + Format::kBytes % 4 + 3) / 4 | 1;
  static constexpr int kBytes = kColumns * kPitch * 4;

  // Start of chunk `chunk` of a column.
  static __device__ __forceinline__ int64_t start(const MatrixParams& params, int column, int chunk) {
    const int64_t blocks_per_row = params.k / Format::kWeights;
    return (column * blocks_per_row + chunk * kChunkBlocks) * Format::kBytes;
  }

  // The block of the group number `group` of 32 weights of a column, of which a chunk lies at `packed`; and that group's number in
  // its block.
  static __device__ __forceinline__ BlockOf<Format> block(const char* packed, const MatrixParams& params, int column, int group) {
    // Odd blocks of 2 more than a multiple of 4 bytes.
    const unsigned number = column * (params.k / Format::kWeights) + group / 2 / kChunkSteps * kChunkBlocks;
    const int misaligned = Format::kBytes % 4 == 0 ? 0 : number % 2 * 2;
    return {packed + misaligned + (kSmall ? group % 2 * Format::kBytes : 0)};
  }
  static __device__ __forceinline__ int group_of_block(int group) { return kSmall ? 0 : group % 8; }

  // Whether rows start at whole words, and a tile's offsets fit 32 bits.
  static __device__ __forceinline__ bool in_words(const MatrixParams& params) {
    const int row_bytes = params.k / Format::kWeights * Format::kBytes;
    return (Format::kBytes % 4 == 0 || row_bytes % 4 == 0) && row_bytes < 1 << 23;
  }

  // Issues the copies of a chunk.
  static __device__ __forceinline__ void load(uint32_t packed, const MatrixParams& params, int first_column, int chunk,
                                              unsigned thread) {
    if (in_words(params)) {
      load_words<1, false>(packed, params, first_column, chunk, 0, true, thread);
    } else {
      load_anywhere(packed, params, first_column, chunk, thread);
    }
  }

  // Part number `part` of kParts of a chunk, where rows start at whole words. What lies behind the matrix is replaced by its last
  // word: nobody uses it. If kGuarded, nothing unless it `exists`, without a branch.
  template <int kParts, bool kGuarded>
  static __device__ __forceinline__ void load_words(uint32_t packed, const MatrixParams& params, int first_column, int chunk,
                                                    int part, bool exists, unsigned thread) {
    constexpr int kItems = kColumns * kPitch, kCopies = (kItems + kThreads * kParts - 1) / (kThreads * kParts);
    const int row_bytes = params.k / Format::kWeights * Format::kBytes;
    const int64_t tile = static_cast<int64_t>(first_column) * row_bytes;
    const char* from = params.w + tile;
    const int last = static_cast<int>(min(params.w_bytes - tile, int64_t{INT32_MAX}) - 4);
    const int item = part * kCopies * kThreads + thread, column = item / kPitch;
    int word = item - column * kPitch;
    int at = column * row_bytes + (chunk * kChunkBlocks * Format::kBytes & ~3) + word * 4;
    constexpr int kColumnStep = kThreads / kPitch, kWordStep = kThreads % kPitch;
    const int step = kColumnStep * row_bytes + kWordStep * 4, next = step + row_bytes - kPitch * 4;
#pragma unroll kUnroll
    for (int i = 0; i < kCopies; ++i) {
      const bool whole = ((kParts - 1) * kCopies + i + 1) * kThreads <= kItems;
      const bool wanted = whole || item + i * kThreads < kItems;
      const uint32_t to = packed + (item + i * kThreads) * 4;
      if constexpr (kGuarded) {
        ptx::cp_async_4_if(exists && wanted, to, from + min(at, last));
      } else if (wanted) {
        ptx::cp_async_4(to, from + min(at, last));
      }
      word += kWordStep;
      at += word < kPitch ? step : next;
      if (word >= kPitch) word -= kPitch;
    }
  }

  static __device__ __forceinline__ void load_anywhere(uint32_t packed, const MatrixParams& params, int first_column, int chunk,
                                                       unsigned thread) {
#pragma unroll 1
    for (int item = thread; item < kColumns * kPitch; item += kThreads) {
      const int column = item / kPitch, word = item - column * kPitch;
      const int64_t at = (start(params, first_column + column, chunk) & ~int64_t{3}) + word * 4;
      const int64_t left = first_column + column < params.n ? params.w_bytes - at : 0;
      ptx::cp_async_4_zero_fill(packed + item * 4, left > 0 ? params.w + at : params.w, left > 0 ? min(left, int64_t{4}) : 0);
    }
  }
};

}  // namespace llm_kernels
