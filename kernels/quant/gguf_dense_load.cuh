// Products of packed matrices with many rows of activations in bf16: tiles, their copies, and weights made bf16.
#pragma once

#include <type_traits>
#include <utility>

#include "common/pipeline.cuh"
#include "common/ptx/async_copy_word.cuh"
#include "quant/gguf_dense_shares.cuh"

namespace llm_kernels {

template <typename Format>
struct DenseTile {
  static constexpr int kThreads = kDenseThreads;
  static constexpr int kRows = kDenseRows;
  static constexpr int kColumns = kDenseColumns;
  static constexpr int kDepth = 64;  // Of a step.
  // Packed bytes come as much of each column at once, two blocks or one, in words, from the word of the first byte on. An
  // odd number of words from a column to the next: lanes of neighbouring columns meet different banks.
  static constexpr bool kSmall = Format::kWeights == 32;
  static constexpr int kChunkSteps = kSmall ? 1 : 4;
  static constexpr int kChunkBlocks = kSmall ? 2 : 1;
  static constexpr int kPitch = (kChunkBlocks * Format::kBytes + Format::kBytes % 4 + 3) / 4 | 1;

  using Activations = SharedTile<kRows, kDepth>;
  using Weights = SharedTile<kColumns, kDepth>;
  static constexpr int kPackedBytes = kColumns * kPitch * 4;
  // Shared memory: two of each.
  static constexpr int kBytes = 2 * (Activations::kBytes + Weights::kBytes + kPackedBytes);
};

// A block at any multiple of 4 or of 2 bytes.
template <int kBytes>
using BlockOf = std::conditional_t<kBytes % 4 == 0, PackedBlock<4, 0>, PackedBlockAnywhere>;

template <typename Format>
struct DenseLoader {
  using Tile = DenseTile<Format>;
  const MatrixParams& params;
  int first_row, first_column, first_step, last_step;

  // Start of chunk `chunk` of a column (a row of w).
  __device__ __forceinline__ int64_t start(int column, int chunk) const {
    const int64_t blocks_per_row = params.k / Format::kWeights;
    return ((first_column + column) * blocks_per_row + chunk * Tile::kChunkBlocks) * Format::kBytes;
  }

  // Issues the copies of packed bytes.
  __device__ __forceinline__ void load_packed(uint32_t packed, int chunk, unsigned thread) const {
    const int row_bytes = params.k / Format::kWeights * Format::kBytes;
    // A tile's offsets fit 32 bits.
    if ((Format::kBytes % 4 == 0 || row_bytes % 4 == 0) && row_bytes < 1 << 23) {
      load_packed_words(packed, chunk, row_bytes, thread);
    } else {
      load_packed_anywhere(packed, chunk, thread);
    }
  }

  // Where rows start at whole words. What lies behind the matrix is replaced by its last word: nobody uses it.
  __device__ __forceinline__ void load_packed_words(uint32_t packed, int chunk, int row_bytes, unsigned thread) const {
    constexpr int kItems = Tile::kColumns * Tile::kPitch;
    const int64_t tile = static_cast<int64_t>(first_column) * row_bytes;
    const char* from = params.w + tile;
    const int last = static_cast<int>(min(params.w_bytes - tile, int64_t{INT32_MAX}) - 4);
    const int column = thread / Tile::kPitch;
    int word = thread - column * Tile::kPitch;
    int at = column * row_bytes + (chunk * Tile::kChunkBlocks * Format::kBytes & ~3) + word * 4;
    constexpr int kColumnStep = Tile::kThreads / Tile::kPitch, kWordStep = Tile::kThreads % Tile::kPitch;
    const int step = kColumnStep * row_bytes + kWordStep * 4, next = step + row_bytes - Tile::kPitch * 4;
#pragma unroll
    for (int i = 0; i < kItems; i += Tile::kThreads) {
      const bool whole = i + Tile::kThreads <= kItems;
      if (whole || i + thread < kItems) ptx::cp_async_4(packed + (i + thread) * 4, from + min(at, last));
      word += kWordStep;
      at += word < Tile::kPitch ? step : next;
      if (word >= Tile::kPitch) word -= Tile::kPitch;
    }
  }

