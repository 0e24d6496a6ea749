// Formats with blocks of 256 weights of 2 and 3 bits: Q2_K, Q3_K, as ggml lays them out. See small_blocks.cuh for what a
// format is. A group is 32 neighbouring weights, of 8 in a block.
#pragma once

#include <cstdint>

#include "common/quant/small_blocks.cuh"
#include "common/quant/super_block_parts.cuh"

namespace llm_kernels {

// 16 bytes of scale (lower) and minimum (upper 4 bits) for 16 weights each, 64 bytes of 2-bit weights, d, dmin.
struct Q2_K {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 84;
  static constexpr int kHalves = 2;
  static constexpr bool kSigned = false;
  static constexpr bool kHasMinimum = true;
  static constexpr int kOffset = 0;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
    uint32_t scales[4];
  };

  static __device__ __forceinline__ int shift(int group, int) { return 2 * (group % 4); }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    Header header;
    block.words(0, header.scales);
    const float2 scales = ptx::cvt_f32x2_f16x2(block.word(80));
    header.d = scales.x, header.m = negated(scales.y);
    return header;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<2> decode(Block block, const Header& header, int group) {
    DecodedWeights<2> weights;
    block.words(16 + group / 4 * 32, weights.q);
#pragma unroll
    for (int i = 0; i < 8; ++i) weights.q[i] &= 0x03030303 << shift(group, 0);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int scales = byte_of(header.scales, 2 * group + half);
      weights.scale[half] = scales & 15;
      weights.minimum[half] = scales >> 4;
    }
    return weights;
  }
};

// 32 bytes of third bits (bit g of byte i: weight i of group g), 64 bytes of lower bits as in Q2_K, 12 bytes with 16
// scales of 6 bits, d.
struct Q3_K {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 110;
  static constexpr int kHalves = 2;
  static constexpr bool kSigned = false;
  static constexpr bool kHasMinimum = false;
  static constexpr int kOffset = 4;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
    uint32_t scales[4];
  };

  // Lower bits stay where they are, except the last ones, which make room for the third.
  static __device__ __forceinline__ int shift(int group, int) { return group % 4 == 3 ? 5 : 2 * (group % 4); }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    Header header;
    uint32_t packed[3];
    block.words(96, packed);
    // Lower 4 bits of scales 0 to 7, then upper nibbles: of 8 to 15; two more bits of scale i are in byte i % 4.
    header.scales[0] = ptx::and_or(packed[2] << 4, 0x30303030, packed[0] & 0x0f0f0f0f);
    header.scales[1] = ptx::and_or(packed[2] << 2, 0x30303030, packed[1] & 0x0f0f0f0f);
    header.scales[2] = ptx::and_or(packed[2], 0x30303030, packed[0] >> 4 & 0x0f0f0f0f);
    header.scales[3] = ptx::and_or(packed[2] >> 2, 0x30303030, packed[1] >> 4 & 0x0f0f0f0f);
    header.d = block.half(108);
    header.m = 0.0f;
    return header;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<2> decode(Block block, const Header& header, int group) {
    DecodedWeights<2> weights = {{}, {}, {1, 1}};
    uint32_t thirds[8];
    block.words(32 + group / 4 * 32, weights.q);
    block.words(0, thirds);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t lower = (group % 4 == 3 ? weights.q[i] >> 1 : weights.q[i]) & 0x03030303u << shift(group, 0);
      weights.q[i] = ptx::and_or(moved(thirds[i], shift(group, 0) + 2 - group), 0x04040404u << shift(group, 0), lower);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) weights.scale[half] = byte_of(header.scales, 2 * group + half) - 32;
    return weights;
  }
};

}  // namespace llm_kernels
