// 8-bit elements, widened in registers to operands of 16-bit products: integer operations and one 16-bit addition or
// product, on every chip.
//
// A register holds four elements. widen() gives its even ones (bytes 0 and 2) and its odd ones (bytes 1 and 3), each a
// register of two 16-bit elements: the order in which a transposed 8x8 matrix of element pairs has them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/shared_tile.cuh"
#include "common/types.cuh"

namespace llm_kernels {

struct WidenedPairs {
  uint32_t even, odd;
};

// Two's complement integers, -128 to 127: exact in f16 and in bf16.
struct Int8 {
  // What a widened element has to be multiplied by.
  template <typename T>
  static __device__ __forceinline__ float unit() {
    return 1.0f;
  }

  template <typename T>
  static __device__ __forceinline__ WidenedPairs widen(uint32_t packed) {
    return {widen_low_bytes<T>(packed), widen_low_bytes<T>(packed >> 8)};
  }

  // The lower bytes of both halves.
  template <typename T>
  static __device__ __forceinline__ uint32_t widen_low_bytes(uint32_t x) {
    if constexpr (std::is_same_v<T, f16>) {
      // With the sign flipped a byte is x + 128; as the last bits of 1024 it counts ones. Minus 1152.
      return ptx::add_rn_f16x2((x & 0x00ff00ffu) ^ 0x64806480u, 0xe480e480u);
    } else {
      // bf16 has a bit too few for that: 128 + the lower 7 bits, minus 128 or, if the sign is set, 256.
      const uint32_t lower = (x & 0x007f007fu) | 0x43004300u;
      const uint32_t sign = (x & 0x00800080u) | 0x43004300u;
      return ptx::fma_rn_bf16x2(sign, 0xbf80bf80u, lower);
    }
  }
};

// Floating-point numbers of 4 exponent and 3 mantissa bits, without infinities: exact in f16 and in bf16, NaN is NaN.
struct E4M3 {
  template <typename T>
  static __device__ __forceinline__ float unit() {
    // f16 keeps the exponent's bias of 7, where its own is 15.
    return std::is_same_v<T, f16> ? 256.0f : 1.0f;
  }

  template <typename T>
  static __device__ __forceinline__ WidenedPairs widen(uint32_t packed) {
    return {widen_high_bytes<T>(packed << 8), widen_high_bytes<T>(packed)};
  }

  // The upper bytes of both halves: the sign stays, exponent and mantissa move to where the type has them. If these are all
  // ones, NaN, and then alone, one more carries into the bit above them; from there the rest of the exponent is set.
  template <typename T>
  static __device__ __forceinline__ uint32_t widen_high_bytes(uint32_t x) {
    if constexpr (std::is_same_v<T, f16>) {
      const uint32_t magnitude = x >> 1 & 0x3f803f80u;
      return (x & 0x80008000u) | magnitude | (magnitude + 0x00800080u & 0x40004000u);
    } else {
      const uint32_t magnitude = x >> 4 & 0x07f007f0u;
      const uint32_t carry = magnitude + 0x00100010u & 0x08000800u;
      // Times 2^120 for the bias: in range, where the product of operands so small would not be.
      return ptx::fma_rn_bf16x2((x & 0x80008000u) | (carry * 15 + magnitude), 0x7b807b80u, 0x80008000u);
    }
  }
};

// Moves the even columns of each 16 to the first chunk of two and the odd ones to the second: the order of the elements
// that widen() gives. Between two barriers.
template <int kRows, int kColumns>
__device__ __forceinline__ void part_columns(SharedTile<kRows, kColumns> tile, unsigned thread, unsigned num_threads) {
  constexpr int kPairs = kColumns / 16;
  for (unsigned item = thread; item < kRows * kPairs; item += num_threads) {
    // Neighbours stay in a panel, whose rows have 4 pairs of chunks.
    const int row = item / 4 % kRows;
    const uint32_t panel = item / (4 * kRows) * tile.kPanelBytes;
    const uint32_t left = tile.chunk_address(row, item % 4 * 2) + panel;
    const uint32_t right = tile.chunk_address(row, item % 4 * 2 + 1) + panel;
    const uint4 a = ptx::ld_shared_16(left), b = ptx::ld_shared_16(right);
    ptx::st_shared_16(left, {__byte_perm(a.x, a.y, 0x5410), __byte_perm(a.z, a.w, 0x5410),
                             __byte_perm(b.x, b.y, 0x5410), __byte_perm(b.z, b.w, 0x5410)});
    ptx::st_shared_16(right, {__byte_perm(a.x, a.y, 0x7632), __byte_perm(a.z, a.w, 0x7632),
                              __byte_perm(b.x, b.y, 0x7632), __byte_perm(b.z, b.w, 0x7632)});
  }
}

// left += A B^T of columns 0-7 and right of columns 8-15, for B a 16x32 block of 8-bit elements stored as [n][k] at
// `address` (ldmatrix_address_n_by_k of a tile of element pairs), and A two 16x16 operands whose columns are parted.
template <typename T, typename Element>
__device__ __forceinline__ void multiply_by_transpose_of(float (&left)[4], float (&right)[4], const FragmentA& a0,
                                                         const FragmentA& a1, uint32_t address) {
  uint32_t packed[4];
  ptx::ldmatrix_x4(packed, address);
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    const WidenedPairs b = Element::template widen<T>(packed[part]);
    float(&sum)[4] = part < 2 ? left : right;
    mma<T>(sum, part % 2 == 0 ? a0 : a1, b.even, b.odd, sum);
  }
}

// accumulators += A B for B a 16x32 block of 8-bit elements stored as [k][n] at `address` (ldmatrix_address). Of each 16
// columns the even ones are in one accumulator, the odd ones in the next.
template <typename T, typename Element>
__device__ __forceinline__ void multiply_of(float (&even0)[4], float (&odd0)[4], float (&even1)[4], float (&odd1)[4],
                                            const FragmentA& a, uint32_t address) {
  uint32_t packed[4];
  ptx::ldmatrix_x4_trans(packed, address);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const WidenedPairs upper = Element::template widen<T>(packed[2 * half]);
    const WidenedPairs lower = Element::template widen<T>(packed[2 * half + 1]);
    float(&even)[4] = half == 0 ? even0 : even1;
    float(&odd)[4] = half == 0 ? odd0 : odd1;
    mma<T>(even, a, upper.even, lower.even, even);
    mma<T>(odd, a, upper.odd, lower.odd, odd);
  }
}

}  // namespace llm_kernels
