// Exact attention, backward: d_q, d_k, d_v of out = dropout(softmax(score(scale * q k^T))) v, recomputed from lse.
//
//   q, d_q: [b, s_q, h_q, d]   k, d_k: [b, s_k, h_kv, d]   v, d_v: [b, s_k, h_kv, d_v]   out, d_out: [b, s_q, h_q, d_v]
//   lse: [b, h_q, s_q] f32   sinks, d_sinks: [h_q] f32   d_bias: [b or 1, h_q or 1, s_q, s_k] f32
//   With cu_seqlens [total_q, ...], [total_k, ...] and [h_q, total_q], as in the forward pass.
//
// Kernels: statistics: lse in base 2 and delta = sum of out * d_out. main: a block owns kBlockN keys of a kv head and
// visits the tiles of kBlockM queries that see them, in each of its query heads; scores lie transposed, keys by queries, so
// that d_k and d_v stay in registers of the warp that owns the keys; d_q is summed in global memory, key tile after key
// tile. finish: sums to results. sinks: sums of statistics to d_sinks.
// Accumulation: f32; powers and d_scores are rounded to the element type. All sums have one order. Elements of f32 are
// multiplied in parts: attention/backward_products_f32.cuh.
// Derivation, workspace and counts: src/attention/flash_backward/README.md
#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "attention/backward_block.cuh"
#include "attention/backward_load.cuh"
#include "attention/backward_products_f32.cuh"
#include "attention/backward_store.cuh"
#include "attention/row_statistics.cuh"
#include "common/mask.cuh"
#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/score_transposed.cuh"
#include "common/shared_tile.cuh"
#include "common/slab.cuh"
#include "common/turns.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// The keys of a block, and who sees them. It goes through shared memory: read back where it is needed, it costs no registers
// in a loop.
template <typename Traits>
struct BlockKeys {
  KeyMask mask;
  int tile;

  __device__ __forceinline__ void store(uint32_t shared) const {
    ptx::st_shared_16(shared, {static_cast<uint32_t>(mask.s_k), static_cast<uint32_t>(mask.diagonal),
                               static_cast<uint32_t>(mask.prefix), static_cast<uint32_t>(tile)});
  }
  static __device__ __forceinline__ BlockKeys load(const FlashBackwardParams& params, uint32_t shared) {
    const uint4 stored = ptx::ld_shared_16(shared);
    const int s_k = stored.x, diagonal = stored.y;
    const int prefix = Traits::kFeatures ? static_cast<int>(stored.z) : KeyMask::kNoPrefix;
    return {KeyMask(s_k - diagonal, s_k, params.window_left, params.window_right, prefix), static_cast<int>(stored.w)};
  }

  // How many key tiles that see the query tile come before.
  __device__ __forceinline__ int turn(int query_tile) const {
    return tile - static_cast<int>(static_cast<unsigned>(mask.begin(query_tile * Traits::kBlockM)) / Traits::kBlockN);
  }
};

