// Exact attention, forward: out = dropout(softmax(score(scale * q k^T))) v, without the scores ever in memory.
//
//   q: [b, s_q, h_q, d]   k: [b, s_k, h_kv, d]   v: [b, s_k, h_kv, d_v]   out: [b, s_q, h_q, d_v]
//   lse: [b, h_q, s_q] f32, natural logarithm   sinks: [h_q] f32   other features: common/score.cuh
//   With cu_seqlens q and out are [total_q, ...], k and v [total_k, ...], lse is [h_q, total_q].
//
// Block: kBlockM rows of scores, which are queries of one head, or, packed, queries of all heads that share k and v;
// visits the tiles of kBlockN keys that its queries see, from last to first. Warp: kRowTiles * 16 rows, all keys of a
// tile. Lane: rows lane / 4 (+ 8), columns 2 (lane % 4) (+ 1) of each 16x8. Scores, powers' sums and output accumulate in
// f32; powers are rounded to the element type for P V. Elements of f32 are multiplied in parts: attention/products.cuh.
// Memory: q once, k and v once per block, out and lse once.
// Plain instances take scale, windows, sinks and cu_seqlens, and exactly their head dims; the others take all features
// and any smaller head dims. Derivation: src/attention/flash_forward/README.md
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "attention/products.cuh"
#include "common/dropout.cuh"
#include "common/mask.cuh"
#include "common/pipeline.cuh"
#include "common/score.cuh"
#include "common/sequences.cuh"
#include "common/shared_tile.cuh"
#include "common/softmax.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_forward/.
struct FlashForwardParams {
  SequenceTensor q, k, v, out;
  RowTensor lse;
  const float* sinks;       // [h_q]; null: none.
  Sequences queries, keys;  // At most 2^29 positions.
  ScoreParams score;
  int32_t h_q, h_kv;        // h_q is a multiple of h_kv.
  int32_t d, d_v;           // Multiples of 8.
  int32_t num_row_tiles;    // ceil(longest sequence of queries * pack / kBlockM).
  int32_t pack;             // Heads whose rows share a tile: 1 or h_q / h_kv.
  int32_t window_left;      // -1: no limit; else at most 2^29.
  int32_t window_right;     // Likewise; 0 when causal.
};

static_assert(sizeof(FlashForwardParams) == 336 && offsetof(FlashForwardParams, sinks) == 152 &&
                  offsetof(FlashForwardParams, score) == 192 && offsetof(FlashForwardParams, h_q) == 304,
              "mirrored in Rust");

template <typename T_, int kHeadDim_, int kHeadDimV_, int kBlockM_, int kBlockN_, int kWarps_, bool kFeatures_>
struct FlashForwardTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kHeadDimV = kHeadDimV_;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr bool kFeatures = kFeatures_;
  static constexpr int kThreads = kWarps_ * 32;
  static constexpr int kRowTiles = kBlockM / (kWarps_ * 16);
  static_assert(kRowTiles * kWarps_ * 16 == kBlockM, "whole row tiles in every warp");
  static_assert(kHeadDimV <= kHeadDim, "the output is staged where q was");

  // First row in the tile of the warp of `thread`.
  static __device__ __forceinline__ int warp_row(unsigned thread) { return thread / 32 * (kRowTiles * 16); }

  static constexpr int kWidth = sizeof(T) / 2;
  using QTile = SharedTile<kBlockM, kHeadDim * kWidth>;
  using KTile = SharedTile<kBlockN, kHeadDim * kWidth>;
  using VTile = SharedTile<kBlockN, kHeadDimV * kWidth>;
  using OutTile = SharedTile<kBlockM, kHeadDimV * kWidth>;
  // The tiles, and the mask of the block.
  static constexpr int kSharedBytes = QTile::kBytes + KTile::kBytes + VTile::kBytes + KeyMask::kStoredBytes;
};

// What a block works on: row r of its tile is query (first + r) / pack of head head + (first + r) % pack. Blocks next to
// each other share k and v: the query heads of one kv head first, then the tiles of rows, from last to first since under
// a causal mask the last is the longest, then kv heads, then batches.
template <typename Traits>
struct BlockRows {
  int batch, head, kv_head, first, pack;

