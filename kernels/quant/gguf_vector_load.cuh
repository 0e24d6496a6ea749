// The copies of gguf_vector_loop.cuh: activations into slots, packed bytes into stages.
#pragma once

#include "common/ptx/async_copy_at.cuh"
#include "quant/gguf_vector.cuh"

namespace llm_kernels {

// The place of a block in a tile: a row, and a block of it.
struct BlockPlace {
  int row, column;

  __device__ __forceinline__ BlockPlace(int block, const VectorParams& params)
      : row(__umulhi(2 * block, params.inverse)), column(block - row * params.blocks_per_row) {}
};

// Item `item` of units' 16-byte chunks, in an order in which 8 lanes write to all banks: unit and chunk.
template <int kUnitChunks>
__device__ __forceinline__ uint2 unit_and_chunk(unsigned item) {
  if constexpr (kUnitChunks == 4) return {item / 32 * 8 + (item / 8 % 4 + item / 4 % 2 * 4), item % 4};
  return {item / kUnitChunks, item % kUnitChunks};
}

// Fills the slots with `vectors` rows of x from `first` on.
template <typename Format, typename Element>
__device__ __forceinline__ void load_vectors(const VectorParams& params, char* slots, char* scales, int first,
                                             int vectors, unsigned thread) {
  using Slots = VectorSlots<Format, Element>;
  constexpr int kThreads = VectorTile<Format>::kThreads, kChunks = Slots::kUnitChunks, kGroups = Slots::kGroups;
  const unsigned num_units = static_cast<unsigned>(params.num_slots) / Slots::kBlocks;
  const int row_chunks = params.blocks_per_row * (Slots::kSlotBytes / 16);
  const uint32_t to = ptx::shared_address(slots);
  for (int v = 0; v < vectors; ++v) {
    const int64_t row = (first + v) * params.x_stride;
    for (unsigned item = thread; item < (num_units + 7) / 8 * 8 * kChunks; item += kThreads) {
      const uint2 place = unit_and_chunk<kChunks>(item);
      if (place.x >= num_units) continue;
      const unsigned linear = place.x * kChunks + place.y;
      const int round = BlockPlace(linear / (Slots::kSlotBytes / 16), params).row;
      const int from = (static_cast<int>(linear) - round * row_chunks) * 16;
      const int offset = (linear + place.x) * 16 + v * Slots::bytes(params.num_slots);
      if constexpr (Slots::kQuantised) {
        ptx::cp_async_16(to + offset, static_cast<const char*>(params.x) + row + from);
      } else {
        *reinterpret_cast<float4*>(slots + offset) = load_four(params.x, row + from / 4, params.x_type);
      }
    }
    if constexpr (Slots::kQuantised) {
      const int row_groups = params.blocks_per_row * kGroups;
      const uint2* from = params.x_scales + static_cast<int64_t>(first + v) * row_groups;
      for (unsigned item = thread; item < params.num_slots * kGroups; item += kThreads) {
        const unsigned slot = item / kGroups;
        const uint2 entry = from[static_cast<int>(item) - BlockPlace(slot, params).row * row_groups];
        char* to = scales + item * Slots::kEntryBytes + slot / Slots::kBlocks * Slots::kEntryPadding;
        if constexpr (Slots::kSums) {
          *reinterpret_cast<uint2*>(to) = entry;
        } else {
          *reinterpret_cast<uint32_t*>(to) = entry.x;
        }
      }
      scales += Slots::scale_bytes(params.num_slots);
    }
  }
}

// Issues the copies of a whole chunk, from kAt on.
template <int kBytes, int kAt = 0>
__device__ __forceinline__ void load_whole_chunk(uint32_t to, size_t from, unsigned lane) {
  if constexpr (kAt + 512 <= kBytes) {
    ptx::cp_async_16_at<kAt>(to, from);
    load_whole_chunk<kBytes, kAt + 512>(to, from, lane);
  } else if constexpr (kAt < kBytes) {
    ptx::cp_async_16_at_if<kAt>(lane < (kBytes - kAt) / 16, to, from);
  }
}

// Issues the copies of a chunk of which `valid` bytes exist; the others become zero.
template <typename Format>
__device__ __forceinline__ void load_chunk(uint32_t stage, const char* source, int64_t valid, unsigned lane) {
  constexpr int kBytes = VectorTile<Format>::kChunkBytes;
  if (valid >= kBytes) {
    load_whole_chunk<kBytes>(stage + lane * 16, __cvta_generic_to_global(source + lane * 16), lane);
    return;
  }
#pragma unroll 1
  for (int at = lane * 16; at < kBytes; at += 512) {
    const int left = static_cast<int>(valid) - at;
    ptx::cp_async_16_zero_fill(stage + at, left > 0 ? source + at : source, max(0, min(left, 16)));
  }
}

}  // namespace llm_kernels
