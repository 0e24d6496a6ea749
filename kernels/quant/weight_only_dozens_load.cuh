// Products of grouped weights with up to 32 rows of activations: tiles of a block, and how they come to shared memory.
#pragma once

#include "common/pipeline.cuh"
#include "quant/weight_only_matrix_load.cuh"

namespace llm_kernels {

// kRowTiles: rows of activations of a warp, in tiles of 8. kColumnTiles: rows of weights, in tiles of 16. kTeams: teams of warps
// that compute the same results, each of every kTeams-th step of 64 columns, with stages of its own.
template <typename Weights, int kRowTiles, int kColumnTiles, int kRowWarps, int kColumnWarps, int kTeams_>
struct DozensTile {
  static constexpr int kTeams = kTeams_;
  static constexpr int kThreads = 32 * kRowWarps * kColumnWarps;  // Of a team.
  static constexpr int kRows = 8 * kRowTiles * kRowWarps;
  static constexpr int kTiles = kColumnTiles * kColumnWarps;
  static constexpr int kColumns = kChunkRows * kTiles;
  // Shared memory of a stage. A step meets at most two groups.
  static constexpr int kCodeBytes = kTiles * Weights::kChunkBytes;
  static constexpr int kActivationBytes = kRows * 128;
  static constexpr int kScaleBytes = 2 * kTiles * 32;
  static constexpr int kZeroBytes = 2 * kTiles * 16;
  static constexpr int kStageBytes = kCodeBytes + kActivationBytes + kScaleBytes + kZeroBytes;
  static constexpr int kActivationsAt = kCodeBytes;
  static constexpr int kScalesAt = kCodeBytes + kActivationBytes;
  static constexpr int kZerosAt = kScalesAt + kScaleBytes;
  // A block fits chips with 99 KB; a single team's fits twice in those with 164.
  static constexpr int kMostBytes = (kTeams == 2 ? 99 : 80) * 1024;
  static constexpr int kStages = 4 * kTeams * kStageBytes <= kMostBytes ? 4 : 3;
  static_assert(kStages * kTeams * kStageBytes <= kMostBytes, "too large");
  // Of the sums at the end, in floats: accumulators are stored without bank conflicts.
  static constexpr int kPitch = kColumns + 4;
};

// Issues a thread's copies of its team's steps. Rows that do not exist are copies of the last one: their results are dropped.
template <typename Weights, typename Tile>
struct GroupedLoader {
  static constexpr int kCodeCopies = Tile::kCodeBytes / (Tile::kThreads * 16);
  static constexpr int kPassRows = Tile::kThreads / 8, kPasses = Tile::kRows / kPassRows;
  static_assert(Tile::kThreads >= 6 * Tile::kTiles, "a thread copies 16 bytes of scales or of zero-points");

  const char* codes[kCodeCopies];
  const char* factors;   // Of this thread's tile; null for none.
  const char* x;
  int64_t pass_bytes;    // From a row to the one this thread copies next.
  uint32_t codes_to, factors_to, x_to;
  int last_pass;         // The last one that has a row of its own.
  int columns_left;      // From this thread's on.
  int group_shift, chunk;
  int group_bytes;       // In `factors`.

  __device__ __forceinline__ GroupedLoader(const WeightOnlyParams& params, int first_row, int first_tile, int first_chunk,
                                           unsigned thread) {
    const int last_tile = params.num_tiles - 1;
#pragma unroll
    for (int i = 0; i < kCodeCopies; ++i) {
      const int at = (i * Tile::kThreads + thread) * 16;
      const int64_t tile = min(first_tile + at / Weights::kChunkBytes, last_tile);
      codes[i] = params.codes + (tile * params.num_chunks + first_chunk) * Weights::kChunkBytes + at % Weights::kChunkBytes;
    }
    // Threads of scales have two for a group and tile, those of zero-points one; a second group only where it has 32 columns.
    group_shift = params.group_shift, chunk = first_chunk;
    factors = nullptr;
    constexpr int kScaleThreads = 4 * Tile::kTiles;
    const bool second = thread < kScaleThreads ? thread % 4 >= 2 : thread % 2 == 1;
    if (!second || group_shift == 0) {
      if (thread < kScaleThreads) {
        const int64_t tile = min(first_tile + static_cast<int>(thread) / 4, last_tile);
        factors = reinterpret_cast<const char*>(params.scales + tile * params.num_groups * 8) + thread % 4 * 16;
      } else if (thread < kScaleThreads + 2 * Tile::kTiles && params.zeros != nullptr) {
        const int64_t tile = min(first_tile + static_cast<int>(thread - kScaleThreads) / 2, last_tile);
        factors = reinterpret_cast<const char*>(params.zeros + tile * params.num_groups * 8) + thread % 2 * 16;
      }
    }
    group_bytes = thread < kScaleThreads ? 32 : 16;
    codes_to = thread * 16, factors_to = Tile::kScalesAt + thread * 16;
    // 8 threads copy a row of activations.
    const int row = first_row + thread / 8, last_row = params.m - 1;
    last_pass = max(0, (last_row - row) / kPassRows);
    pass_bytes = params.x_stride * (2 * kPassRows);
    const int column = first_chunk * kChunkColumns + thread % 8 * 8;
    x = params.x + (min(row, last_row) * params.x_stride + column) * 2;
    columns_left = params.k - column;
    x_to = Tile::kActivationsAt + activation_offset(thread / 8, thread % 8);
  }

  // Issues the copies of a step, then moves on to the next.
  __device__ __forceinline__ void load(uint32_t stage) {
#pragma unroll
    for (int i = 0; i < kCodeCopies; ++i) {
      ptx::cp_async_16(stage + codes_to + i * Tile::kThreads * 16, codes[i]);
      codes[i] += Tile::kTeams * Weights::kChunkBytes;
    }
    if (factors != nullptr) ptx::cp_async_16(stage + factors_to, factors + (chunk * 2 >> group_shift) * group_bytes);
    chunk += Tile::kTeams;
    const uint32_t bytes = columns_left > 0 ? 16 : 0;
    columns_left -= Tile::kTeams * kChunkColumns;
    const char* from = x;
    if (last_pass >= kPasses - 1) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass, from = ptx::opaque(from + pass_bytes)) {
        ptx::cp_async_16_zero_fill(stage + x_to + pass * kPassRows * 128, from, bytes);
      }
    } else {
#pragma unroll 1
      for (int pass = 0; pass < kPasses; ++pass) {
        ptx::cp_async_16_zero_fill(stage + x_to + pass * kPassRows * 128, from, bytes);
        if (pass < last_pass) from += pass_bytes;
      }
    }
    x += Tile::kTeams * kChunkColumns * 2;
  }
};

}  // namespace llm_kernels
