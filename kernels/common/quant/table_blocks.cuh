// Formats whose nibbles index a table: IQ4_NL (blocks of 32 weights) and IQ4_XS (of 256), as ggml lays them out. See
// small_blocks.cuh for what a format is.
#pragma once

#include <cstdint>

#include "common/quant/small_blocks.cuh"

namespace llm_kernels {

// The 16 values that a nibble of IQ4_NL and IQ4_XS stands for.
//
// A selector of prmt has 4 bits, of which the last replaces a byte by its sign, eight times. So prmt looks up half of the
// table, and gives 0 or -1 where a nibble is of the other half.
struct NonLinearTable {
  // 16 signed bytes: sums of two, of values in the order of nibbles. The lower half's are negative, so for nibbles of
  // the upper half it gives -1, which the upper half's make up for: they are larger by one, and 0 for nibbles of the lower.
  static __device__ __forceinline__ void terms(uint32_t nibbles, uint32_t (&lower)[2], uint32_t (&upper)[2]) {
    const uint32_t others = nibbles ^ 0x88888888;
    lower[0] = values_of<0>(nibbles), lower[1] = values_of<0>(nibbles >> 16);
    upper[0] = ptx::prmt(0x271a0e02, 0x725a4636, others), upper[1] = ptx::prmt(0x271a0e02, 0x725a4636, others >> 16);
  }

  // Those of 8 nibbles: of the lower one of each byte, and of the upper one.
  static __device__ __forceinline__ void look_up(uint32_t nibbles, uint32_t& lower, uint32_t& upper) {
    // Both halves of the table are looked up, then bit 3 chooses.
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

// 32 decoded weights as sums of two, in the order of nibbles: weights 0, 16, 1, 17, ...
struct DecodedTerms {
  uint32_t lower[8], upper[8];
  int scale;

  // From 16 bytes at an offset.
  template <typename Block>
  __device__ __forceinline__ void set(Block block, int offset) {
    uint32_t words[4];
    block.words(offset, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t two_lower[2], two_upper[2];
      NonLinearTable::terms(words[i], two_lower, two_upper);
      lower[2 * i] = two_lower[0], lower[2 * i + 1] = two_lower[1];
      upper[2 * i] = two_upper[0], upper[2 * i + 1] = two_upper[1];
    }
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
  static constexpr bool kNibbleOrder = true;

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

  template <typename Block>
  static __device__ __forceinline__ DecodedTerms decode_terms(Block block, const Header&, int) {
    DecodedTerms terms;
    terms.scale = 1;
    terms.set(block, 2);
    return terms;
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
  static constexpr bool kNibbleOrder = true;

  struct Header {
    float d, m;
    uint32_t scales[2];  // Of even groups, of odd ones.
  };

  static __device__ __forceinline__ int shift(int, int) { return 0; }

  template <typename Block>
  static __device__ __forceinline__ Header header(Block block) {
    uint32_t words[2];
    block.words(0, words);
    // Nibbles of upper bits, of two groups each, to bytes.
    uint32_t upper = words[0] >> 16;
    upper = (upper | upper << 8) & 0x00ff00ff;
    upper = (upper | upper << 4) & 0x0f0f0f0f;
    return {ptx::cvt_f32_lower_f16(words[0]),
            0.0f,
            {ptx::and_or(upper << 4, 0x30303030, words[1] & 0x0f0f0f0f),
             ptx::and_or(upper << 2, 0x30303030, words[1] >> 4 & 0x0f0f0f0f)}};
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedWeights<1> decode(Block block, const Header& header, int group) {
    DecodedWeights<1> weights = {{}, {}, {1}};
    uint32_t words[4];
    block.words(8 + 16 * group, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) NonLinearTable::look_up(words[i], weights.q[i], weights.q[4 + i]);
    weights.scale[0] = scale(header, group);
    return weights;
  }

  template <typename Block>
  static __device__ __forceinline__ DecodedTerms decode_terms(Block block, const Header& header, int group) {
    DecodedTerms terms;
    terms.scale = scale(header, group);
    terms.set(block, 8 + 16 * group);
    return terms;
  }

 private:
  static __device__ __forceinline__ int scale(const Header& header, int group) {
    const uint32_t even = header.scales[0], odd = header.scales[1];
    return static_cast<int>(ptx::prmt(group % 2 == 0 ? even : odd, 0, 0x4440 + group / 2)) - 32;
  }
};

}  // namespace llm_kernels