  __device__ __forceinline__ explicit BlockRows(const FlashForwardParams& params) {
    // A constant for the plain instances.
    pack = Traits::kFeatures ? params.pack : 1;
    const unsigned heads_a_group = params.h_q / params.h_kv;
    const unsigned tiles_a_group = heads_a_group / pack;
    unsigned rest = ptx::block_index();
    const unsigned tile_in_group = rest % tiles_a_group;
    rest /= tiles_a_group;
    first = (params.num_row_tiles - 1 - rest % params.num_row_tiles) * Traits::kBlockM;
    rest /= params.num_row_tiles;
    kv_head = rest % params.h_kv;
    batch = rest / params.h_kv;
    head = kv_head * heads_a_group + tile_in_group * pack;
  }

  __device__ __forceinline__ int query_of(int row) const { return (first + row) / static_cast<unsigned>(pack); }
  __device__ __forceinline__ int head_of(int row) const { return head + (first + row) % static_cast<unsigned>(pack); }
};

// Flips the signs of the q elements that this thread has copied: a negative scale becomes a positive one.
template <typename Traits>
__device__ __forceinline__ void negate_own_copies(typename Traits::QTile tile, uint32_t first_chunk) {
#pragma unroll 1
  for (int offset = 0; offset < Traits::QTile::kBytes; offset += Traits::kThreads * 16) {
    uint4 x = ptx::ld_shared_16(first_chunk + offset);
    x.x ^= 0x80008000u, x.y ^= 0x80008000u, x.z ^= 0x80008000u, x.w ^= 0x80008000u;
    ptx::st_shared_16(first_chunk + offset, x);
  }
}

// Writes this warp's rows of the output and of lse. They are staged in `tile`, in rows no other warp touches, so that
// whole 128-byte segments go out in 16-byte stores.
template <typename Traits, int kOutputTiles>
__device__ __forceinline__ void store_output(const FlashForwardParams& params,
                                             const float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                             OnlineSoftmax<Traits::kRowTiles>& softmax, typename Traits::OutTile tile) {
  using T = typename Traits::T;
  const BlockRows<Traits> block(params);
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const int warp_row = Traits::warp_row(thread);
  const Sequence sequence = params.queries.at(block.batch);
  const int num_rows = sequence.length * block.pack;
  const bool features = Traits::kFeatures;
  softmax.finish();
#pragma unroll
  for (int i = 0; i < Traits::kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + i * 16 + h * 8 + lane / 4;
      const bool exists = block.first + row < num_rows;
      const int head = block.head_of(row);
      // A row that saw no key is 0, also where a non-finite v has met its zero powers.
      const bool empty = softmax.sum[i][h] == 0.0f;
      float factor = features ? params.score.dropout_scale : 1.0f;
      if (params.sinks != nullptr && exists) factor *= softmax.add_sink(i, h, params.sinks[head] * kLog2E);
      factor *= softmax.inverse_sum(i, h);
      const auto value = [&](int j, int e) { return empty ? 0.0f : output[i][j][2 * h + e] * factor; };
      if constexpr (kIsF32<T>) {
        // Nothing to put in order first: see output_chunk.
        T* out = params.out.row<T>(block.batch, sequence.begin + block.query_of(row), head);
#pragma unroll
        for (int j = 0; j < kOutputTiles; j += 4) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int column = j * 8 + output_chunk(lane % 4 * 2 + e) * 4;
            const float chunk[4] = {value(j, e), value(j + 1, e), value(j + 2, e), value(j + 3, e)};
            if (exists && column < params.d_v) store(out + column, chunk);
          }
        }
      } else {
#pragma unroll
        for (int j = 0; j < kOutputTiles; ++j) {
          const uint32_t address =
              tile.chunk_address(row, j % 8) + (j / 8) * Traits::OutTile::kPanelBytes + (lane % 4) * 4;
          ptx::st_shared_4(address, T::pack(value(j, 0), value(j, 1)));
        }
      }
      if (params.lse.data != nullptr && lane % 4 == 0 && exists) {
        params.lse.at(block.batch, head, sequence.begin + block.query_of(row)) = softmax.log_sum_exp(i, h);
      }
    }
  }
  if constexpr (kIsF32<T>) return;
  __syncwarp();
  // 8 lanes write the 128 bytes of one row of a panel, 4 rows at a time.
