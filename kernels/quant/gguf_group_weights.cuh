// A group of 32 packed weights, as numbers in f32.
#pragma once

#include <utility>

#include "common/ptx.cuh"
#include "quant/gguf_packed_columns.cuh"

namespace llm_kernels {

template <typename Format>
struct GroupWeights {
  decltype(Format::decode(std::declval<BlockOf<Format>>(), {}, 0)) weights;
  float scale[Format::kHalves], minimum[Format::kHalves];
  int number;  // In its block.

  // Reads a group; one that does not exist has factors of 0.
  static __device__ __forceinline__ GroupWeights read(const BlockOf<Format>& block, int number, bool exists) {
    GroupWeights group;
    group.number = number;
    const auto header = Format::header(block);
    group.weights = Format::decode(block, header, number);
#pragma unroll
    for (int half = 0; half < Format::kHalves; ++half) {
      const float scale = header.d * static_cast<float>(group.weights.scale[half]);
      const float minimum = Format::kHasMinimum ? header.m * static_cast<float>(group.weights.minimum[half]) : 0.0f;
      group.scale[half] = exists ? scale : 0.0f, group.minimum[half] = exists ? minimum : 0.0f;
    }
    return group;
  }

  // Weights 4 i to 4 i + 3.
  __device__ __forceinline__ void dequantise(int i, float (&values)[4]) const {
    // A byte below the exponent of 2^23 is a number that much too large.
    constexpr float kBias = 0x1p23f + (Format::kSigned ? 128 : Format::kOffset);
    const int half = i / 4 * Format::kHalves / 2;
    const uint32_t bytes = weights.q[i];
    const uint32_t q = Format::kSigned ? bytes ^ 0x80808080 : bytes >> Format::shift(number, i / 4);
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const float value = __uint_as_float(ptx::prmt(q, 0x4b000000, 0x7440 + b)) - kBias;
      values[b] = Format::kHasMinimum ? __fmaf_rn(value, scale[half], minimum[half]) : value * scale[half];
    }
  }
};

}  // namespace llm_kernels
