// Every block format, and what kernels do with one.
#pragma once

#include <cstdint>

#include "common/quant/low_bit_blocks.cuh"
#include "common/quant/packed_block.cuh"
#include "common/quant/small_blocks.cuh"
#include "common/quant/super_blocks.cuh"
#include "common/quant/table_blocks.cuh"

namespace llm_kernels {

// What a format has integer dot products of: 32 weights, or terms of them in the order of nibbles.
template <typename Format, typename Block>
__device__ __forceinline__ auto decode_for_dot(Block block, const typename Format::Header& header, int group) {
  if constexpr (Format::kNibbleOrder) {
    return Format::decode_terms(block, header, group);
  } else {
    return Format::decode(block, header, group);
  }
}

// Weight i (0 to 31) of a group, without its scale: an integer.
template <typename Format>
__device__ __forceinline__ int integer_weight(const DecodedWeights<Format::kHalves>& weights, int group, int i) {
  const uint32_t byte = weights.q[i / 4] >> 8 * (i % 4) & 0xff;
  if constexpr (Format::kSigned) return static_cast<int8_t>(byte);
  return static_cast<int>(byte >> Format::shift(group, i / 16)) - Format::kOffset;
}

// Weight i as the format defines it, product by product: bit for bit.
template <typename Format>
__device__ __forceinline__ float dequantised_weight(const typename Format::Header& header,
                                                    const DecodedWeights<Format::kHalves>& weights, int group, int i) {
  const int half = Format::kHalves == 2 ? i / 16 : 0;
  // Fused, a product would not be rounded by itself; products with the constant 1 vanish.
  const float scale = __fmul_rn(header.d, static_cast<float>(weights.scale[half]));
  const float product = __fmul_rn(scale, static_cast<float>(integer_weight<Format>(weights, group, i)));
  if constexpr (!Format::kHasMinimum) return product;
  return __fadd_rn(product, __fmul_rn(header.m, static_cast<float>(weights.minimum[half])));
}

}  // namespace llm_kernels
