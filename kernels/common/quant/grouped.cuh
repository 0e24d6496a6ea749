// Weights of 4 and 8 bits with a scale for each group, in the order in which tensor cores take them.
//
//   w[j, l] = scales[j, l / group] * (q[j, l] - zeros[j, l / group]), or scales[j, l / group] * nf4[q[j, l]]
//
// A chunk is 16 rows by 64 columns. Lane (g, t) = (l / 4, l % 4) has its codes of operand A of four products of 16 x 16, where
// product p takes columns 32 (p / 2) + 8 t + 4 (p % 2) + 0 .. 3 of rows g and g + 8:
//   a[0] = (g, 0 and 1)  a[1] = (g + 8, 0 and 1)  a[2] = (g, 2 and 3)  a[3] = (g + 8, 2 and 3)
// So the columns that a lane needs of the other operand are 8 neighbours of each 32, for two products.
// Chunks follow each other along a row, rows of chunks down the matrix. Mirrored in Rust: src/quant/grouped.rs.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/eight_bit.cuh"
#include "common/ptx.cuh"
#include "common/types.cuh"

namespace llm_kernels {

inline constexpr int kChunkRows = 16;
inline constexpr int kChunkColumns = 64;

// Codes of 4 bits, 0 to 15. Bits 4 i to 4 i + 3 of the halves of a lane's word are those of a[i].
struct Int4 {
  static constexpr int kChunkBytes = 512;
  static constexpr int kWords = 1;  // Of a lane and product.
  static constexpr bool kHasZeros = true;

  // What widen() adds to codes of row g, and of row g + 8: in the last bits of a power of two a code counts ones. In the
  // next 4 bits of an f16 it counts ones of a power that is 16 times smaller, so that two of four need no shift.
  template <typename T>
  static __device__ constexpr int offset(int upper) {
    return std::is_same_v<T, bf16> ? 128 : upper == 0 ? 1024 : 64;
  }

  template <typename T>
  static __device__ __forceinline__ void widen(const uint32_t (&words)[1], uint32_t (&a)[4]) {
    const uint32_t w = words[0];
    if constexpr (std::is_same_v<T, f16>) {
      constexpr uint32_t kLower = 0x000f000f, kUpper = 0x00f000f0, k1024 = 0x64006400, k64 = 0x54005400;
      a[0] = ptx::and_or(w, kLower, k1024), a[1] = ptx::and_or(w, kUpper, k64);
      a[2] = ptx::and_or(w >> 8, kLower, k1024), a[3] = ptx::and_or(w >> 8, kUpper, k64);
    } else {
      constexpr uint32_t kMask = 0x000f000f, k128 = 0x43004300;
      a[0] = ptx::and_or(w, kMask, k128), a[1] = ptx::and_or(w >> 4, kMask, k128);
      a[2] = ptx::and_or(w >> 8, kMask, k128), a[3] = ptx::and_or(w >> 12, kMask, k128);
    }
  }
};

// The same codes with an offset of 64 in f16 everywhere, for sums from which it is taken off later: of those with 1024, whose
// intermediate results are rounded, less would be left.
struct FineInt4 : Int4 {
  template <typename T>
  static __device__ constexpr int offset(int) {
    return std::is_same_v<T, bf16> ? 128 : 64;
  }

  template <typename T>
  static __device__ __forceinline__ void widen(const uint32_t (&words)[1], uint32_t (&a)[4]) {
    if constexpr (std::is_same_v<T, bf16>) return Int4::widen<T>(words, a);
    constexpr uint32_t kUpper = 0x00f000f0, k64 = 0x54005400;
    const uint32_t w = words[0];
    a[0] = ptx::and_or(w << 4, kUpper, k64), a[1] = ptx::and_or(w, kUpper, k64);
    a[2] = ptx::and_or(w >> 4, kUpper, k64), a[3] = ptx::and_or(w >> 8, kUpper, k64);
  }
};

// Codes of 8 bits, 0 to 255, each less 128: signed bytes. Bytes 0 and 2 of a lane's first word are those of a[0], bytes 1 and
// 3 of a[1]; the second word has those of a[2] and a[3].
struct UInt8 {
  static constexpr int kChunkBytes = 1024;
  static constexpr int kWords = 2;
  static constexpr bool kHasZeros = true;

  template <typename T>
  static __device__ constexpr int offset(int) {
    return -128;
  }

