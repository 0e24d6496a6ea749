// What a block of the backward pass works on, and how it is tiled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "attention/products.cuh"
#include "attention/row_statistics.cuh"
#include "common/mask.cuh"
#include "common/pipeline.cuh"
#include "common/score.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/slab.cuh"
#include "common/tensor.cuh"
#include "common/turns.cuh"
#include "common/wide_tile.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_backward/.
struct FlashBackwardParams {
  SequenceTensor q, k, v, d_out, d_k, d_v;
  ScoreTensor d_bias;        // [b or 1, h_q or 1, s_q, s_k] f32.
  const float2* statistics;  // [h_q, query_tiles, kBlockM]: see row_statistics.cuh.
  uint32_t* turns;           // [h_q, query_tiles]: 0.
  uint32_t* ticket;          // 0.
  float* d_q_slabs;          // [h_q, query_tiles] slab tiles of kBlockM rows.
  float* d_k_slabs;          // [num_parts, h_kv, key_tiles] of kBlockN rows; unused if num_parts is 1.
  float* d_v_slabs;          // Likewise.
  int64_t q_pass_bytes, q_tile_bytes, d_out_pass_bytes, d_out_tile_bytes;
  Sequences queries, keys;   // At most 2^29 positions.
  ScoreParams score;
  int32_t b, h_q, h_kv;      // h_q is a multiple of h_kv.
  int32_t d, value_d;        // Head dims of q and v, multiples of 8.
  int32_t query_tiles;       // Tiles of all sequences, numbered by `first_tile`.
  int32_t key_tiles;         // Likewise.
  int32_t num_parts;         // Blocks that share the query heads of a kv head.
  int32_t heads_per_part;    // num_parts * heads_per_part = h_q / h_kv.
  int32_t block_batches;     // Batches that a block goes through: 1, or b.
  int32_t block_kv_heads;    // Likewise kv heads: 1, or h_kv.
  int32_t window_left;       // -1: no limit; else at most 2^29.
  int32_t window_right;      // Likewise; 0 when causal.
  float scale;
};

static_assert(sizeof(FlashBackwardParams) == 504 && offsetof(FlashBackwardParams, statistics) == 224 &&
                  offsetof(FlashBackwardParams, queries) == 304 && offsetof(FlashBackwardParams, b) == 448 &&
                  offsetof(FlashBackwardParams, scale) == 500,
              "mirrored in Rust");

// The keys of a kv head of a batch that a block works on, for a part of the query heads.
struct BackwardBlock {
  int batch, kv_head, part, key_tile;

  // Bytes of shared memory that say it, who sees the keys, and which tiles of the head's queries do.
  static constexpr int kStoredBytes = 48;

  // Takes the block's ticket; one thread. Key tiles come in their order, since a block waits for those before its own.
  static __device__ __forceinline__ void take(const FlashBackwardParams& params, uint32_t shared) {
    const unsigned heads = params.h_kv / params.block_kv_heads, batches = params.b / params.block_batches;
    unsigned rest = take_ticket(params.ticket);
    const unsigned part = rest % params.num_parts;
    rest /= params.num_parts;
    const unsigned kv_head = rest % heads;
    rest /= heads;
    ptx::st_shared_16(shared, {rest % batches, kv_head, part, rest / batches});
  }

  // The block's work number `work`, of block_batches * block_kv_heads.
  static __device__ __forceinline__ BackwardBlock load(const FlashBackwardParams& params, uint32_t shared, int work) {
    const uint4 first = ptx::ld_shared_16(shared);
    const int batch = first.x + work / static_cast<unsigned>(params.block_kv_heads);
    const int kv_head = first.y + work % static_cast<unsigned>(params.block_kv_heads);
    return {batch, kv_head, static_cast<int>(first.z), static_cast<int>(first.w)};
  }

  __device__ __forceinline__ int first_head(const FlashBackwardParams& params) const {
    return (kv_head * params.num_parts + part) * params.heads_per_part;
  }
};

template <typename T_, int kHeadDim_, int kBlockM_, int kBlockN_, int kKeyWarps_, int kColumnWarps_, int kStages_,
          bool kFeatures_>
struct FlashBackwardTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kStages = kStages_;
  static constexpr bool kFeatures = kFeatures_;
  // Warps share the keys, and where d_k and d_v of 16 keys are too much for one warp, their columns.
  static constexpr int kColumnWarps = kColumnWarps_;
  static constexpr int kWarps = kKeyWarps_ * kColumnWarps_;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kWarpKeys = kBlockN / kKeyWarps_;
  static constexpr int kRowTiles = kWarpKeys / 16;
  static constexpr int kColumns = kHeadDim / kColumnWarps;       // Of d_k and d_v in a warp.
  static constexpr int kScoreQueries = kBlockM / kColumnWarps;   // Queries whose scores a warp computes.
  // Columns of d_q in a warp; of f32 whole panels, so that warps may share its rows, too.
  static constexpr int kQueryColumns = kIsF32<T> && kHeadDim / kWarps < 32 ? 32 : kHeadDim / kWarps;
  static constexpr int kQueryRows = kBlockM * kHeadDim / (kQueryColumns * kWarps);
  // Features take registers: then not all of these columns at once.
  static constexpr int kQuerySteps = kFeatures && kQueryColumns > 32 ? kQueryColumns / 32 : 1;
  static_assert(kRowTiles * kKeyWarps_ * 16 == kBlockN, "whole row tiles in every warp");
  static_assert(kBlockM == row_statistics::kRows, "and the columns of a tile of scores");

  static constexpr bool kSingle = kIsF32<T>;
  static_assert(!kSingle || (kColumnWarps > 1 && kFeatures), "the one way there is for f32");
  static constexpr int kWidth = sizeof(T) / 2;
  // The first row and column of d_q of this thread's warp, and where this thread's first sum is in a slab tile.
  static __device__ __forceinline__ int query_row(unsigned thread) {
    return kQueryRows == kBlockM ? 0 : thread / 32 / (kHeadDim / kQueryColumns) * kQueryRows;
  }
  static __device__ __forceinline__ int query_column(unsigned thread) {
    return (kQueryRows == kBlockM ? thread / 32 : thread / 32 % (kHeadDim / kQueryColumns)) * kQueryColumns;
  }
  static __device__ __forceinline__ int query_offset(unsigned thread) {
    return slab_offset(query_row(thread) / 16, query_column(thread) / 8, kHeadDim, thread % 32);
  }

  using QTile = SharedTile<kBlockM, kHeadDim * kWidth>;  // And d_out's.
  using KTile = SharedTile<kBlockN, kHeadDim * kWidth>;  // And v's.
  // Powers or d_scores, [keys][queries].
  using ScoreTile = std::conditional_t<kSingle, WideTile<kBlockN>, NarrowTile<kBlockN>>;
  static constexpr int kStatisticsBytes = kBlockM * 8;
  static constexpr int kStageBytes = 2 * QTile::kBytes + kStatisticsBytes;
  static __device__ __forceinline__ uint32_t stage_offset(int tile) { return tile % kStages * kStageBytes; }
  // Of f32 powers and d_scores share one, and addresses are computed anew: all of it must fit 99 KiB.
  static constexpr int kScoreTiles = kColumnWarps == 1 || kSingle ? 1 : 2;
  static constexpr int kAddressBytes = kSingle ? 0 : kThreads * 16;
  static constexpr int kSharedBytes = 2 * KTile::kBytes + kScoreTiles * ScoreTile::kBytes + kStages * kStageBytes +
                                      kAddressBytes + BackwardBlock::kStoredBytes;
};

}  // namespace llm_kernels
