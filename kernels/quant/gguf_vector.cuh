// The main loop of products of packed matrices with few vectors. See src/quant/gguf/README.md.
//
// Blocks of neighbouring rows are one run of bytes. A warp copies 32 units of it at a time, a unit being the one or two
// blocks that make it a multiple of 4 bytes, and lane l takes unit l: at units of an odd number of words (or of 2 or 4
// words, loaded together) this has no bank conflicts. Where a lane comes to another row, it leaves its sum behind.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/quant/formats.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf/params.rs.
struct VectorParams {
  const char* w;         // [n, k] packed; a multiple of 16.
  const void* x;         // [m, k]: int8 if quantised, else of type x_type.
  const uint2* x_scales; // [m, k / 32] if quantised: scale, then sums of the first 16 and of all 32 integers, 16 bits each.
  const void* bias;      // [n] of type bias_type; null for none.
  void* y;               // [m, n] of type y_type.
  int64_t w_bytes;       // To the end of the packed matrix.
  int64_t x_stride;      // In elements, between rows.
  int64_t y_stride;
  int32_t n, m;
  int32_t blocks_per_row;
  uint32_t inverse;      // floor(2^31 / blocks_per_row) + 1
  int32_t rows_per_tile; // Rows of w that a thread block computes; a multiple of 8.
  int32_t rows_per_warp; // Most rows of a tile that one warp meets.
  int32_t vectors_per_block;  // Blocks along y share out m.
  int32_t num_slots;     // Of a row of activations: a multiple of a unit's blocks.
  int32_t wrap;          // blocks_per_row if a lane goes back to the first slot behind the last; 0 if slots go on.
  int32_t x_type, bias_type, y_type;
};

static_assert(sizeof(VectorParams) == 112 && offsetof(VectorParams, n) == 64 && offsetof(VectorParams, y_type) == 108,
              "mirrored in Rust");

// How a format is cut up.
template <typename Format>
struct VectorTile {
  static constexpr int kGroups = Format::kWeights / 32;
  // Blocks of a unit: of 32 weights 4 (2 of Q5_1), whose words lie in registers; of 256 weights 1 or 2.
  static constexpr bool kSmall = Format::kWeights == 32;
  static constexpr int kBlocks = kSmall ? (Format::kBytes == 24 ? 2 : 4) : Format::kBytes % 4 == 0 ? 1 : 2;
  static constexpr int kUnitBytes = kBlocks * Format::kBytes;
  static constexpr int kAlignment = kUnitBytes % 16 == 0 ? 16 : kUnitBytes % 8 == 0 ? 8 : 4;
  static constexpr int kChunkBlocks = 32 * kBlocks;
  static constexpr int kChunkBytes = 32 * kUnitBytes;
  static constexpr int kWarps = kChunkBytes > 8192 ? 2 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kStages = 2;
  static constexpr int kStageBytes = kWarps * kStages * kChunkBytes;
};

// Vectors in shared memory. Slot s has the activations for block s % blocks_per_row: where neighbouring lanes would meet
// in a bank behind the end of a row, a row goes round often enough that the 32 units of a warp find theirs in
// neighbouring slots. After a unit's slots comes padding: units lie an odd number of 16 bytes apart, their scales an odd
// number of entries.
template <typename Format, typename Element>
struct VectorSlots {
  static constexpr bool kQuantised = sizeof(Element) == 1;
  // Rows of activations at once, at most.
  static constexpr int kMaxVectors = kQuantised ? 8 : 4;
  static constexpr int kBlocks = VectorTile<Format>::kBlocks;
  static constexpr int kGroups = VectorTile<Format>::kGroups;
  static constexpr int kSlotBytes = Format::kWeights * sizeof(Element);
  static constexpr int kUnitChunks = kBlocks * kSlotBytes / 16;
  // A scale, and the sums if the format needs any.
  static constexpr bool kSums = Format::kOffset != 0 || Format::kHasMinimum;
  static constexpr int kEntryBytes = kSums ? 8 : 4;
  static constexpr int kEntryPadding = kGroups * kBlocks % 2 == 1 ? 0 : kEntryBytes;

  // Of activations, and of their scales.
  static __device__ __forceinline__ int offset(unsigned slot) { return slot * kSlotBytes + slot / kBlocks * 16; }
  static __device__ __forceinline__ int scale_offset(unsigned slot) {
    return slot * kGroups * kEntryBytes + slot / kBlocks * kEntryPadding;
  }

  static __device__ __forceinline__ int bytes(int num_slots) { return offset(num_slots); }
  static __device__ __forceinline__ int scale_bytes(int num_slots) {
    return kQuantised ? (scale_offset(num_slots) + 15) / 16 * 16 : 0;
  }
};

