// Products in which one operand has 16-bit elements and the other is given in f32, in registers.
//
// bf16 has the range of f32: the other operand is rounded to it. f16 has not, and a sum over many steps may leave it; there
// both are multiplied as tf32, which has the precision of f16 and the range of f32, in two products of depth 8. Depth t and
// t + 4 of those are 2 t and 2 t + 1 of the fragments of mma.cuh, so that no data moves between lanes.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/ptx/round_tf32.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// d += A B: A 16x16 of T, B 16x8 of f32 as the lane holds it: rows 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of column g.
template <typename T>
__device__ __forceinline__ void mma_wide_b(float (&d)[4], const FragmentA& a, const float (&b)[4]) {
  if constexpr (std::is_same_v<T, bf16>) {
    mma<T>(d, a, T::pack(b[0], b[1]), T::pack(b[2], b[3]), d);
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 upper = T::unpack(a.a[2 * half]), lower = T::unpack(a.a[2 * half + 1]);
      const uint32_t rows[4] = {__float_as_uint(upper.x), __float_as_uint(lower.x), __float_as_uint(upper.y),
                                __float_as_uint(lower.y)};
      ptx::mma_m16n8k8_tf32(d, rows, ptx::cvt_rna_tf32(b[2 * half]), ptx::cvt_rna_tf32(b[2 * half + 1]), d);
    }
  }
}

// d += A B: A 16x16 of f32, a[2 i] and a[2 i + 1] where FragmentA has the halves of a[i]; B 16x8 of T.
template <typename T>
__device__ __forceinline__ void mma_wide_a(float (&d)[4], const float (&a)[8], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, bf16>) {
    const FragmentA rows{{T::pack(a[0], a[1]), T::pack(a[2], a[3]), T::pack(a[4], a[5]), T::pack(a[6], a[7])}};
    mma<T>(d, rows, b0, b1, d);
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t rows[4] = {ptx::cvt_rna_tf32(a[4 * half]), ptx::cvt_rna_tf32(a[4 * half + 2]),
                                ptx::cvt_rna_tf32(a[4 * half + 1]), ptx::cvt_rna_tf32(a[4 * half + 3])};
      const float2 column = T::unpack(half == 0 ? b0 : b1);
      ptx::mma_m16n8k8_tf32(d, rows, __float_as_uint(column.x), __float_as_uint(column.y), d);
    }
  }
}

}  // namespace llm_kernels
