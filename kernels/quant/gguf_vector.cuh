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
  int32_t x_type, bias_type, y_type;
};

static_assert(sizeof(VectorParams) == 104 && offsetof(VectorParams, n) == 64 && offsetof(VectorParams, y_type) == 100,
              "mirrored in Rust");

// How a format is cut up.
template <typename Format>
struct VectorTile {
  static constexpr int kGroups = Format::kWeights / 32;
  // Blocks of a unit.
  static constexpr int kBlocks = Format::kBytes % 4 == 0 ? 1 : 2;
  static constexpr int kUnitBytes = kBlocks * Format::kBytes;
  static constexpr int kAlignment = kUnitBytes % 16 == 0 ? 16 : kUnitBytes % 8 == 0 ? 8 : 4;
  static constexpr int kChunkBlocks = 32 * kBlocks;
  static constexpr int kChunkBytes = 32 * kUnitBytes;
  static constexpr int kWarps = kChunkBytes > 8192 ? 2 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kStages = 2;
  static constexpr int kStageBytes = kWarps * kStages * kChunkBytes;
};

// Vectors in shared memory. Slot s has the activations for block s % blocks_per_row: a row goes round often enough that
// the 32 units of a warp find theirs in neighbouring slots. After a unit's slots come bytes of padding, to shift banks.
template <typename Format, typename Element>
struct VectorSlots {
  static constexpr int kBlocks = VectorTile<Format>::kBlocks;
  static constexpr int kGroups = VectorTile<Format>::kGroups;
  static constexpr int kSlotBytes = Format::kWeights * sizeof(Element);
  static constexpr int kScaleBytes = kGroups * 8;
  static constexpr int kScalePadding = kGroups * kBlocks % 2 == 1 ? 0 : 8;
  static constexpr bool kQuantised = sizeof(Element) == 1;
  // Rows of activations at once, at most.
  static constexpr int kMaxVectors = kQuantised ? 8 : 4;

  // Of activations, and of their scales.
  static __device__ __forceinline__ int offset(int slot) { return slot * kSlotBytes + slot / kBlocks * 16; }
  static __device__ __forceinline__ int scale_offset(int slot) {
    return slot * kScaleBytes + slot / kBlocks * kScalePadding;
  }

  static __device__ __forceinline__ int bytes(int blocks_per_row) {
    return offset(blocks_per_row + 32 * kBlocks) + 16;
  }
  static __device__ __forceinline__ int scale_bytes(int blocks_per_row) {
    return kQuantised ? (scale_offset(blocks_per_row + 32 * kBlocks) + 15) / 16 * 16 : 0;
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
                                           uint2 scale) {
  const uint4* activations = reinterpret_cast<const uint4*>(x);
  // The scale of the products is made first: it is finite wherever the result is.
  const float d = header.d * __uint_as_float(scale.x);
  const int total = static_cast<int>(scale.y) >> 16;
  int products, minimums;
  if constexpr (Format::kHalves == 1) {
    products = dot<Format::kSigned>(weights.q + 4, activations[1], 0) >> (Format::shift(group, 1) - Format::shift(group, 0));
    products = dot<Format::kSigned>(weights.q, activations[0], products) >> Format::shift(group, 0);
    products = (products - Format::kOffset * total) * weights.scale[0];
    minimums = total * weights.minimum[0];
  } else {
    const int first = static_cast<int16_t>(scale.y), second = total - first;
    products = (dot<Format::kSigned>(weights.q, activations[0], 0) >> Format::shift(group, 0)) - Format::kOffset * first;
    const int others = (dot<Format::kSigned>(weights.q + 4, activations[1], 0) >> Format::shift(group, 1));
    products = products * weights.scale[0] + (others - Format::kOffset * second) * weights.scale[1];
    minimums = first * weights.minimum[0] + second * weights.minimum[1];
  }
  sum = __fmaf_rn(static_cast<float>(products), d, sum);
  if constexpr (Format::kHasMinimum) {
    sum = __fmaf_rn(static_cast<float>(minimums), header.m * __uint_as_float(scale.x), sum);
  }
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

}  // namespace llm_kernels
