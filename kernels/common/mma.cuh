// Fragments of mma.sync.m16n8k16 and how they are loaded from swizzled shared tiles.
//
// Lane l holds, with g = l / 4 and t = l % 4:
//   A (16x16): a[0] = (row g, columns 2t, 2t+1)  a[1] = (g+8, 2t..)  a[2] = (g, 2t+8..)  a[3] = (g+8, 2t+8..)
//   B (16x8):  b0 = (rows 2t, 2t+1, column g)  b1 = (rows 2t+8, 2t+9, column g)
//   C (16x8):  c[0], c[1] = (row g, columns 2t, 2t+1)  c[2], c[3] = (row g+8, columns 2t, 2t+1)
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// A 16x16 operand A.
struct FragmentA {
  uint32_t a[4];

  // From a row-major block; from SharedTile::ldmatrix_address.
  __device__ __forceinline__ void load(uint32_t address) { ptx::ldmatrix_x4(a, address); }

  // From two neighbouring 16x8 accumulators (columns 0-7 and 8-15), rounded to T. No data moves between lanes.
  template <typename T>
  __device__ __forceinline__ void convert(const float (&left)[4], const float (&right)[4]) {
    a[0] = T::pack(left[0], left[1]);
    a[1] = T::pack(left[2], left[3]);
    a[2] = T::pack(right[0], right[1]);
    a[3] = T::pack(right[2], right[3]);
  }
};

// Two neighbouring 16x8 operands B: columns 0-7 in b[0], b[1] and columns 8-15 in b[2], b[3].
struct FragmentB {
  uint32_t b[4];

  // From a 16x16 block stored as [n][k] (k contiguous), as K in Q K^T; from SharedTile::ldmatrix_address_n_by_k.
  __device__ __forceinline__ void load_n_by_k(uint32_t address) { ptx::ldmatrix_x4(b, address); }

  // From a 16x16 block stored as [k][n] (n contiguous), as V in P V; from SharedTile::ldmatrix_address.
  __device__ __forceinline__ void load_k_by_n(uint32_t address) { ptx::ldmatrix_x4_trans(b, address); }
};

// left += A B of columns 0-7, right += A B of columns 8-15, for T = f16 or bf16.
template <typename T>
__device__ __forceinline__ void mma(float (&left)[4], float (&right)[4], const FragmentA& a, const FragmentB& b);

template <>
__device__ __forceinline__ void mma<f16>(float (&left)[4], float (&right)[4], const FragmentA& a, const FragmentB& b) {
  ptx::mma_m16n8k16_f16(left, a.a, b.b[0], b.b[1]);
  ptx::mma_m16n8k16_f16(right, a.a, b.b[2], b.b[3]);
}

template <>
__device__ __forceinline__ void mma<bf16>(float (&left)[4], float (&right)[4], const FragmentA& a, const FragmentB& b) {
  ptx::mma_m16n8k16_bf16(left, a.a, b.b[0], b.b[1]);
  ptx::mma_m16n8k16_bf16(right, a.a, b.b[2], b.b[3]);
}

}  // namespace llm_kernels
