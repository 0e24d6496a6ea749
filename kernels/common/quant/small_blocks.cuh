// Formats with blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, as ggml lays them out.
//
// A format decodes 32 neighbouring weights at a time, of which the i-th is
//
//   d * scale[i / 16 * kHalves / 2] * (q_i - kOffset) + m * minimum[...]
//
// where q_i is byte i of q, signed or not, divided by 2^shift. Bytes that hold a weight times a power of two spare an
// instruction each; whoever adds them up shifts the sum. Factors that a format does not have are the constant 1.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/ptx/packed_half.cuh"

namespace llm_kernels {

// 32 decoded weights.
template <int kHalves>
struct DecodedWeights {
  uint32_t q[8];
  int scale[kHalves];
  int minimum[kHalves];
};

// d, perhaps m, perhaps 32 fifth bits, then 16 bytes: byte i has the lower bits of weights i and i + 16.
template <bool kMinimum, bool kFifthBit>
struct NibbleBlock {
  static constexpr int kWeights = 32;
  static constexpr int kBytes = 18 + 2 * kMinimum + 4 * kFifthBit;
  static constexpr int kHalves = 1;
  static constexpr bool kSigned = false;
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr int kOffset = kMinimum ? 0 : kFifthBit ? 16 : 8;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
    uint32_t fifth_bits;
  };

  static __device__ __forceinline__ int shift(int, int half) { return kFifthBit ? 0 : 4 * half; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    Header header = {};
    if constexpr (kMinimum && kFifthBit) {
      uint32_t words[2];
      block.words(0, words);
      const float2 scales = ptx::cvt_f32x2_f16x2(words[0]);
      return {scales.x, scales.y, words[1]};
    }
    if constexpr (kMinimum) {
      const float2 scales = ptx::cvt_f32x2_f16x2(block.word(0));
      header.d = scales.x, header.m = scales.y;
    } else {
      header.d = block.half(0);
    }
    if constexpr (kFifthBit) header.fifth_bits = block.word(2);
    return header;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header& header, int) {
    DecodedWeights<1> weights = {{}, {1}, {1}};
    uint32_t words[4];
    block.words(kBytes - 16, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kFifthBit) {
        weights.q[i] = ptx::select_bits(words[i], spread(header.fifth_bits, i), 0x0f0f0f0f);
        weights.q[4 + i] = ptx::select_bits(words[i] >> 4, spread(header.fifth_bits, 4 + i), 0x0f0f0f0f);
      } else {
        weights.q[i] = words[i] & 0x0f0f0f0f;
        weights.q[4 + i] = words[i] & 0xf0f0f0f0;
      }
    }
    return weights;
  }

 private:
  // Bit i (0 to 3) of nibble `nibble` to bit 4 of byte i, of which the lower bits are of no meaning and the upper ones 0:
  // the nibble four times, one bit of each, and what carries it to bit 4.
  static __device__ __forceinline__ uint32_t spread(uint32_t bits, int nibble) {
    const uint32_t copies = __byte_perm(nibble % 2 == 0 ? bits : bits >> 4, 0, nibble / 2 * 0x1111);
    return (copies & 0x08040201) + 0x080c0e0f;
  }
};

using Q4_0 = NibbleBlock<false, false>;
using Q4_1 = NibbleBlock<true, false>;
using Q5_0 = NibbleBlock<false, true>;
using Q5_1 = NibbleBlock<true, true>;

// d, then 32 signed bytes.
struct Q8_0 {
  static constexpr int kWeights = 32;
  static constexpr int kBytes = 34;
  static constexpr int kHalves = 1;
  static constexpr bool kSigned = true;
  static constexpr bool kHasMinimum = false;
  static constexpr int kOffset = 0;
  static constexpr bool kNibbleOrder = false;

  struct Header {
    float d, m;
  };

  static __device__ __forceinline__ int shift(int, int) { return 0; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    return {block.half(0), 0.0f};
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header&, int) {
    DecodedWeights<1> weights = {{}, {1}, {1}};
    block.words(2, weights.q);
    return weights;
  }
};

}  // namespace llm_kernels