// One work of a block: the keys of one kv head.
template <typename Traits>
__device__ __forceinline__ void flash_backward(const FlashBackwardParams& params, int work, uint32_t shared) {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  using KTile = typename Traits::KTile;
  using ScoreTile = typename Traits::ScoreTile;
  constexpr int kRowTiles = Traits::kRowTiles;
  constexpr int kScoreTiles = Traits::kScoreQueries / 8;
  constexpr bool kFeatures = Traits::kFeatures, kSingle = Traits::kSingle;
  const KTile k_tile{shared};
  const KTile v_tile{k_tile.base + KTile::kBytes};
  const uint32_t stages = v_tile.base + KTile::kBytes;
  const ScoreTile d_score_tile{stages + Traits::kStages * Traits::kStageBytes};
  const ScoreTile power_tile{d_score_tile.base + ScoreTile::kBytes};  // Only where warps share columns.
  const uint32_t addresses = d_score_tile.base + Traits::kScoreTiles * ScoreTile::kBytes;
  const uint32_t coordinates = addresses + Traits::kAddressBytes;
  const uint32_t block_keys = coordinates + 16;
  const uint32_t head_slot = coordinates + 32;

  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const unsigned warp = thread / 32;
  const auto load_block = [&] { return BackwardBlock::load(params, coordinates, kFeatures ? work : 0); };
  const BackwardBlock block = load_block();
  const Sequence queries = params.queries.at(block.batch);
  const Sequence keys = params.keys.at(block.batch);
  const int key_first = block.key_tile * Traits::kBlockN;
  const bool has_prefix = kFeatures && params.score.prefix != nullptr;
  const int prefix = has_prefix ? max(0, ptx::ld_global_4(params.score.prefix + block.batch)) : KeyMask::kNoPrefix;
  const KeyMask mask(queries.length, keys.length, params.window_left, params.window_right, prefix);
  QueryTiles<Traits::kBlockM> tiles(mask, key_first, Traits::kBlockN);
  // The grid is made for the longest sequence.
  if (key_first >= keys.length) tiles.first = 0, tiles.last = -1;
  if constexpr (kFeatures) {
    if (params.d_bias.data != nullptr) clear_bias_gradient<Traits>(params, block, tiles);
  }
  if (key_first >= keys.length) return;
  float d_k[kRowTiles][Traits::kColumns / 8][4] = {};
  float d_v[kRowTiles][Traits::kColumns / 8][4] = {};

  const int warp_row = warp / Traits::kColumnWarps * Traits::kWarpKeys;
  const int column_warp = warp % Traits::kColumnWarps;
  const uint32_t k_address = k_tile.ldmatrix_address(lane) + warp_row * 128;
  const uint32_t q_address = transposed_operand_address<T>(QTile{stages}, lane) + column_warp * Traits::kScoreQueries * 128;
  const uint32_t q_by_column = QTile::block_address(QTile{stages}.ldmatrix_address(lane), 0,
                                                    column_warp * (Traits::kColumns / 16));
  // What is used only now and then waits in shared memory, as registers are short in the loop: where this lane stores
  // d_scores and loads them, and where it loads k's columns of this warp.
  if constexpr (!kSingle) {
    const uint32_t d_score_store = d_score_tile.chunk_address(warp_row + lane / 4, column_warp * kScoreTiles) +
                                   lane % 4 * 4;
    const uint32_t k_by_column = KTile::block_address(k_tile.ldmatrix_address(lane), 0,
                                                      warp * (Traits::kQueryColumns / 16));
    ptx::st_shared_16(addresses + thread * 16, {d_score_store, d_score_tile.ldmatrix_address_n_by_k(lane), k_by_column,
                                                0});
  }

  // All have read what the work before has left in shared memory.
  if (kFeatures) __syncthreads();
  if (thread == 0) BlockKeys<Traits>{mask, block.key_tile}.store(block_keys);
  // Up to which tile of queries there is the sum of the key tiles before: the last that a key tile visits grows with the
  // key.
  const int sum_last =
      key_first == 0 ? -1 : QueryTiles<Traits::kBlockM>(mask, key_first - Traits::kBlockN, Traits::kBlockN).last;
  if (thread == 0) {
    // The first half changes with the head, while others may read the second.
    ptx::st_shared_16(head_slot, {0, static_cast<uint32_t>(tiles.last), static_cast<uint32_t>(tiles.last),
                                  static_cast<uint32_t>(sum_last)});
  }
  const bool has_queries = tiles.first <= tiles.last && params.heads_per_part > 0;
  if (has_queries) {
    const int position = keys.begin + key_first, valid_rows = keys.length - key_first;
    load_keys<Traits>(k_tile, params.k, block.batch, block.kv_head, position, valid_rows, params.d, thread);
    load_keys<Traits>(v_tile, params.v, block.batch, block.kv_head, position, valid_rows, params.value_d, thread);
  }
  __syncthreads();
#pragma unroll 1
  for (int head_of_part = 0; has_queries && head_of_part < params.heads_per_part; ++head_of_part) {
    const BackwardBlock block = load_block();
    const unsigned thread = ptx::thread_index();
    const int head = block.first_head(params) + head_of_part;
    const Sequence queries = params.queries.at(block.batch);
    const int tile_last = ptx::ld_shared_8(head_slot + 8).x;
    const int query_last = tile_last * Traits::kBlockM;
    const int64_t first_slot = static_cast<int64_t>(head) * params.query_tiles +
                               first_tile(params.queries, block.batch, Traits::kBlockM);
    QueryLoader<Traits> loader(params, block.batch, head, queries.begin + query_last, first_slot + tile_last);
    if (thread == 0) ptx::st_shared_4(head_slot, first_slot);
    loader.template load<true>(params, stages + Traits::stage_offset(tile_last), queries.length - query_last);
    commit_copies();
    float* d_q = params.d_q_slabs + slab_tile(first_slot + tile_last, Traits::kBlockM, Traits::kHeadDim) +
                 Traits::query_offset(thread);
#pragma unroll 1
    for (int tile = tile_last; tile >= tiles.first; --tile) {
      wait_for_copies();
      if (ptx::thread_index() == 0) {
        const uint32_t slot = ptx::ld_shared_16(head_slot).x + tile;
        wait_for_turn(params.turns + slot, BlockKeys<Traits>::load(params, block_keys).turn(tile));
      }
      __syncthreads();
      // The tile is here, and it is this block's turn to add to its sum. The tile before has been read, and its sum stored,
      // by all.
      if (ptx::thread_index() == 0) {
        const uint4 head = ptx::ld_shared_16(head_slot);
        if (tile < static_cast<int>(head.y)) pass_turn(params.turns + head.x + tile + 1);
      }
      const auto load_next = [&] {
        if (tile > tiles.first) loader.template load<false>(params, stages + Traits::stage_offset(tile - 1), 0);
        commit_copies();
      };
      const uint32_t stage = Traits::stage_offset(tile);
      if (Traits::kStages > 1) load_next();

      // Powers, then d_scores: transposed, rows are keys.
      float powers[kRowTiles][kScoreTiles][4], d_scores[kRowTiles][kScoreTiles][4];
      float initial[kScoreTiles][4] = {};
      multiply_tiles<Traits>(powers, k_address, q_address + stage, initial, kFeatures ? params.d : Traits::kHeadDim);
      float slopes[kRowTiles][kScoreTiles][4];
      ScoreColumns columns;
      if constexpr (kFeatures) {
        const unsigned thread = ptx::thread_index();
        const BackwardBlock block = load_block();
        const KeyMask mask = BlockKeys<Traits>::load(params, block_keys).mask;
        columns = {block.batch,
                   block.first_head(params) + head_of_part,
                   static_cast<int>(block.key_tile * Traits::kBlockN + thread / 32 / Traits::kColumnWarps * Traits::kWarpKeys),
                   mask.s_k,
                   static_cast<int>(tile * Traits::kBlockM + thread / 32 % Traits::kColumnWarps * Traits::kScoreQueries),
                   mask.s_k - mask.diagonal};
        transform_transposed<T>(powers, slopes, params.score, columns, thread % 32);
      }
      const uint32_t statistics = stages + 2 * QTile::kBytes + stage + column_warp * Traits::kScoreQueries * 8 +
                                  lane % 4 * 16;
      const float exponent_scale = kFeatures ? params.score.exponent_scale() : params.score.scale_log2;
      // Of f32 the exponent is natural until the logarithm has been subtracted: what is small then loses less.
      const float scale = params.score.only_scales() ? params.scale : CUDART_LN2_F;
#pragma unroll
      for (int j = 0; j < kScoreTiles; ++j) {
        const uint4 pair = ptx::ld_shared_16(statistics + j * 64);
        const float lse[2] = {__uint_as_float(pair.x), __uint_as_float(pair.z)};
        const float delta[2] = {__uint_as_float(pair.y), __uint_as_float(pair.w)};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          initial[j][e] = delta[e % 2];
#pragma unroll
          for (int i = 0; i < kRowTiles; ++i) {
            powers[i][j][e] =
                kSingle ? ptx::ex2_approx_ftz(__fmaf_rn(powers[i][j][e], scale, lse[e % 2]) * kLog2E)
                        : ptx::ex2_approx_ftz(__fmaf_rn(powers[i][j][e], exponent_scale, lse[e % 2]));
          }
        }
      }
      if (!tiles.is_full(tile)) {
        const BlockKeys<Traits> keys = BlockKeys<Traits>::load(params, block_keys);
        apply_mask_to_powers(powers, keys.mask, keys.tile * Traits::kBlockN + warp_row,
                             tile * Traits::kBlockM + column_warp * Traits::kScoreQueries, ptx::thread_index() % 32);
      }
      multiply_tiles<Traits, KTile::kBytes, QTile::kBytes>(d_scores, k_address, q_address + stage, initial,
                                                           kFeatures ? params.value_d : Traits::kHeadDim);
      if (kFeatures && params.score.dropout_threshold > 0) {
        drop_out_transposed(d_scores, powers, initial, params.score, columns, ptx::thread_index() % 32);
      } else {
        multiply_elements(d_scores, powers);
      }
      if constexpr (kFeatures) {
        if (params.d_bias.data != nullptr) {
          store_bias_gradient(d_scores, params.d_bias, columns, params.queries.longest, params.keys.longest,
                              sums_bias_gradient(params), ptx::thread_index() % 32);
        }
        if (params.score.softcap_log2 > 0.0f) multiply_elements(d_scores, slopes);
      }

      if constexpr (kSingle) {
        const bool exists = tile <= static_cast<int>(ptx::ld_shared_8(head_slot + 8).y);
        add_products_f32<Traits>(d_k, d_v, d_q, exists, powers, d_scores, k_tile, QTile{stages + stage}, d_score_tile,
                                 params.d, params.value_d, load_next);
      } else {
        // Rounded, they are operands of the products with d_out and q as they are, where a warp has all queries of its
        // keys. The product with k needs every key: it goes through shared memory.
        FragmentA p[kRowTiles][kScoreTiles / 2], d_s[kRowTiles][kScoreTiles / 2];
        convert<T>(p, powers);
        convert<T>(d_s, d_scores);
        const uint4 own = ptx::ld_shared_16(addresses + ptx::thread_index() * 16);
        store_fragments<ScoreTile>(own.x, d_s);
        const int key_columns = kFeatures ? params.d - column_warp * Traits::kColumns : Traits::kColumns;
        const int value_columns = kFeatures ? params.value_d - column_warp * Traits::kColumns : Traits::kColumns;
        float partial[Traits::kBlockM / 16][Traits::kQueryColumns / Traits::kQuerySteps / 8][4];
        // Features: whether the step's columns exist.
        const auto has_columns = [&](int step) {
          return !kFeatures || static_cast<int>(ptx::thread_index() / 32 * Traits::kQueryColumns) + step * 32 < params.d;
        };
        const auto load_partial = [&](int step) {
          if (!has_columns(step)) return;
          const bool exists = tile <= static_cast<int>(ptx::ld_shared_8(head_slot + 8).y);
          load_slab<Traits::kHeadDim>(partial, d_q + slab_offset(0, step * 4, Traits::kHeadDim, 0), exists);
        };
        const auto multiply_keys = [&](int step) {
          if (!has_columns(step)) return;
#pragma unroll
          for (int depth = 0; depth < Traits::kBlockN / 16; ++depth) {
            FragmentA a[Traits::kBlockM / 16][1];
#pragma unroll
            for (int i = 0; i < Traits::kBlockM / 16; ++i) {
              a[i][0].load_k_by_m(ScoreTile::block_address(own.y, depth, i));
            }
            multiply<T, KTile>(partial, a, KTile::block_address(own.z, depth, step * 2));
          }
          store_slab<Traits::kHeadDim>(d_q + slab_offset(0, step * 4, Traits::kHeadDim, 0), partial);
        };
        if constexpr (Traits::kColumnWarps == 1) {
          load_partial(0);
          multiply<T, QTile, QTile::kBytes>(d_v, p, q_by_column + stage, value_columns);
          __syncthreads();
          multiply_keys(0);
          multiply<T, QTile>(d_k, d_s, q_by_column + stage, key_columns);
        } else {
          store_fragments<ScoreTile>(own.x + ScoreTile::kBytes, p);
          __syncthreads();
          FragmentA all[kRowTiles][Traits::kBlockM / 16];
          load_fragments(all, power_tile, warp_row, lane);
          multiply<T, QTile, QTile::kBytes>(d_v, all, q_by_column + stage, value_columns);
          load_fragments(all, d_score_tile, warp_row, lane);
          multiply<T, QTile>(d_k, all, q_by_column + stage, key_columns);
          if (Traits::kStages == 1) __syncthreads();
          if (Traits::kStages == 1) load_next();
#pragma unroll 1
          for (int step = 0; step < Traits::kQuerySteps; ++step) {
            load_partial(step);
            multiply_keys(step);
          }
        }
      }
      d_q -= slab_tile(1, Traits::kBlockM, Traits::kHeadDim);
    }
    __syncthreads();
    if (ptx::thread_index() == 0) pass_turn(params.turns + ptx::ld_shared_16(head_slot).x + tiles.first);
  }
  wait_for_copies();

  const BackwardBlock last_block = load_block();
  const float v_scale = kFeatures ? params.score.dropout_scale : 1.0f;
  store_keys<Traits>(params, last_block, params.d_k, params.d_k_slabs, params.scale, k_tile, params.d, d_k);
  store_keys<Traits>(params, last_block, params.d_v, params.d_v_slabs, v_scale, v_tile, params.value_d, d_v);
}

