// Formats with blocks of 256 weights: Q4_K, Q5_K, Q6_K, as ggml lays them out. See small_blocks.cuh for what a
// format is. A group is 32 neighbouring weights, of 8 in a block.
#pragma once

#include <cstdint>

#include "common/quant/small_blocks.cuh"
#include "common/quant/super_block_parts.cuh"

namespace llm_kernels {

// d, dmin, 12 bytes with 8 scales and 8 minimums of 6 bits, perhaps 32 bytes of fifth bits (as the third ones of Q3_K),
// 128 bytes: byte 32 p + i has the lower bits of weight i of groups 2 p and 2 p + 1.
template <bool kFifthBit>
struct ScaledNibbleBlock {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = kFifthBit ? 176 : 144;
  static constexpr int kHalves = 1;
  static constexpr bool kSigned = false;
  static constexpr bool kHasMinimum = true;
  static constexpr int kOffset = 0;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
    uint32_t scales[2], minimums[2];
  };

  // Nibbles stay where they are; or the last ones go to just below where their fifth bits are, in bits 4 to 7.
  static __device__ __forceinline__ int shift(int group, int) {
    return !kFifthBit ? 4 * (group % 2) : group < 4 ? 0 : group - 4;
  }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    Header header;
    uint32_t words[4];
    block.words(0, words);
    const float2 scales = ptx::cvt_f32x2_f16x2(words[0]);
    header.d = scales.x, header.m = negated(scales.y);
    header.scales[0] = words[1] & 0x3f3f3f3f;
    header.minimums[0] = words[2] & 0x3f3f3f3f;
    // The last four have 4 bits in the third word, and 2 above those of the first four.
    header.scales[1] = ptx::and_or(words[1] >> 2, 0x30303030, words[3] & 0x0f0f0f0f);
    header.minimums[1] = ptx::and_or(words[2] >> 2, 0x30303030, words[3] >> 4 & 0x0f0f0f0f);
    return header;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header& header, int group) {
    DecodedWeights<1> weights;
    block.words(kBytes - 128 + group / 2 * 32, weights.q);
    if constexpr (kFifthBit) {
      uint32_t fifths[8];
      block.words(16, fifths);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int to = shift(group, 0);
        const uint32_t lower = moved(weights.q[i], to - 4 * (group % 2)) & 0x0f0f0f0fu << to;
        weights.q[i] = ptx::and_or(moved(fifths[i], to + 4 - group), 0x10101010u << to, lower);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) weights.q[i] &= 0x0f0f0f0fu << shift(group, 0);
    }
    weights.scale[0] = byte_of(header.scales, group);
    weights.minimum[0] = byte_of(header.minimums, group);
    return weights;
  }
};

using Q4_K = ScaledNibbleBlock<false>;
using Q5_K = ScaledNibbleBlock<true>;

// 128 bytes of lower 4 bits, 64 bytes of upper 2 bits, 16 signed scales for 16 weights each, d.
struct Q6_K {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 210;
  static constexpr int kHalves = 2;
  static constexpr bool kSigned = false;
  static constexpr bool kHasMinimum = false;
  static constexpr int kOffset = 32;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
    uint32_t scales[4];
  };

  // The upper bits of the last quarters stay where they are.
  static __device__ __forceinline__ int shift(int group, int) { return group % 4 == 3 ? 2 : 0; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    Header header;
    block.words(192, header.scales);
    header.d = block.half(208);
    header.m = 0.0f;
    return header;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<2> decode(Block block, const Header& header, int group) {
    DecodedWeights<2> weights = {{}, {}, {1, 1}};
    // Of 128 weights, groups 0 and 2, 1 and 3 share bytes of the lower bits, and all four those of the upper bits.
    const int quarter = group % 4;
    uint32_t upper[8];
    block.words(group / 4 * 64 + quarter % 2 * 32, weights.q);
    block.words(128 + group / 4 * 32, upper);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int to = shift(group, 0);
      const uint32_t lower = moved(weights.q[i], to - quarter / 2 * 4) & 0x0f0f0f0fu << to;
      weights.q[i] = ptx::and_or(moved(upper[i], to + 4 - 2 * quarter), 0x30303030u << to, lower);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      weights.scale[half] = signed_byte_of(header.scales, 2 * group + half);
    }
    return weights;
  }
};

}  // namespace llm_kernels
