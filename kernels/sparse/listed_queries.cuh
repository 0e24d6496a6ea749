// The tiles of queries that a layout lists for a block of keys. In memory: sparse/block_layout.cuh.
#pragma once

#include <cstdint>

#include "attention/backward_walk.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "sparse/block_layout.cuh"

namespace llm_kernels {

// A walk over a head's listed tiles, from last to first, in tiles of kBlockM queries. Tiles fall whatever the list holds,
// and lie within the sequence. At `head_slot` lie what one thread alone needs: the first slot, the tile before, the pattern.
template <typename Traits>
struct ListedWalk {
  static constexpr int kBlockM = Traits::kBlockM;
  static_assert(Traits::kRowTiles == 1 && kBlockM == 32, "a warp's keys lie in one word of bits, a tile's queries in a row");

  const FlashBackwardParams& params;
  const BlockLayoutParams& layout;
  uint32_t head_slot, coordinates;
  int head;
  int first, place;   // Among all tiles by columns, counted in tiles of kBlockM: the column's first, this one.
  int current, next;  // Tile * 4, 2 if its row begins with it, and 1 if some of it is hidden; below 0: none.
  int tile;

  __device__ __forceinline__ ListedWalk(const FlashBackwardParams& params, const BlockLayoutParams& layout,
                                        uint32_t head_slot, uint32_t coordinates, int key_tile, int head, int s_q,
                                        int64_t first_slot)
      : params(params),
        layout(layout),
        head_slot(head_slot),
        coordinates(coordinates),
        head(head),
        first(0),
        place(0),
        current(-1),
        next(-1),
        tile(0) {
    const int pattern = layout.pattern(head);
    if (ptx::thread_index() == 0) {
      ptx::st_shared_16(head_slot, {static_cast<uint32_t>(first_slot), ~0u, static_cast<uint32_t>(pattern), 0});
    }
    const int column = min(key_tile >> layout.k_steps_log2, layout.key_tiles - 1);
    const int2 range = layout.range(layout.words + layout.columns_at +
                                    (static_cast<int64_t>(pattern) * (layout.key_tiles + 1) + column));
    first = range.x << layout.q_steps_log2;
    // What begins within the sequence.
    const int end = layout.end_of<2>(range, layout.rows_at, (s_q - 1) >> layout.tile_q_log2);
    if (end <= range.x || s_q == 0) return;
    const int last = (s_q - 1) / kBlockM;
    const unsigned word = ptx::ld_global_4(layout.words + layout.rows_at + end - 1);
    const int split = min(layout.q_last_step, max(0, last - static_cast<int>(word >> 2 << layout.q_steps_log2)));
    place = (end - 1 << layout.q_steps_log2) + split;
    current = min(packed(word, split), last * 4 + 3);
    tile = current >> 2;
  }

  // Not below 0.
  __device__ __forceinline__ int packed(unsigned word, int split) const {
    return ((word & 0x7ffffffc) << layout.q_steps_log2 & 0x7fffffff) | split * 4 | (word & 3);
  }

  __device__ __forceinline__ bool is_empty() const { return current < 0; }
  __device__ __forceinline__ bool has_next() const { return next >= 0; }
  __device__ __forceinline__ void look_ahead() {
    if (place & layout.q_last_step) {
      next = current - 4;
    } else if (place > first) {
      const unsigned word =
          ptx::ld_global_4(layout.words + layout.rows_at + ((place - 1) >> layout.q_steps_log2));
      // Below 0 after tile 0.
      next = min(packed(word, layout.q_last_step), (current | 3) - 4);
    } else {
      next = -1;
    }
  }
  __device__ __forceinline__ void advance() {
    current = next;
    tile = current >> 2;
    --place;
  }

  __device__ __forceinline__ uint32_t stage() const { return Traits::stage_offset(place); }
  __device__ __forceinline__ BackwardBlock block() const { return BackwardBlock::load(params, coordinates, 0); }
  __device__ __forceinline__ int64_t slot(int batch, int tile) const {
    return static_cast<int64_t>(head) * params.query_tiles + first_tile(params.queries, batch, kBlockM) + tile;
  }
  __device__ __forceinline__ float* sums() const {
    return params.d_q_slabs + slab_tile(slot(block().batch, tile), kBlockM, Traits::kHeadDim) +
           Traits::query_offset(ptx::thread_index());
  }
  // The part of a listed tile of keys that the block has.
  __device__ __forceinline__ int key_split() const { return block().key_tile & layout.k_last_step; }
  __device__ __forceinline__ bool has_sums() const { return !(current & 2) || key_split() > 0; }

