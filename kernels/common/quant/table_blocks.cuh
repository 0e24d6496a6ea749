// Formats whose nibbles index a table: IQ4_NL (blocks of 32 weights) and IQ4_XS (of 256), as ggml lays them out. See
// small_blocks.cuh for what a format is.
#pragma once

#include <cstdint>

#include "common/quant/small_blocks.cuh"

namespace llm_kernels {

// The 16 values that a nibble of IQ4_NL and IQ4_XS stands for.
struct NonLinearTable {
  // Those of 8 nibbles: of the lower one of each byte, and of the upper one.
  static __device__ __forceinline__ void look_up(uint32_t nibbles, uint32_t& lower, uint32_t& upper) {
    // A selector of prmt has 3 bits: both halves of the table are looked up, then bit 3 chooses.
    const uint32_t index = nibbles & 0x77777777;
    const uint32_t half = ptx::and_or(nibbles >> 1, 0x44444444, 0x32103210);
    const uint32_t first = ptx::prmt(values_of<0>(index), values_of<1>(index), half);
    const uint32_t second = ptx::prmt(values_of<0>(index >> 16), values_of<1>(index >> 16), half >> 16);
    lower = ptx::prmt(first, second, 0x6420);
    upper = ptx::prmt(first, second, 0x7531);
  }

 private:
  // -127 -104 -83 -65 -49 -35 -22 -10, and 1 13 25 38 53 69 89 113.
  template <int kHalf>
  static __device__ __forceinline__ uint32_t values_of(uint32_t index) {
    return kHalf == 0 ? ptx::prmt(0xbfad9881, 0xf6eaddcf, index) : ptx::prmt(0x26190d01, 0x71594535, index);
  }
};

// As Q4_0, with nibbles that index a table.
struct IQ4_NL {
  static constexpr int kWeights = 32;
  static constexpr int kBytes = 18;
  static constexpr int kHalves = 1;
  static constexpr bool kSigned = true;
  static constexpr bool kHasMinimum = false;
  static constexpr int kOffset = 0;

  struct Header {
    float d, m;
  };

  static __device__ __forceinline__ int shift(int, int) { return 0; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    return {ptx::cvt_f32_lower_f16(block.word(0)), 0.0f};
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header&, int) {
    DecodedWeights<1> weights = {{}, {1}, {1}};
    uint32_t words[4];
    block.words(2, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) NonLinearTable::look_up(words[i], weights.q[i], weights.q[4 + i]);
    return weights;
  }
};

// d, 8 scales of 6 bits (16 bits with the upper two of each, 4 bytes with the lower four), then nibbles as in IQ4_NL.
struct IQ4_XS {
  static constexpr int kWeights = 256;
  static constexpr int kBytes = 136;
  static constexpr int kHalves = 1;
  static constexpr bool kSigned = true;
  static constexpr bool kHasMinimum = false;
  static constexpr int kOffset = 0;

  struct Header {
    float d, m;
    uint32_t upper, lower;
  };

  static __device__ __forceinline__ int shift(int, int) { return 0; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    uint32_t words[2];
    block.words(0, words);
    return {ptx::cvt_f32x2_f16x2(words[0]).x, 0.0f, words[0] >> 16, words[1]};
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header& header, int group) {
    DecodedWeights<1> weights = {{}, {}, {1}};
    uint32_t words[4];
    block.words(8 + 16 * group, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) NonLinearTable::look_up(words[i], weights.q[i], weights.q[4 + i]);
    weights.scale[0] = ((header.lower >> 4 * group & 15) | (header.upper >> 2 * group & 3) << 4) - 32;
    return weights;
  }
};

}  // namespace llm_kernels