template <typename Traits>
__device__ __forceinline__ void flash_backward(const FlashBackwardParams& params) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t shared = ptx::shared_address(shared_memory);
  if (ptx::thread_index() == 0) {
    BackwardBlock::take(params, shared + Traits::kSharedBytes - BackwardBlock::kStoredBytes);
  }
  __syncthreads();
  const int num_works = Traits::kFeatures ? params.block_batches * params.block_kv_heads : 1;
#pragma unroll 1
  for (int work = 0; work < num_works; ++work) flash_backward<Traits>(params, work, shared);
}

}  // namespace llm_kernels

// Name, element type, head dim, kBlockM, kBlockN, warps over keys and over columns, stages, features, blocks per
// multiprocessor, dynamic shared bytes.
#define FLASH_BACKWARD_INSTANCE(NAME, T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, FEATURES, BLOCKS, SHARED)          \
  using NAME##_traits =                                                                                               \
      llm_kernels::FlashBackwardTraits<llm_kernels::T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, FEATURES>;           \
  static_assert(NAME##_traits::kSharedBytes == SHARED, "mirrored in Rust");                                           \
  extern "C" __global__ void __launch_bounds__(KEY_WARPS * COLUMN_WARPS * 32, BLOCKS)                                 \
      NAME(const __grid_constant__ llm_kernels::FlashBackwardParams params) {                                         \
    llm_kernels::flash_backward<NAME##_traits>(params);                                                               \
  }

FLASH_BACKWARD_INSTANCE(flash_backward_f16_d64, f16, 64, 32, 128, 4, 1, 2, false, 2, 59952)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d128, f16, 128, 32, 64, 4, 1, 2, false, 2, 72240)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d256, f16, 256, 32, 32, 2, 2, 1, false, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d64, bf16, 64, 32, 128, 4, 1, 2, false, 2, 59952)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d128, bf16, 128, 32, 64, 4, 1, 2, false, 2, 72240)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, false, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d64, f16, 64, 32, 64, 4, 1, 2, true, 2, 39472)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d128, f16, 128, 32, 64, 4, 2, 2, true, 1, 78384)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d256, f16, 256, 32, 32, 2, 2, 1, true, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d64, bf16, 64, 32, 64, 4, 1, 2, true, 2, 39472)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d128, bf16, 128, 32, 64, 4, 2, 2, true, 1, 78384)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, true, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d64, f32, 64, 32, 64, 2, 2, 2, true, 2, 74288)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d128, f32, 128, 32, 32, 2, 2, 1, true, 2, 69936)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d256, f32, 256, 32, 16, 1, 4, 1, true, 1, 100656)

// Kernel, name, parameters, threads.
#define FLASH_BACKWARD_END(KERNEL, NAME, PARAMS, THREADS)                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ llm_kernels::PARAMS params) {    \
    llm_kernels::KERNEL(params);                                                                                      \
  }

FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::f16>, flash_backward_statistics_f16, row_statistics::Params, 128)
FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::bf16>, flash_backward_statistics_bf16, row_statistics::Params, 128)
FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::f32>, flash_backward_statistics_f32, row_statistics::Params, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::f16>, flash_backward_finish_f16, SlabSumParams, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::bf16>, flash_backward_finish_bf16, SlabSumParams, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::f32>, flash_backward_finish_f32, SlabSumParams, 128)
FLASH_BACKWARD_END(row_statistics::sum_sinks, flash_backward_sinks, row_statistics::SinkSumParams, 32)
