// Products of grouped weights with many rows of activations: tiles of a block, and how they come to it.
#pragma once

#include "common/pipeline.cuh"
#include "common/ptx/opaque.cuh"
#include "quant/weight_only_params.cuh"

namespace llm_kernels {

// kRowTiles: rows of activations of a warp, in tiles of 8. kColumnTiles: rows of weights, in tiles of 16. kTeams: teams of warps
// that compute the same results, each of 64 columns of a step. kStages: of activations, in shared memory.
template <int kRowTiles_, int kColumnTiles_, int kRowWarps, int kColumnWarps_, int kTeams_, int kStages_>
struct GroupedTile {
  static constexpr int kRowTiles = kRowTiles_, kColumnTiles = kColumnTiles_;
  static constexpr int kColumnWarps = kColumnWarps_, kTeams = kTeams_, kStages = kStages_;
  static constexpr int kTeamWarps = kRowWarps * kColumnWarps;
  static constexpr int kThreads = 32 * kTeamWarps * kTeams;
  static constexpr int kRows = 8 * kRowTiles * kRowWarps;
  static constexpr int kColumns = kChunkRows * kColumnTiles * kColumnWarps;
  static constexpr int kStepColumns = 64 * kTeams;  // Of k, between barriers.
  // A step's activations: a panel of 64 columns for each team.
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kStageBytes = kTeams * kPanelBytes;
  // float4 of a thread when teams have shared their sums out.
  static constexpr int kOwnTiles = kColumnTiles / kTeams;
  static constexpr int kQuads = kOwnTiles * kRowTiles;
  // Behind the stages, and the sums that teams give each other in their place: 16 bytes for each thread.
  static constexpr int kSumBytes = kTeams == 2 ? kRows * kColumns * 4 : 0;
  static constexpr int kLaterAt = kStages * kStageBytes > kSumBytes ? kStages * kStageBytes : kSumBytes;

  // What depends on it is computed for every load, where sums leave no registers to keep it in.
  static __device__ __forceinline__ int anew(int value) { return kRowTiles > 4 ? ptx::opaque(value) : value; }
};

// Where the 16-byte chunk `chunk` (0 to 7) of a row of 64 activations lies: 4 neighbouring chunks of 2 neighbouring rows, which
// 8 lanes load, and all chunks of a row, which 8 lanes store, meet all banks once.
__device__ __forceinline__ uint32_t activation_offset(int row, int chunk) {
  return row * 128 + ((chunk ^ (row & 1) << 2) << 4);
}

// Issues a thread's copies of activations. Rows and columns that do not exist are zeros; no branch: it stands between products.
template <typename Tile>
struct ActivationLoader {
  // So many threads copy a row.
  static constexpr int kChunks = 8 * Tile::kTeams;
  static constexpr int kPassRows = Tile::kThreads / kChunks, kPasses = Tile::kRows / kPassRows;
  static_assert(kPasses >= 1 && kPassRows % 2 == 0, "whole passes that keep row % 2");

  const WeightOnlyParams& params;
  const char* x;       // This thread's next.
  int rows;            // From this thread's first on.

  __device__ __forceinline__ ActivationLoader(const WeightOnlyParams& params, int first_row, int first_step, unsigned thread)
      : params(params) {
    const int own_row = thread / kChunks, row = first_row + own_row;
    const int column = first_step * Tile::kStepColumns + thread % kChunks * 8;
    x = params.x + (row * params.x_stride + column) * 2;
    rows = params.m - row;
  }

