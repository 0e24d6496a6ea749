// What the backward pass writes of keys, and of the bias where nobody else does.
#pragma once

#include <cstdint>

#include "attention/backward_block.cuh"
#include "common/chunk_store.cuh"
#include "common/mask.cuh"
#include "common/score_transposed.cuh"
#include "common/slab.cuh"
#include "common/staged_store.cuh"

namespace llm_kernels {

// Writes this warp's rows and columns of d_k or d_v, staged in `tile`; or its block's part of them to a slab.
template <typename Traits>
__device__ __forceinline__ void store_keys(const FlashBackwardParams& params, const BackwardBlock& block,
                                           const SequenceTensor& tensor, float* slabs, float scale,
                                           typename Traits::KTile tile, int columns,
                                           const float (&gradient)[Traits::kRowTiles][Traits::kColumns / 8][4]) {
  using T = typename Traits::T;
  const unsigned thread = ptx::thread_index();
  const int warp_row = thread / 32 / Traits::kColumnWarps * Traits::kWarpKeys;
  const int column = thread / 32 % Traits::kColumnWarps * Traits::kColumns;
  if (params.num_parts == 1) {
    const Sequence keys = params.keys.at(block.batch);
    const int key = block.key_tile * Traits::kBlockN + warp_row;
    T* rows = tensor.row<T>(block.batch, keys.begin + key, block.kv_head) + column;
    if constexpr (kIsF32<T>) {
      store_chunks(rows, tensor.sequence_stride, keys.length - key, scale, gradient, columns - column);
    } else {
      store_staged(rows, tensor.sequence_stride, keys.length - key, scale, gradient,
                   typename Traits::KTile{tile.base + column / 64 * Traits::KTile::kPanelBytes}, warp_row,
                   Traits::kFeatures ? columns - column : Traits::kColumns);
    }
  } else {
    const int64_t slot = (static_cast<int64_t>(block.part) * params.h_kv + block.kv_head) * params.key_tiles +
                         first_tile(params.keys, block.batch, Traits::kBlockN) + block.key_tile;
    store_slab<Traits::kHeadDim>(slabs + slab_tile(slot, Traits::kBlockN, Traits::kHeadDim) +
                                     slab_offset(warp_row / 16, column / 8, Traits::kHeadDim, thread % 32),
                                 gradient);
  }
}

// Whether d_bias is a sum over batches or heads.
__device__ __forceinline__ bool sums_bias_gradient(const FlashBackwardParams& params) {
  return params.block_batches > 1 || params.block_kv_heads > 1 ||
         (params.d_bias.head_stride == 0 && params.heads_per_part > 1);
}

// Sets to 0 what no tile of queries of this work adds to of d_bias, or all of it that is summed over batches or heads.
template <typename Traits>
__device__ __forceinline__ void clear_bias_gradient(const FlashBackwardParams& params, const BackwardBlock& block,
                                                    const QueryTiles<Traits::kBlockM>& tiles) {
  const bool sums = sums_bias_gradient(params);
  const bool first = (params.d_bias.batch_stride != 0 || block.batch == 0) &&
                     (params.d_bias.head_stride != 0 || block.kv_head == 0);
  if (sums && !first) return;
  const int num_heads = params.d_bias.head_stride == 0 ? 1 : params.heads_per_part;
  for (int head = 0; head < num_heads; ++head) {
    clear_bias_gradient(params.d_bias, block.batch, block.first_head(params) + head, block.key_tile * Traits::kBlockN,
                        Traits::kBlockN, params.queries.longest, params.keys.longest, tiles.first * Traits::kBlockM,
                        sums ? 0 : (tiles.last - tiles.first + 1) * Traits::kBlockM, ptx::thread_index(),
                        Traits::kThreads);
  }
}

}  // namespace llm_kernels
