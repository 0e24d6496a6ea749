// The loop of attention backward over tiles of queries, for kernels that differ in which of them they visit.
#pragma once

#include <math_constants.h>

#include <cstdint>

#include "attention/backward_products.cuh"
#include "attention/backward_products_f32.cuh"
#include "attention/backward_walk.cuh"
#include "common/pipeline.cuh"
#include "common/score_transposed.cuh"

namespace llm_kernels {

// One work of a block: the keys of one kv head. `Source` says which tiles of queries it visits, and what of them sees a key.
template <typename Traits, typename Source>
__device__ __forceinline__ void flash_backward(const FlashBackwardParams& params, int work, uint32_t shared,
                                               const typename Source::Layout& layout) {
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
  const KeyMask mask = Source::mask(params, queries.length, keys.length, prefix);
  const Source source(params, layout, mask, key_first);
  if constexpr (kFeatures) {
    if (params.d_bias.data != nullptr) clear_bias_gradient<Traits>(params, block, source.tiles);
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
  if (thread == 0) source.begin(head_slot, mask, key_first);
  const bool has_queries = source.any() && params.heads_per_part > 0;
  if (has_queries) {
    const int position = keys.begin + key_first, valid_rows = keys.length - key_first;
    load_keys<Traits>(k_tile, params.k, block.batch, block.kv_head, position, valid_rows, params.d, thread);
    load_keys<Traits>(v_tile, params.v, block.batch, block.kv_head, position, valid_rows, params.value_d, thread);
  }
  __syncthreads();
#pragma unroll 1
  for (int head_of_part = 0; has_queries && head_of_part < params.heads_per_part; ++head_of_part) {
    const BackwardBlock block = load_block();
    const int head = block.first_head(params) + head_of_part;
    const Sequence queries = params.queries.at(block.batch);
    const int64_t first_slot = static_cast<int64_t>(head) * params.query_tiles +
                               first_tile(params.queries, block.batch, Traits::kBlockM);
    auto walk = source.walk(head_slot, coordinates, block, head, queries, first_slot);
    if (walk.is_empty()) continue;
    walk.load_first(stages, queries.length);
    commit_copies();
#pragma unroll 1
    while (true) {
      wait_for_copies();
      if (ptx::thread_index() == 0) walk.wait(block_keys);
      __syncthreads();
      // The tile is here, and it is this block's turn to add to its sum. The tile before has been read, and its sum stored,
      // by all.
      if (ptx::thread_index() == 0) walk.pass();
      walk.look_ahead();
      const auto load_next = [&] {
        walk.load_next(stages);
        commit_copies();
      };
      const uint32_t stage = walk.stage();
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
                   static_cast<int>(walk.tile * Traits::kBlockM + thread / 32 % Traits::kColumnWarps * Traits::kScoreQueries),
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
      walk.hide_unseen(powers, block_keys, warp_row, column_warp * Traits::kScoreQueries);
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
        add_products_f32<Traits>(d_k, d_v, walk.sums(), walk.has_sums(), powers, d_scores, k_tile, QTile{stages + stage},
                                 d_score_tile, params.d, params.value_d, load_next);
      } else {
        add_products<Traits>(d_k, d_v, walk.sums(), [&] { return walk.has_sums(); }, powers, d_scores, q_by_column + stage,
                             d_score_tile, addresses, lane, warp_row, column_warp, params.d, params.value_d, load_next);
      }
      if (!walk.has_next()) break;
      walk.advance();
    }
    __syncthreads();
    if (ptx::thread_index() == 0) walk.pass_last();
  }
  // Keys may have come in for nobody.
  commit_copies();
  wait_for_copies();
  __syncthreads();
  const BackwardBlock last_block = load_block();
  const float v_scale = kFeatures ? params.score.dropout_scale : 1.0f;
  store_keys<Traits>(params, last_block, params.d_k, params.d_k_slabs, params.scale, k_tile, params.d, d_k);
  store_keys<Traits>(params, last_block, params.d_v, params.d_v_slabs, v_scale, v_tile, params.value_d, d_v);
}

template <typename Traits, typename Source>
__device__ __forceinline__ void flash_backward(const FlashBackwardParams& params,
                                               const typename Source::Layout& layout) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t shared = ptx::shared_address(shared_memory);
  if (ptx::thread_index() == 0) {
    BackwardBlock::take(params, shared + Traits::kSharedBytes - BackwardBlock::kStoredBytes);
  }
  __syncthreads();
  const int num_works = Traits::kFeatures ? params.block_batches * params.block_kv_heads : 1;
#pragma unroll 1
  for (int work = 0; work < num_works; ++work) flash_backward<Traits, Source>(params, work, shared, layout);
}

}  // namespace llm_kernels