#pragma unroll
  for (int step = 0; step < Traits::kRowTiles * 4; ++step) {
    const int row = warp_row + step * 4 + lane / 8;
    if (block.first + row < num_rows) {
      const int column = lane % 8 * 8;
      T* out = params.out.row<T>(block.batch, sequence.begin + block.query_of(row), block.head_of(row)) + column;
#pragma unroll
      for (int panel = 0; panel < Traits::OutTile::kPanels; ++panel) {
        if (features && panel * 64 + column >= params.d_v) break;
        const uint4 chunk = ptx::ld_shared_16(tile.chunk_address(row, lane % 8) + panel * Traits::OutTile::kPanelBytes);
        ptx::st_global_16(out + panel * 64, chunk);
      }
    }
  }
}

template <typename Traits>
__device__ __forceinline__ void flash_forward(const FlashForwardParams& params) {
  using T = typename Traits::T;
  constexpr int kRowTiles = Traits::kRowTiles;
  constexpr bool kFeatures = Traits::kFeatures;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const typename Traits::QTile q_tile{ptx::shared_address(shared_memory)};
  const typename Traits::KTile k_tile{q_tile.base + Traits::QTile::kBytes};
  const typename Traits::VTile v_tile{k_tile.base + Traits::KTile::kBytes};
  const uint32_t mask_address = v_tile.base + Traits::VTile::kBytes;

  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const BlockRows<Traits> block(params);
  const Sequence queries = params.queries.at(block.batch);
  const Sequence keys = params.keys.at(block.batch);
  const int num_rows = queries.length * block.pack;
  // The grid is made for the longest sequence.
  if (block.first >= num_rows) return;
  const int last_row = min(block.first + Traits::kBlockM, num_rows) - 1 - block.first;
  const bool has_prefix = kFeatures && params.score.prefix != nullptr;
  const int prefix = has_prefix ? max(0, ptx::ld_global_4(params.score.prefix + block.batch)) : KeyMask::kNoPrefix;
  const KeyMask block_mask(queries.length, keys.length, params.window_left, params.window_right, prefix);
  // Plain rows are queries in order, so that their own numbers do.
  if (thread == 0) block_mask.of_queries_from(kFeatures ? 0 : block.first).store(mask_address);
  const KeyTiles<Traits::kBlockN> tiles(block_mask, block.query_of(0), block.query_of(last_row));

  float output[kRowTiles][Traits::kHeadDimV / 8][4] = {};
  OnlineSoftmax<kRowTiles> softmax;

  if (tiles.first <= tiles.last) {
    const int key_first = tiles.last * Traits::kBlockN;
    TileLoader<Traits::kBlockN, Traits::kHeadDim * Traits::kWidth, Traits::kThreads, kFeatures> k_loader(
        k_tile, params.k.row<T>(block.batch, keys.begin + key_first, block.kv_head), params.k.sequence_stride, thread,
        params.d);
    TileLoader<Traits::kBlockN, Traits::kHeadDimV * Traits::kWidth, Traits::kThreads, kFeatures> v_loader(
        v_tile, params.v.row<T>(block.batch, keys.begin + key_first, block.kv_head), params.v.sequence_stride, thread,
        params.d_v);

    if constexpr (kFeatures) {
      load_rows<Traits::kBlockM, Traits::kHeadDim * Traits::kWidth, Traits::kThreads>(q_tile, thread, params.d, [&](int row) -> const T* {
        if (row > last_row) return nullptr;
        return params.q.row<T>(block.batch, queries.begin + block.query_of(row), block.head_of(row));
      });
      commit_copies();
    } else {
      TileLoader<Traits::kBlockM, Traits::kHeadDim, Traits::kThreads> q_loader(
          q_tile, params.q.row<T>(block.batch, queries.begin + block.first, block.head), params.q.sequence_stride,
          thread);
      q_loader.load_cut(last_row + 1);
      commit_copies();
    }
    // Only these first tiles can reach past the last key.
    k_loader.load_cut(keys.length - key_first);
    commit_copies();
    v_loader.load_cut(keys.length - key_first);
    commit_copies();
    // Not 0, so that a masked score of -inf stays -inf when scaled.
    const float scale_log2 = kFeatures ? params.score.exponent_scale() : fmaxf(fabsf(params.score.scale_log2), FLT_MIN);
    if (!kFeatures && params.score.scale_log2 < 0.0f) {
      wait_for_copies<2>();
      negate_own_copies<Traits>(q_tile, q_tile.chunk_address(thread >> 3, thread & 7));
    }
    const uint32_t q_address = q_tile.ldmatrix_address(lane) + Traits::warp_row(thread) * 128;
    const uint32_t k_address = k_tile.ldmatrix_address_n_by_k(lane);
    const uint32_t v_address = value_address<T>(v_tile, lane);
    ScoreRows<kRowTiles> rows;
    if constexpr (kFeatures) {
      rows.batch = block.batch;
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          // Rows past the last count as the last.
          const int row = min(Traits::warp_row(thread) + i * 16 + h * 8 + static_cast<int>(lane / 4), last_row);
          rows.query[i][h] = block.query_of(row);
          rows.head[i][h] = block.head_of(row);
        }
      }
    }

    wait_for_copies<1>();
    __syncthreads();
    int remaining = tiles.last - tiles.first;