  __device__ __forceinline__ void load_packed_anywhere(uint32_t packed, int chunk, unsigned thread) const {
#pragma unroll 1
    for (int item = thread; item < Tile::kColumns * Tile::kPitch; item += Tile::kThreads) {
      const int column = item / Tile::kPitch, word = item - column * Tile::kPitch;
      const int64_t at = (start(column, chunk) & ~int64_t{3}) + word * 4;
      const int64_t left = first_column + column < params.n ? params.w_bytes - at : 0;
      ptx::cp_async_4_zero_fill(packed + item * 4, left > 0 ? params.w + at : params.w, left > 0 ? min(left, int64_t{4}) : 0);
    }
  }

  // Issues the copies number `first` to `last` - 1, of Tile::kRows / kPassRows, of a step's activations. Rows and columns that do not
  // exist are zeros; no branch: it stands between products.
  static constexpr int kPassRows = Tile::kThreads / 8;
  template <int kFirst, int kLast>
  __device__ __forceinline__ void load_activations(typename Tile::Activations tile, int step, unsigned thread) const {
    const int chunk = thread % 8, depth = step * Tile::kDepth + chunk * 8, row = first_row + static_cast<int>(thread / 8);
    const int64_t pass_bytes = kPassRows * 2 * params.x_stride;
    const char* from = params.x + (row * params.x_stride + depth) * 2 + kFirst * pass_bytes;
    const uint32_t to = tile.chunk_address(thread / 8, chunk);
    const int rows = step < last_step && depth < params.k ? params.m - row : 0;
#pragma unroll
    for (int pass = kFirst; pass < kLast; ++pass, from += pass_bytes) {
      ptx::cp_async_16_zero_fill(to + pass * kPassRows * 128, from, pass * kPassRows < rows ? 16 : 0);
    }
  }

  // This thread's group of 32 weights of a step.
  struct Group {
    decltype(Format::decode(std::declval<BlockOf<Format::kBytes>>(), {}, 0)) weights;
    float scale[Format::kHalves], minimum[Format::kHalves];
    int number;  // In its block.
  };

  // Reads a group; one behind the end of a row has factors of 0.
  __device__ __forceinline__ Group read_group(const char* packed, int step, unsigned thread) const {
    const int column = thread % Tile::kColumns, group = thread / Tile::kColumns;
    const bool exists = step * 2 + group < params.k / 32;
    const int misaligned = Format::kBytes % 4 == 0 ? 0 : start(column, step / Tile::kChunkSteps) & 2;
    const BlockOf<Format::kBytes> block = {packed + column * Tile::kPitch * 4 + misaligned +
                                           (Tile::kSmall ? group * Format::kBytes : 0)};
    Group read;
    read.number = Tile::kSmall ? 0 : step % 4 * 2 + group;
    const auto header = Format::header(block);
    read.weights = Format::decode(block, header, read.number);
#pragma unroll
    for (int half = 0; half < Format::kHalves; ++half) {
      const float scale = header.d * static_cast<float>(read.weights.scale[half]);
      const float minimum = Format::kHasMinimum ? header.m * static_cast<float>(read.weights.minimum[half]) : 0.0f;
      read.scale[half] = exists ? scale : 0.0f, read.minimum[half] = exists ? minimum : 0.0f;
    }
    return read;
  }

  // Dequantises a quarter of a group.
  __device__ __forceinline__ void dequantise(typename Tile::Weights to, const Group& from, int quarter, unsigned thread) const {
    // A byte below the exponent of 2^23 is a number that much too large.
    constexpr float kBias = 0x1p23f + (Format::kSigned ? 128 : Format::kOffset);
    uint32_t pairs[4];
#pragma unroll
    for (int word = 0; word < 2; ++word) {
      const int i = quarter * 2 + word, half = i / 4 * Format::kHalves / 2;
      const uint32_t bytes = from.weights.q[i];
      const uint32_t q = Format::kSigned ? bytes ^ 0x80808080 : bytes >> Format::shift(from.number, i / 4);
      float values[4];
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const float value = __uint_as_float(ptx::prmt(q, 0x4b000000, 0x7440 + b)) - kBias;
        values[b] = Format::kHasMinimum ? __fmaf_rn(value, from.scale[half], from.minimum[half]) : value * from.scale[half];
      }
      pairs[2 * word] = bf16::pack(values[0], values[1]), pairs[2 * word + 1] = bf16::pack(values[2], values[3]);
    }
    const int column = thread % Tile::kColumns, group = thread / Tile::kColumns;
    ptx::st_shared_16(to.chunk_address(column, group * 4 + quarter), {pairs[0], pairs[1], pairs[2], pairs[3]});
  }
};

}  // namespace llm_kernels
