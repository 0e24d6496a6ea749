// What a block of the backward pass works on, how it is tiled, and how it copies queries.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/row_statistics.cuh"
#include "common/mask.cuh"
#include "common/pipeline.cuh"
#include "common/score.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/slab.cuh"
#include "common/tensor.cuh"
#include "common/turns.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_backward/.
struct FlashBackwardParams {
  SequenceTensor q, k, v, d_out, d_k, d_v;
  ScoreTensor d_bias;        // [b or 1, h_q or 1, s_q, s_k] f32.
  const float2* statistics;  // [h_q, query_tiles, kBlockM]: -lse * log2(e), and delta times what a dropped one has of it.
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
  static constexpr int kQueryColumns = kHeadDim / kWarps;        // Columns of d_q in a warp.
  // Features take registers: then not all of these columns at once.
  static constexpr int kQuerySteps = kFeatures && kQueryColumns > 32 ? kQueryColumns / 32 : 1;
  static_assert(kRowTiles * kKeyWarps_ * 16 == kBlockN, "whole row tiles in every warp");
  static_assert(kBlockM == row_statistics::kRows, "and the columns of a NarrowTile");

  using QTile = SharedTile<kBlockM, kHeadDim>;  // And d_out's.
  using KTile = SharedTile<kBlockN, kHeadDim>;  // And v's.
  using ScoreTile = NarrowTile<kBlockN>;        // Powers or d_scores, [keys][queries].
  static constexpr int kStatisticsBytes = kBlockM * 8;
  static constexpr int kStageBytes = 2 * QTile::kBytes + kStatisticsBytes;
  static __device__ __forceinline__ uint32_t stage_offset(int tile) { return tile % kStages * kStageBytes; }
  static constexpr int kScoreTiles = kColumnWarps == 1 ? 1 : 2;
  static constexpr int kSharedBytes = 2 * KTile::kBytes + kScoreTiles * ScoreTile::kBytes + kStages * kStageBytes +
                                      kThreads * 16 + BackwardBlock::kStoredBytes;
};

// Copies a head's tiles of q, d_out and the statistics, from its last to its first. Only three pointers live as long as
// it: the rest comes from parameters and thread, anew each time.
template <typename Traits>
struct QueryLoader {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  static constexpr int kRowsPerPass = Traits::kThreads / 8;
  static_assert(Traits::kBlockM % kRowsPerPass == 0, "whole passes");

  // This thread's first 16 bytes of the next tile.
  const char* q;
  const char* d_out;
  const char* statistics;

  // The tile is number `slot` of all.
  __device__ __forceinline__ QueryLoader(const FlashBackwardParams& params, int batch, int head, int position,
                                         int64_t slot) {
    const unsigned thread = ptx::thread_index();
    const int row = position + thread / 8;
    q = reinterpret_cast<const char*>(params.q.row<T>(batch, row, head) + thread % 8 * 8);
    d_out = reinterpret_cast<const char*>(params.d_out.row<T>(batch, row, head) + thread % 8 * 8);
    statistics = reinterpret_cast<const char*>(params.statistics + slot * Traits::kBlockM + thread * 2);
  }

  // Issues the copies of the next tile into the stage at `shared`. Only its first `valid_rows` rows exist, if kCut.
  template <bool kCut>
  __device__ __forceinline__ void load(const FlashBackwardParams& params, uint32_t shared, int valid_rows) {
    const unsigned thread = ptx::thread_index();
    q = load_rows<kCut>(q, params.q_pass_bytes, params.q_tile_bytes, shared, valid_rows, params.d, thread);
    d_out = load_rows<kCut>(d_out, params.d_out_pass_bytes, params.d_out_tile_bytes, shared + QTile::kBytes, valid_rows,
                            params.value_d, thread);
    ptx::cp_async_16_if(thread < Traits::kStatisticsBytes / 16, shared + 2 * QTile::kBytes + thread * 16, statistics);
    statistics -= Traits::kStatisticsBytes;
  }

  template <bool kCut>
  static __device__ __forceinline__ const char* load_rows(const char* source, int64_t pass_bytes, int64_t tile_bytes,
                                                          uint32_t shared, int valid_rows, int columns,
                                                          unsigned thread) {
    const uint32_t destination = QTile{shared}.chunk_address(thread / 8, thread % 8);
    const char* from = source;
#pragma unroll
    for (int pass = 0; pass < Traits::kBlockM / kRowsPerPass; ++pass, from = ptx::opaque(from + pass_bytes)) {
      const bool row_exists = !kCut || pass * kRowsPerPass + static_cast<int>(thread / 8) < valid_rows;
#pragma unroll
      for (int panel = 0; panel < QTile::kPanels; ++panel) {
        const uint32_t to = destination + pass * kRowsPerPass * 128 + panel * QTile::kPanelBytes;
        if constexpr (kCut || Traits::kFeatures) {
          const bool exists = !Traits::kFeatures || panel * 64 + static_cast<int>(thread % 8 * 8) < columns;
          ptx::cp_async_16_zero_fill(to, from + panel * 128, row_exists && exists ? 16 : 0);
        } else {
          ptx::cp_async_16(to, from + panel * 128);
        }
      }
    }
    return source - tile_bytes;
  }
};

// Copies the tile of k or v that starts at `position`, of which the first `valid_rows` rows and `columns` columns exist.
template <typename Traits>
__device__ __forceinline__ void load_keys(typename Traits::KTile tile, const SequenceTensor& tensor, int batch,
                                          int head, int position, int valid_rows, int columns, unsigned thread) {
  TileLoader<Traits::kBlockN, Traits::kHeadDim, Traits::kThreads, Traits::kFeatures> loader(
      tile, tensor.row<typename Traits::T>(batch, position, head), tensor.sequence_stride, thread, columns);
  loader.load_cut(valid_rows);
}

}  // namespace llm_kernels
