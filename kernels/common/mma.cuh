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

// Two neighbouring 16x8 operands B: columns n = 0-7 and 8-15, depth k = 0-15.
struct FragmentB {
  uint32_t b[2][2];  // [column half][depth half]

  // From a 16x16 block stored as [n][k] (k contiguous), as K in Q K^T; from SharedTile::ldmatrix_address_n_by_k.
  __device__ __forceinline__ void load_n_by_k(uint32_t address) {
    uint32_t r[4];
    ptx::ldmatrix_x4(r, address);
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
  }

  // From a 16x16 block stored as [k][n] (n contiguous), as V in P V; from SharedTile::ldmatrix_address.
  __device__ __forceinline__ void load_k_by_n(uint32_t address) {
    uint32_t r[4];
    ptx::ldmatrix_x4_trans(r, address);
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
  }
};

// c += A B for T = f16 or bf16, where B is one half of a FragmentB.
template <typename T>
__device__ __forceinline__ void mma(float (&c)[4], const FragmentA& a, const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void mma<f16>(float (&c)[4], const FragmentA& a, const uint32_t (&b)[2]) {
  ptx::mma_m16n8k16_f16(c, a.a, b[0], b[1]);
}

template <>
__device__ __forceinline__ void mma<bf16>(float (&c)[4], const FragmentA& a, const uint32_t (&b)[2]) {
  ptx::mma_m16n8k16_bf16(c, a.a, b[0], b[1]);
}

}  // namespace llm_kernels
