// The keys of a block of the backward pass, and the tiles of queries that it visits where windows say which.
#pragma once

#include <cstdint>

#include "attention/backward_block.cuh"
#include "attention/backward_load.cuh"
#include "attention/backward_store.cuh"
#include "common/mask.cuh"
#include "common/slab.cuh"
#include "common/turns.cuh"

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

// All tiles of a head's queries that a window lets see the keys, one above the other: a walk from last to first.
template <typename Traits>
struct WindowedWalk {
  using Tiles = QueryTiles<Traits::kBlockM>;

  const FlashBackwardParams& params;
  const Tiles& tiles;
  uint32_t head_slot;
  int tile;
  QueryLoader<Traits> loader;
  float* d_q;

  // `first_slot` is the number of the sequence's first tile of queries among all of the head.
  __device__ __forceinline__ WindowedWalk(const FlashBackwardParams& params, const Tiles& tiles, uint32_t head_slot,
                                          const BackwardBlock& block, int head, Sequence queries, int64_t first_slot)
      : params(params),
        tiles(tiles),
        head_slot(head_slot),
        tile(ptx::ld_shared_8(head_slot + 8).x),
        loader(params, block.batch, head, queries.begin + tile * Traits::kBlockM, first_slot + tile),
        d_q(params.d_q_slabs + slab_tile(first_slot + tile, Traits::kBlockM, Traits::kHeadDim) +
            Traits::query_offset(ptx::thread_index())) {
    if (ptx::thread_index() == 0) ptx::st_shared_4(head_slot, first_slot);
  }

  __device__ __forceinline__ bool is_empty() const { return false; }
  __device__ __forceinline__ bool has_next() const { return tile > tiles.first; }
  __device__ __forceinline__ void look_ahead() {}
  __device__ __forceinline__ void advance() {
    --tile;
    d_q -= slab_tile(1, Traits::kBlockM, Traits::kHeadDim);
  }
  __device__ __forceinline__ uint32_t stage() const { return Traits::stage_offset(tile); }
  __device__ __forceinline__ float* sums() const { return d_q; }
  // Whether key tiles before have added to the sums.
  __device__ __forceinline__ bool has_sums() const {
    return tile <= static_cast<int>(ptx::ld_shared_8(head_slot + 8).y);
  }

  __device__ __forceinline__ void load_first(uint32_t stages, int s_q) {
    loader.template load<true>(params, stages + stage(), s_q - tile * Traits::kBlockM);
  }
  __device__ __forceinline__ void load_next(uint32_t stages) {
    if (has_next()) loader.template load<false>(params, stages + Traits::stage_offset(tile - 1), 0);
  }

  // One thread: until it is this block's turn; that the tile before is done, and the last one.
  __device__ __forceinline__ void wait(uint32_t block_keys) const {
    const uint32_t slot = ptx::ld_shared_16(head_slot).x + tile;
    wait_for_turn(params.turns + slot, BlockKeys<Traits>::load(params, block_keys).turn(tile));
  }
  __device__ __forceinline__ void pass() const {
    const uint4 head = ptx::ld_shared_16(head_slot);
    if (tile < static_cast<int>(head.y)) pass_turn(params.turns + head.x + tile + 1);
  }
  __device__ __forceinline__ void pass_last() const {
    pass_turn(params.turns + ptx::ld_shared_16(head_slot).x + tiles.first);
  }

  // Sets the powers of unseen keys to 0; rows are keys from `row` of the block's on, columns queries from `column` of the
  // tile's on.
  template <int kRowTiles, int kColumnTiles>
  __device__ __forceinline__ void hide_unseen(float (&powers)[kRowTiles][kColumnTiles][4], uint32_t block_keys, int row,
                                              int column) const {
    if (tiles.is_full(tile)) return;
    const BlockKeys<Traits> keys = BlockKeys<Traits>::load(params, block_keys);
    apply_mask_to_powers(powers, keys.mask, keys.tile * Traits::kBlockN + row, tile * Traits::kBlockM + column,
                         ptx::thread_index() % 32);
  }
};

// Where windows say which queries see a block's keys.
template <typename Traits>
struct WindowedQueries {
  struct Layout {};  // Parameters say it all.

  const FlashBackwardParams& params;
  QueryTiles<Traits::kBlockM> tiles;

  static __device__ __forceinline__ KeyMask mask(const FlashBackwardParams& params, int s_q, int s_k, int prefix) {
    return KeyMask(s_q, s_k, params.window_left, params.window_right, prefix);
  }

  __device__ __forceinline__ WindowedQueries(const FlashBackwardParams& params, const Layout&, const KeyMask& mask,
                                             int key_first)
      : params(params), tiles(mask, key_first, Traits::kBlockN) {
    // The grid is made for the longest sequence.
    if (key_first >= mask.s_k) tiles.first = 0, tiles.last = -1;
  }

  __device__ __forceinline__ bool any() const { return tiles.first <= tiles.last; }

  // One thread, before the heads.
  __device__ __forceinline__ void begin(uint32_t head_slot, const KeyMask& mask, int key_first) const {
    // Up to which tile of queries there is the sum of the key tiles before: the last that a key tile visits grows with the
    // key.
    const int sum_last =
        key_first == 0 ? -1 : QueryTiles<Traits::kBlockM>(mask, key_first - Traits::kBlockN, Traits::kBlockN).last;
    // The first half changes with the head, while others may read the second.
    ptx::st_shared_16(head_slot, {0, static_cast<uint32_t>(tiles.last), static_cast<uint32_t>(tiles.last),
                                  static_cast<uint32_t>(sum_last)});
  }

  __device__ __forceinline__ WindowedWalk<Traits> walk(uint32_t head_slot, uint32_t, const BackwardBlock& block, int head,
                                                       Sequence queries, int64_t first_slot) const {
    return WindowedWalk<Traits>(params, tiles, head_slot, block, head, queries, first_slot);
  }
};

}  // namespace llm_kernels