  template <typename T>
  static __device__ __forceinline__ void widen(const uint32_t (&words)[2], uint32_t (&a)[4]) {
    const WidenedPairs first = Int8::widen<T>(words[0]), second = Int8::widen<T>(words[1]);
    a[0] = first.even, a[1] = first.odd, a[2] = second.even, a[3] = second.odd;
  }
};

// Codes of 4 bits that index the 16 values of NF4, rounded to T: they lie as those of Int4.
//
// A selector of prmt has 3 bits for a byte of 8: both halves of the table are looked up, then bit 3 chooses; lower and upper bytes
// of values apart.
struct Nf4 {
  static constexpr int kChunkBytes = 512;
  static constexpr int kWords = 1;
  static constexpr bool kHasZeros = false;

  template <typename T>
  static __device__ __forceinline__ void widen(const uint32_t (&words)[1], uint32_t (&a)[4]) {
    const uint32_t index = words[0] & 0x77777777, half = ptx::and_or(words[0] >> 1, 0x44444444, 0x32103210);
    uint32_t pairs[2][2];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const uint32_t own = index >> 16 * side, choice = half >> 16 * side;
      uint32_t lower, upper;
      if constexpr (std::is_same_v<T, f16>) {
        lower = look_up<0x52339200, 0x00d4ea8d, 0x68e02618, 0x00c9800d>(own, choice);
        upper = look_up<0xb6b8b9bc, 0x00adb1b4, 0x3533312d, 0x3c393837>(own, choice);
      } else {
        lower = look_up<0xca063280, 0x00ba3d92, 0xad7c25a3, 0x803910e2>(own, choice);
        upper = look_up<0xbebfbfbf, 0x00bdbebe, 0x3e3e3e3d, 0x3f3f3f3e>(own, choice);
      }
      pairs[side][0] = ptx::prmt(lower, upper, 0x5140), pairs[side][1] = ptx::prmt(lower, upper, 0x7362);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = ptx::prmt(pairs[0][i / 2], pairs[1][i / 2], i % 2 == 0 ? 0x5410 : 0x7632);
  }

 private:
  // Bytes that four codes stand for.
  template <uint32_t k0, uint32_t k4, uint32_t k8, uint32_t k12>
  static __device__ __forceinline__ uint32_t look_up(uint32_t index, uint32_t half) {
    return ptx::prmt(ptx::prmt(k0, k4, index), ptx::prmt(k8, k12, index), half);
  }
};

// -(zero + offset), in both halves of a register: exact up to 2048 in f16, up to 256 in bf16.
template <typename T>
__device__ __forceinline__ uint32_t packed_minus_zero(int zero, int offset) {
  const float negative = static_cast<float>(-zero - offset);
  return T::pack(negative, negative);
}

// Those of rows g and g + 8.
template <typename Weights, typename T>
__device__ __forceinline__ void pack_minus_zeros(int zero, int upper_zero, uint32_t (&minus_zero)[2]) {
  if constexpr (Weights::kHasZeros) {
    minus_zero[0] = packed_minus_zero<T>(zero, Weights::template offset<T>(0));
    minus_zero[1] = packed_minus_zero<T>(upper_zero, Weights::template offset<T>(1));
  }
}

// Likewise of two neighbouring bytes, rows g and g + 8. As the last bits of 1024 in f16 a byte counts ones: no conversion.
template <typename Weights, typename T>
__device__ __forceinline__ void pack_minus_zeros(uint32_t both, uint32_t (&minus_zero)[2]) {
  if constexpr (std::is_same_v<T, f16>) {
    constexpr uint32_t kMinus1024 = 0xe4, k960 = 0x63806380, k1152 = 0x64806480;
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const int offset = Weights::template offset<T>(upper);
      minus_zero[upper] = ptx::prmt(both, kMinus1024, upper == 0 ? 0x4040 : 0x4141);
      if (offset != 1024) minus_zero[upper] = ptx::add_rn_f16x2(minus_zero[upper], offset == 64 ? k960 : k1152);
    }
  } else {
    pack_minus_zeros<Weights, T>(both & 0xff, both >> 8, minus_zero);
  }
}

// (a - zero) * scale, of two elements each, rounded once: the difference is exact. `minus_zero` counts the offset in.
template <typename Weights, typename T>
__device__ __forceinline__ uint32_t scaled(uint32_t a, uint32_t minus_zero, uint32_t scale) {
  if constexpr (std::is_same_v<T, f16>) {
    return ptx::mul_rn_f16x2(Weights::kHasZeros ? ptx::add_rn_f16x2(a, minus_zero) : a, scale);
  } else {
    const uint32_t difference = Weights::kHasZeros ? ptx::fma_rn_bf16x2(a, 0x3f803f80u, minus_zero) : a;
    return ptx::fma_rn_bf16x2(difference, scale, 0x80008000u);
  }
}

}  // namespace llm_kernels
