// Products of f32 matrices, as exact as f32 itself, by tensor cores that multiply tf32 (3xTF32).
//
// x = big + small + rest: big is x rounded to the 11 significant bits of tf32, small is x - big cut to as many; the rest
// is at most one unit in the last place of x. So a b = a_small b_big + a_big b_small + a_big b_big; what is left out,
// a_small b_small, is at most 2^-22 of the product, of either sign.
//
// A tensor core cuts sums off instead of rounding them, so a long sum in it drifts downwards. Here it adds up the 24
// products of 8 steps of depth, small ones first, and an f32 addition, which rounds, adds that to what there is.
//
// Lane l holds, with g = l / 4 and t = l % 4, of mma.sync.m16n8k8:
//   A (16x8): a[0] = (row g, column t)  a[1] = (g+8, t)  a[2] = (g, t+4)  a[3] = (g+8, t+4)
//   B (8x8):  b0 = (row t, column g)  b1 = (row t+4, column g)         C (16x8): as for 16-bit elements, see mma.cuh
// In columns of 16 bits an f32 tile looks twice as wide, and ldmatrix gives A, and B stored as [n][k], as they are.
//
// An infinity gives NaN, as inf - inf does, and so does a finite x that rounds to one: 2^128 (1 - 2^-12) and above.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// What distinguishes f32: products in tf32 parts, and columns of the result in an order of their own.
template <typename T>
inline constexpr bool kIsF32 = sizeof(T) == 4;

// Operand B stored as [k][n] can't be transposed on its way in 32-bit elements. A lane loads 16 bytes, four columns next to
// each other, of two rows. So they serve four 8x8 operands, of which operand e takes element e: its column g is column
// 4 output_chunk(g) + e of a panel of 32. In this order neither these loads have bank conflicts, nor do 16-byte stores of
// the result leave a part of a sector: the accumulators of a lane, whose columns are 2 t and 2 t + 1, are the chunks t and
// t ^ 5.
__device__ __forceinline__ int output_chunk(int column) { return column >> 1 ^ (column & 1) * 5; }

// kCount registers of an operand, as two tf32 numbers each.
template <int kCount>
struct SplitFragment {
  uint32_t big[kCount], small[kCount];

  __device__ __forceinline__ explicit SplitFragment(const uint32_t (&x)[kCount]) {
    constexpr uint32_t kTf32Bits = 0xffffe000u;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      // Half a unit of tf32 is added; the carry goes up into the exponent where it must.
      big[i] = (x[i] + 0x1000u) & kTf32Bits;
      small[i] = __float_as_uint(__uint_as_float(x[i]) - __uint_as_float(big[i])) & kTf32Bits;
    }
  }
};

// A 16x8 operand A.
using SplitA = SplitFragment<4>;

// An 8x8 operand B.
using SplitB = SplitFragment<2>;

// sum += A B of kDepths neighbouring operands, which are all added up before the addition that rounds.
template <int kDepths>
__device__ __forceinline__ void mma_f32(float (&sum)[4], const SplitA (&a)[kDepths], const SplitB (&b)[kDepths]) {
  float product[4] = {};
#pragma unroll
  for (int d = 0; d < kDepths; ++d) {
    ptx::mma_m16n8k8_tf32(product, a[d].small, b[d].big[0], b[d].big[1], product);
    ptx::mma_m16n8k8_tf32(product, a[d].big, b[d].small[0], b[d].small[1], product);
  }
#pragma unroll
  for (int d = 0; d < kDepths; ++d) ptx::mma_m16n8k8_tf32(product, a[d].big, b[d].big[0], b[d].big[1], product);
#pragma unroll
  for (int e = 0; e < 4; ++e) sum[e] = __fadd_rn(sum[e], product[e]);
}

// sum += A B.
__device__ __forceinline__ void mma_f32(float (&sum)[4], const SplitA& a, const SplitB& b) {
  const float zero[4] = {};
  float product[4];
  ptx::mma_m16n8k8_tf32(product, a.small, b.big[0], b.big[1], zero);
  ptx::mma_m16n8k8_tf32(product, a.big, b.small[0], b.small[1], product);
  ptx::mma_m16n8k8_tf32(product, a.big, b.big[0], b.big[1], product);
#pragma unroll
  for (int e = 0; e < 4; ++e) sum[e] = __fadd_rn(sum[e], product[e]);
}

}  // namespace llm_kernels