// A sum of int8 products, as often as q is too large.
template <bool kSigned>
__device__ __forceinline__ int dot(const uint32_t* q, const uint4& x, int sum) {
  const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) sum = kSigned ? ptx::dp4a_s8_s8(q[i], words[i], sum) : ptx::dp4a_u8_s8(q[i], words[i], sum);
  return sum;
}

// sum += 32 weights times 32 quantised activations.
template <typename Format>
__device__ __forceinline__ void accumulate(float& sum, const typename Format::Header& header,
                                           const DecodedWeights<Format::kHalves>& weights, int group, const char* x,
                                           float scale, uint32_t activation_sums) {
  const uint4* activations = reinterpret_cast<const uint4*>(x);
  const int total = static_cast<int>(activation_sums) >> 16;
  int products, minimums;
  if constexpr (Format::kHalves == 1) {
    products = dot<Format::kSigned>(weights.q + 4, activations[1], 0) >> (Format::shift(group, 1) - Format::shift(group, 0));
    products = dot<Format::kSigned>(weights.q, activations[0], products) >> Format::shift(group, 0);
    products = (products - Format::kOffset * total) * weights.scale[0];
    minimums = total * weights.minimum[0];
  } else {
    const int first = static_cast<int16_t>(activation_sums), second = total - first;
    products = (dot<Format::kSigned>(weights.q, activations[0], 0) >> Format::shift(group, 0)) - Format::kOffset * first;
    const int others = (dot<Format::kSigned>(weights.q + 4, activations[1], 0) >> Format::shift(group, 1));
    products = products * weights.scale[0] + (others - Format::kOffset * second) * weights.scale[1];
    minimums = first * weights.minimum[0] + second * weights.minimum[1];
  }
  // An integer times a half neither overflows nor vanishes; so the scale of activations, which may be huge or tiny, comes
  // last, within the fma.
  sum = __fmaf_rn(static_cast<float>(products) * header.d, scale, sum);
  if constexpr (Format::kHasMinimum) sum = __fmaf_rn(static_cast<float>(minimums) * header.m, scale, sum);
}

// sum += 8 weights times 8 activations of f32.
__device__ __forceinline__ void accumulate(float& sum, const float (&weights)[8], const char* x) {
  const float4* activations = reinterpret_cast<const float4*>(x);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = activations[i];
    sum = __fmaf_rn(weights[4 * i], four.x, sum);
    sum = __fmaf_rn(weights[4 * i + 1], four.y, sum);
    sum = __fmaf_rn(weights[4 * i + 2], four.z, sum);
    sum = __fmaf_rn(weights[4 * i + 3], four.w, sum);
  }
}

// Adds the products of one block to the sums of each vector.
template <typename Format, typename Element, typename Block>
__device__ __forceinline__ void multiply_block(float (&sums)[VectorSlots<Format, Element>::kMaxVectors], Block block,
                                               const char* x, const char* entries, int vectors, int slots_bytes,
                                               int scales_bytes) {
  using Slots = VectorSlots<Format, Element>;
  const auto header = Format::header(block);
  // Of units of two blocks only halves: there are two copies already.
  constexpr int kUnrolled = !Slots::kQuantised ? 1 : Slots::kBlocks == 2 && Slots::kGroups == 8 ? 4 : Slots::kGroups;
#pragma unroll kUnrolled
  for (int group = 0; group < Slots::kGroups; ++group) {
    const auto weights = Format::decode(block, header, group);
    const char* from = x + group * 32 * sizeof(Element);
    if constexpr (Slots::kQuantised) {
#pragma unroll
      for (int v = 0; v < Slots::kMaxVectors; ++v) {
        if (v > 0 && v >= vectors) break;
        const char* entry = entries + group * Slots::kEntryBytes + v * scales_bytes;
        uint2 factors = {};
        if constexpr (Slots::kSums) {
          factors = *reinterpret_cast<const uint2*>(entry);
        } else {
          factors.x = *reinterpret_cast<const uint32_t*>(entry);
        }
        accumulate<Format>(sums[v], header, weights, group, from + v * slots_bytes, __uint_as_float(factors.x),
                           factors.y);
      }
    } else {
#pragma unroll
      for (int part = 0; part < 32; part += 8) {
        float values[8];
#pragma unroll
        for (int w = 0; w < 8; ++w) values[w] = dequantised_weight<Format>(header, weights, group, part + w);
#pragma unroll
        for (int v = 0; v < Slots::kMaxVectors; ++v) {
          if (v > 0 && v >= vectors) break;
          accumulate(sums[v], values, from + v * slots_bytes + part * 4);
        }
      }
    }
  }
}

}  // namespace llm_kernels