  // Addresses are computed anew for each tile: they cost no registers in the loop.
  __device__ __forceinline__ void load(uint32_t shared, int tile) const {
    const BackwardBlock block = this->block();
    const Sequence queries = params.queries.at(block.batch);
    const int position = tile * kBlockM;
    QueryLoader<Traits> loader(params, block.batch, head, queries.begin + position, slot(block.batch, tile));
    loader.template load<true>(params, shared, queries.length - position);
  }
  __device__ __forceinline__ void load_first(uint32_t stages, int) const { load(stages + stage(), tile); }
  __device__ __forceinline__ void load_next(uint32_t stages) const {
    if (has_next()) load(stages + Traits::stage_offset(place - 1), next >> 2);
  }

  // This tile's place in the lists by rows.
  __device__ __forceinline__ int place_by_rows() const {
    return min(max(ptx::ld_global_4(layout.words + layout.places_at + (place >> layout.q_steps_log2)), 0), layout.num_tiles - 1);
  }

  // One thread: until it is this block's turn, after those of the key tiles that the row lists before; that the tile before
  // is done, and the last one.
  __device__ __forceinline__ void wait(uint32_t) const {
    const uint4 stored = ptx::ld_shared_16(head_slot);
    const int row = min(tile >> layout.q_steps_log2, layout.query_tiles - 1);
    const int2 range = layout.range(layout.words + layout.offsets_at +
                                    (static_cast<int64_t>(stored.z) * (layout.query_tiles + 1) + row));
    const int turn = max(0, place_by_rows() - range.x) << layout.k_steps_log2 | key_split();
    wait_for_turn(params.turns + (stored.x + tile), turn);
  }
  __device__ __forceinline__ void pass() const {
    pass_last();
    ptx::st_shared_4(head_slot + 4, tile);
  }
  __device__ __forceinline__ void pass_last() const {
    const uint2 stored = ptx::ld_shared_8(head_slot);
    if (stored.y != ~0u) pass_turn(params.turns + (stored.x + stored.y));
  }

  // Sets the powers of unseen keys to 0; rows are keys from `row` of the block's on, columns queries from `column` of the
  // tile's on.
  template <int kColumnTiles>
  __device__ __forceinline__ void hide_unseen(float (&powers)[1][kColumnTiles][4], uint32_t block_keys, int row,
                                              int column) const {
    const BlockKeys<Traits> keys = BlockKeys<Traits>::load(params, block_keys);
    const int key_first = keys.tile * Traits::kBlockN;
    if (!(current & 1) && key_first + Traits::kBlockN <= keys.mask.s_k) return;
    const unsigned lane = ptx::thread_index() % 32;
    const int code = ptx::ld_global_4(layout.words + layout.masks_at + place_by_rows());
    apply_mask_to_powers(powers, layout.band(code, keys.mask.s_k, 0), key_first + row, tile * kBlockM + column, lane);
    const int query = (tile * kBlockM & ((1 << layout.tile_q_log2) - 1)) + column + lane % 4 * 2;
    const int key = (key_first & ((1 << layout.tile_k_log2) - 1)) + row;
    if (const int32_t* bits = layout.bits(code, query, key)) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const uint32_t word = ptx::ld_global_4(bits + ((j * 8 + e) << (layout.tile_k_log2 - 5)));
          const uint32_t shown = word >> (key % 32 + lane / 4);
          if (!(shown & 1)) powers[0][j][e] = 0.0f;
          if (!(shown >> 8 & 1)) powers[0][j][2 + e] = 0.0f;
        }
      }
    }
  }
};

// Where a layout says which queries see a block's keys.
template <typename Traits>
struct ListedQueries {
  using Layout = BlockLayoutParams;

  const FlashBackwardParams& params;
  const BlockLayoutParams& layout;

  // Places count from the start of a sequence.
  static __device__ __forceinline__ KeyMask mask(const FlashBackwardParams&, int, int s_k, int) {
    return KeyMask(s_k, s_k, -1, -1);
  }

  __device__ __forceinline__ ListedQueries(const FlashBackwardParams& params, const BlockLayoutParams& layout,
                                           const KeyMask&, int)
      : params(params), layout(layout) {}

  __device__ __forceinline__ bool any() const { return true; }
  __device__ __forceinline__ void begin(uint32_t, const KeyMask&, int) const {}
  __device__ __forceinline__ ListedWalk<Traits> walk(uint32_t head_slot, uint32_t coordinates, const BackwardBlock& block,
                                                     int head, Sequence queries, int64_t first_slot) const {
    return ListedWalk<Traits>(params, layout, head_slot, coordinates, block.key_tile, head, queries.length, first_slot);
  }
};

}  // namespace llm_kernels
