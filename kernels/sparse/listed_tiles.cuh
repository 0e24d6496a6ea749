// The tiles of keys that a layout lists for a block of queries. In memory: sparse/block_layout.cuh.
#pragma once

#include <cstdint>

#include "attention/forward_block.cuh"
#include "common/mask.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "sparse/block_layout.cuh"

namespace llm_kernels {

// A walk over the listed tiles, from last to first, in tiles of kBlockN keys. Tiles fall whatever the list holds, and lie
// within the sequence.
template <int kBlockN>
struct ListedTiles {

  static constexpr int kStoredBytes = 16;

  const BlockLayoutParams& layout;
  uint32_t shared;    // Where `first` waits, so that it costs no register in the loop.
  int first, place;   // Among all listed tiles, counted in tiles of kBlockN: the row's first, this one.
  int current, next;  // Tile * 2, and 1 if some of it is hidden; below 0: none.

  __device__ __forceinline__ ListedTiles(const BlockLayoutParams& layout, int head, int query_first, int s_k,
                                         uint32_t shared)
      : layout(layout), shared(shared), first(0), place(0), current(-1), next(-1) {
    const int row = min(query_first >> layout.tile_q_log2, layout.query_tiles - 1);
    const int32_t* offsets = layout.words + layout.offsets_at +
                             (static_cast<int64_t>(layout.pattern(head)) * (layout.query_tiles + 1) + row);
    const int2 range = layout.range(offsets);
    first = range.x << layout.k_steps_log2;
    // What begins within the sequence.
    const int end = layout.end_of<1>(range, layout.tiles_at, (s_k - 1) >> layout.tile_k_log2);
    if (end <= range.x || s_k == 0) return;
    const int last = (s_k - 1) / kBlockN;
    const unsigned word = ptx::ld_global_4(layout.words + layout.tiles_at + end - 1);
    const int split = min(layout.k_last_step, max(0, last - static_cast<int>(word >> 1 << layout.k_steps_log2)));
    place = (end - 1 << layout.k_steps_log2) + split;
    current = min(packed(word, split), last * 2 + 1);
    if ((tile() + 1) * kBlockN > s_k) current |= 1;
  }

  // Not below 0.
  __device__ __forceinline__ int packed(unsigned word, int split) const {
    return ((word & 0x7ffffffe) << layout.k_steps_log2 & 0x7fffffff) | split * 2 | (word & 1);
  }

  __device__ __forceinline__ bool is_empty() const { return current < 0; }
  __device__ __forceinline__ int tile() const { return current >> 1; }
  __device__ __forceinline__ bool is_cut() const { return current & 1; }
  __device__ __forceinline__ bool has_next() const { return next >= 0; }

  // Before the loop.
  __device__ __forceinline__ void begin() const {
    if (ptx::thread_index() == 0) ptx::st_shared_4(shared, first);
  }

  // Finds the next tile, long before it is needed, and moves the loaders there, which have moved from this tile to the one
  // before it by themselves.
  template <typename KLoader, typename VLoader>
  __device__ __forceinline__ void look_ahead(KLoader& k_loader, VLoader& v_loader) {
    if (place & layout.k_last_step) {
      next = current - 2;
    } else if (place > static_cast<int>(ptx::ld_shared_4(shared))) {
      const unsigned word =
          ptx::ld_global_4(layout.words + layout.tiles_at + ((place - 1) >> layout.k_steps_log2));
      // Below 0 after tile 0.
      next = min(packed(word, layout.k_last_step), (current | 1) - 2);
      const int skipped = (current >> 1) - (next >> 1) - 1;
      if (skipped > 0 && next >= 0) {
        k_loader.skip(skipped);
        v_loader.skip(skipped);
      }
    } else {
      next = -1;
    }
  }

  __device__ __forceinline__ void advance() {
    current = next;
    --place;
  }

  // Rows are queries from `query_first` on, counted from the block's first, which is the diagonal of `block`.
  template <int kRowTiles, int kScoreTiles>
  __device__ __forceinline__ void hide_unseen(float (&scores)[kRowTiles][kScoreTiles][4], const KeyMask& block,
                                              int query_first, unsigned lane) const {
    const int code = ptx::ld_global_4(layout.words + layout.masks_at + (place >> layout.k_steps_log2));
    const int first = block.diagonal;
    apply_mask(scores, layout.band(code, block.s_k, first), query_first, tile() * kBlockN, lane);
    const int row = (first & ((1 << layout.tile_q_log2) - 1)) + query_first + lane / 4;
    const int split = place & layout.k_last_step;
    if (const int32_t* bits = layout.bits(code, row, split * kBlockN)) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
          for (int word = 0; word < kBlockN / 32; ++word) {
            const int offset = (i * 16 + h * 8) << (layout.tile_k_log2 - 5);
            apply_bits<32>(scores[i], h, word, static_cast<uint32_t>(ptx::ld_global_4(bits + offset + word)) >> (lane % 4 * 2));
          }
        }
      }
    }
  }
};

// Where keys are seen as a layout says.
struct ListedKeys {
  const BlockLayoutParams& layout;

  // Places count from the start of a sequence.
  __device__ __forceinline__ KeyMask mask(int, int s_k, int) const { return KeyMask(s_k, s_k, -1, -1); }

  template <typename Traits>
  __device__ __forceinline__ ListedTiles<Traits::kBlockN> tiles(const KeyMask& mask, const BlockRows<Traits>& block,
                                                                int, uint32_t shared) const {
    return ListedTiles<Traits::kBlockN>(layout, block.head, block.first, mask.s_k, shared);
  }
};

}  // namespace llm_kernels