  // Copies of a step, number kFirst to kLast - 1 of kPasses, one after the other; with the last one it moves on. Without
  // `exists` they are zeros.
  template <int kFirst, int kLast>
  __device__ __forceinline__ void load(uint32_t stage, int step, bool exists) {
    const unsigned thread = ptx::thread_index();
    const int column = step * Tile::kStepColumns + thread % kChunks * 8, exist = exists && column < params.k ? rows : 0;
    const uint32_t to = stage + thread % kChunks / 8 * Tile::kPanelBytes + activation_offset(thread / kChunks, thread % 8);
    // From a row to the one this thread copies next.
    const int64_t pass_bytes = params.x_stride * ptx::opaque(2 * kPassRows);
#pragma unroll
    for (int pass = kFirst; pass < kLast; ++pass, x = ptx::opaque(x + pass_bytes)) {
      ptx::cp_async_16_zero_fill(to + pass * kPassRows * 128, x, pass * kPassRows < exist ? 16 : 0);
    }
    if (kLast < kPasses) return;
    x += Tile::kStepColumns * 2 - kPasses * pass_bytes;
    commit_copies();
  }
};

// A warp's codes, straight from memory to registers: of its tiles, 16 bytes for each lane, 64 columns (of 8-bit codes 32). Those
// of tiles that do not exist are copies of the last one's, and their results dropped.
template <typename Weights, typename Tile>
struct CodeLoader {
  static constexpr int kParts = 2 / Weights::kWords;  // Of 32 columns.
  const WeightOnlyParams& params;
  const char* from;    // This lane's, of the tile loaded last.
  int tiles;           // Those behind the first one that exist, at most those of the warp.

  // As behind a load of parts before the first ones.
  __device__ __forceinline__ CodeLoader(const WeightOnlyParams& params, int first_tile, int part, unsigned lane)
      : params(params) {
    const int64_t first = min(first_tile, params.num_tiles - 1);
    tiles = min(params.num_tiles - 1 - static_cast<int>(first), Tile::kColumnTiles - 1);
    from = params.codes + (first + tiles) * params.num_chunks * Weights::kChunkBytes + part / kParts * int64_t{512} + lane * 16;
  }

  // Tiles are loaded one after the other; with the first one moves on by `loads` loads.
  __device__ __forceinline__ uint4 load(int i, int loads) {
    const int rows = i == 0 ? -Tile::anew(tiles) : i <= Tile::anew(tiles) ? 1 : 0;
    from += static_cast<int64_t>(Tile::anew(rows * params.num_chunks)) * Weights::kChunkBytes;
    if (i == 0) from += loads * 512;
    return ptx::ld_global_16(from);
  }
};

// What a lane knows of a group: scales of rows g and g + 8 of a tile, and zero-points.
template <typename Weights>
struct Factors {
  uint32_t scales, zeros;
};

template <typename Weights, typename Tile>
struct FactorLoader {
  const WeightOnlyParams& params;
  uint32_t at;  // The group loaded last: of all tiles. Lane (g, t) has numbers 8 at + g.
  int tiles;    // As above.

  __device__ __forceinline__ FactorLoader(const WeightOnlyParams& params, int first_tile, int part) : params(params) {
    const int first = min(first_tile, params.num_tiles - 1);
    tiles = min(params.num_tiles - 1 - first, Tile::kColumnTiles - 1);
    at = static_cast<uint32_t>(first + tiles) * params.num_groups + (part >> params.group_shift);
  }

  // Those of a part of 32 columns, as `last` was; tiles one after the other.
  __device__ __forceinline__ Factors<Weights> load(int i, int last, int part) {
    const int rows = i == 0 ? -Tile::anew(tiles) : i <= Tile::anew(tiles) ? 1 : 0;
    at += Tile::anew(rows * params.num_groups);
    if (i == 0) at += (part >> params.group_shift) - (last >> params.group_shift);
    const uint64_t own = static_cast<uint64_t>(at) * 8 + ptx::thread_index() % 32 / 4;
    Factors<Weights> read;
    read.scales = ptx::ld_global_4(static_cast<const void*>(params.scales + own));
    if constexpr (Weights::kHasZeros) {
      // Without zero-points what is loaded counts for nothing.
      const uint16_t* from = params.zeros != nullptr ? params.zeros : reinterpret_cast<const uint16_t*>(params.scales);
      read.zeros = ptx::and_or(ptx::ld_global_2(from + own), params.zero_mask, params.zero_pair);
    }
    return read;
  }
};

}  // namespace llm_kernels