#pragma unroll 1
    while (true) {
      // K of this tile is here; V of it is on the way.
      float scores[kRowTiles][Traits::kBlockN / 8][4];
      if constexpr (kIsF32<T>) {
        multiply_query_key_f32<Traits>(scores, q_address, k_address, params.d);
      } else {
        multiply_query_key<Traits>(scores, q_address, k_address, params.d);
      }

      // V is here, and K has been read by all: the next K comes in under softmax and P V.
      wait_for_copies();
      __syncthreads();
      if (remaining > 0) k_loader.load();
      commit_copies();

      const int tile = tiles.first + remaining;
      const int key_first = tile * Traits::kBlockN;
      const bool cut = !tiles.is_full(tile);
      if (kFeatures || cut) {
        const unsigned thread = ptx::thread_index();
        const KeyMask mask = KeyMask::load(mask_address, params.window_left, params.window_right);
        if constexpr (kFeatures) {
          transform_scores<T>(scores, params.score, rows, key_first, mask.s_k, mask.diagonal, thread % 32);
          if (cut) apply_mask(scores, mask, key_first, thread % 32, [&](int i, int h) { return rows.query[i][h]; });
        } else {
          apply_mask(scores, mask, Traits::warp_row(thread), key_first, thread % 32);
        }
      }
      softmax.update(scores, output, scale_log2);
      if constexpr (kFeatures) {
        if (params.score.dropout_threshold > 0) drop_out(scores, params.score, rows, key_first, lane);
      }
      if constexpr (kIsF32<T>) {
        multiply_power_value_f32<Traits>(output, scores, v_address, params.d_v);
      } else {
        multiply_power_value<Traits>(output, scores, v_address, params.d_v);
      }
      if (remaining == 0) break;

      // The next K is here, and V has been read by all: the next V comes in under Q K^T.
      --remaining;
      wait_for_copies();
      __syncthreads();
      v_loader.load();
      commit_copies();
    }
  }
  store_output<Traits>(params, output, softmax, typename Traits::OutTile{q_tile.base});
}

}  // namespace llm_kernels

// Name, element type, head dims of q and v, kBlockM, kBlockN, features, blocks per multiprocessor, dynamic shared bytes.
// All have 4 warps.
#define FLASH_FORWARD_INSTANCE(NAME, T, D, DV, M, N, FEATURES, BLOCKS, SHARED)                                          \
  static_assert(llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, FEATURES>::kSharedBytes == SHARED,      \
                "mirrored in Rust");                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, BLOCKS)                                                           \
      NAME(const __grid_constant__ llm_kernels::FlashForwardParams params) {                                          \
    llm_kernels::flash_forward<llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, FEATURES>>(params);      \
  }

FLASH_FORWARD_INSTANCE(flash_forward_f16_d64, f16, 64, 64, 128, 128, false, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d128, f16, 128, 128, 128, 64, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d192_128, f16, 192, 128, 128, 64, false, 2, 90128)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d256, f16, 256, 256, 64, 32, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d64, bf16, 64, 64, 128, 128, false, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d128, bf16, 128, 128, 128, 64, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d192_128, bf16, 192, 128, 128, 64, false, 2, 90128)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d256, bf16, 256, 256, 64, 32, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d64, f16, 64, 64, 64, 64, true, 2, 24592)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d128, f16, 128, 128, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d256, f16, 256, 256, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d64, bf16, 64, 64, 64, 64, true, 2, 24592)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d128, bf16, 128, 128, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d256, bf16, 256, 256, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d64, f32, 64, 64, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d128, f32, 128, 128, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d256, f32, 256, 256, 64, 16, true, 1, 98320)
