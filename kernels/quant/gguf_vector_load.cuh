// The copies of gguf_vector_loop.cuh: activations into slots, packed bytes into stages.
#pragma once

#include "common/ptx/async_copy_at.cuh"
#include "common/reduce.cuh"
#include "quant/gguf_vector.cuh"

namespace llm_kernels {

// Item `item` of units' 16-byte chunks, in an order in which 8 lanes write to all banks: unit and chunk.
template <int kUnitChunks>
__device__ __forceinline__ uint2 unit_and_chunk(unsigned item) {
  if constexpr (kUnitChunks == 4) return {item / 32 * 8 + (item / 8 % 4 + item / 4 % 2 * 4), item % 4};
  return {item / kUnitChunks, item % kUnitChunks};
}

// 16 of 32 activations in the order of nibbles, 0, 16, 1, 17, ... The lane beside this has the other 16, `odd` the later
// ones. All lanes of a warp.
__device__ __forceinline__ uint4 in_nibble_order(const uint4& own, bool odd) {
  const uint32_t x = __shfl_xor_sync(kAllLanes, odd ? own.x : own.z, 1);
  const uint32_t y = __shfl_xor_sync(kAllLanes, odd ? own.y : own.w, 1);
  const uint2 lower = odd ? uint2{x, y} : uint2{own.x, own.y}, upper = odd ? uint2{own.z, own.w} : uint2{x, y};
  return {ptx::prmt(lower.x, upper.x, 0x5140), ptx::prmt(lower.x, upper.x, 0x7362),
          ptx::prmt(lower.y, upper.y, 0x5140), ptx::prmt(lower.y, upper.y, 0x7362)};
}

// Fills slots of 16-byte chunks with quantised activations in the order of nibbles.
template <int kThreads, int kChunks, int kPitch>
__device__ __forceinline__ void load_in_nibble_order(char* slots, const char* x, unsigned num_slots, unsigned units,
                                                     unsigned thread) {
  const unsigned num_items = num_slots * kChunks;
  for (unsigned item = thread; item - thread % 32 < num_items; item += kThreads) {
    const unsigned slot = min(item, num_items - 1) / kChunks, chunk = item % kChunks;
    const unsigned from = (slot < units ? slot : slot - units) * kChunks + chunk;
    const uint4 ordered = in_nibble_order(ptx::ld_global_16(x + from * 16), chunk % 2 == 1);
    if (item < num_items) *reinterpret_cast<uint4*>(slots + slot * kPitch + chunk * 16) = ordered;
  }
}

// Fills the slots with `vectors` rows of x from `first` on.
template <typename Format, typename Element, bool kWhole>
__device__ __forceinline__ void load_vectors(const VectorParams& params, char* slots, int first, int vectors,
                                             unsigned thread) {
  using Slots = VectorSlots<Format, Element, kWhole>;
  constexpr int kThreads = VectorTile<Format, kWhole>::kThreads;
  constexpr int kChunks = Slots::kActivationBytes / 16, kGroups = Slots::kGroups;
  const unsigned num_slots = params.num_slots, units = params.units_per_row;
  // Which unit of a row a slot has.
  auto unit_of = [&](unsigned slot) { return slot < units ? slot : slot - units; };
  for (int v = 0; v < vectors; ++v, slots += num_slots * Slots::kPitch) {
    const int64_t row = (first + v) * params.x_stride;
    if constexpr (Slots::kQuantised && Format::kNibbleOrder) {
      const char* x = static_cast<const char*>(params.x) + row;
      load_in_nibble_order<kThreads, kChunks, Slots::kPitch>(slots, x, num_slots, units, thread);
    } else {
      for (unsigned item = thread; item < (num_slots + 7) / 8 * 8 * kChunks; item += kThreads) {
        const uint2 place = unit_and_chunk<kChunks>(item);
        if (place.x >= num_slots) continue;
        const unsigned from = unit_of(place.x) * kChunks + place.y;
        char* to = slots + place.x * Slots::kPitch + place.y * 16;
        if constexpr (Slots::kQuantised) {
          ptx::cp_async_16(ptx::shared_address(to), static_cast<const char*>(params.x) + row + from * 16);
        } else {
          *reinterpret_cast<float4*>(to) = load_four(params.x, row + from * 4, params.x_type);
        }
      }
    }
    if constexpr (Slots::kQuantised) {
      const uint2* from = params.x_scales + static_cast<int64_t>(first + v) * (units * kGroups);
      for (unsigned item = thread; item < num_slots * kGroups; item += kThreads) {
        const unsigned slot = item / kGroups, group = item % kGroups;
        Slots::set_factors(slots + slot * Slots::kPitch, group, from[unit_of(slot) * kGroups + group],
                           group % (Format::kWeights / 32));
      }
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

// Issues the copies of a chunk of which `valid` bytes exist. Both addresses are this lane's.
template <int kBytes>
__device__ __forceinline__ void load_chunk(uint32_t stage, const char* source, int valid, unsigned lane) {
  if (valid >= kBytes) {
    load_whole_chunk<kBytes>(stage, __cvta_generic_to_global(source), lane);
    return;
  }
#pragma unroll 1
  for (int left = valid - static_cast<int>(lane) * 16; left > 0; left -= 512, stage += 512, source += 512) {
    ptx::cp_async_16_zero_fill(stage, source, min(left, 16));
  }
}

}  // namespace llm_kernels
