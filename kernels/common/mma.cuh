// Fragments of mma.sync.m16n8k16 and how they are loaded from swizzled shared tiles.
//
// Lane l holds, with g = l / 4 and t = l % 4:
//   A (16x16): a[0] = (row g, columns 2t, 2t+1)  a[1] = (g+8, 2t..)  a[2] = (g, 2t+8..)  a[3] = (g+8, 2t+8..)
//   B (16x8):  b0 = (rows 2t, 2t+1, column g)  b1 = (rows 2t+8, 2t+9, column g)
//   C (16x8):  c[0], c[1] = (row g, columns 2t, 2t+1)  c[2], c[3] = (row g+8, columns 2t, 2t+1)
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/ptx.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// A 16x16 operand A.
struct FragmentA {
  uint32_t a[4];

  // From a row-major block; from SharedTile::ldmatrix_address.
  __device__ __forceinline__ void load(uint32_t address) { ptx::ldmatrix_x4(a, address); }

  // From a 16x16 block stored as its transpose, [k][m]; from ldmatrix_address_n_by_k.
  __device__ __forceinline__ void load_k_by_m(uint32_t address) { ptx::ldmatrix_x4_trans(a, address); }

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

// 16x8 accumulators: d = A b + c for T = f16 or bf16, c and d possibly the same.
template <typename T>
__device__ __forceinline__ void mma(float (&d)[4], const FragmentA& a, uint32_t b0, uint32_t b1, const float (&c)[4]) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>, "16-bit elements");
  if constexpr (std::is_same_v<T, f16>) {
    ptx::mma_m16n8k16_f16(d, a.a, b0, b1, c);
  } else {
    ptx::mma_m16n8k16_bf16(d, a.a, b0, b1, c);
  }
}

// left += A B of columns 0-7, right += A B of columns 8-15.
template <typename T>
__device__ __forceinline__ void mma(float (&left)[4], float (&right)[4], const FragmentA& a, const FragmentB& b) {
  mma<T>(left, a, b.b[0], b.b[1], left);
  mma<T>(right, a, b.b[2], b.b[3], right);
}

// Accumulators, rounded to T, as operands A.
template <typename T, int kRowTiles, int kDepth>
__device__ __forceinline__ void convert(FragmentA (&a)[kRowTiles][kDepth], const float (&x)[kRowTiles][2 * kDepth][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) a[i][depth].template convert<T>(x[i][2 * depth], x[i][2 * depth + 1]);
  }
}

// x *= y, element by element.
template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_elements(float (&x)[kRowTiles][kColumnTiles][4],
                                                  const float (&y)[kRowTiles][kColumnTiles][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) x[i][j][e] *= y[i][j][e];
    }
  }
}

// Stores operands A in a tile of scores; `address` is this lane's first 4 bytes.
template <typename Tile, int kRowTiles, int kDepth>
__device__ __forceinline__ void store_fragments(uint32_t address, const FragmentA (&a)[kRowTiles][kDepth]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        // Chunk 2 * depth + part / 2, row 8 * (part % 2).
        const uint32_t chunk = address ^ (depth * 2 + part / 2) << 4;
        ptx::st_shared_4(Tile::block_address(chunk, i, 0) + part % 2 * 512, a[i][depth].a[part]);
      }
    }
  }
}

// Loads operands A from row `row` of a tile of scores, all columns.
template <typename Tile, int kRowTiles, int kDepth>
__device__ __forceinline__ void load_fragments(FragmentA (&a)[kRowTiles][kDepth], Tile tile, int row, unsigned lane) {
  const uint32_t origin = tile.ldmatrix_address(lane) + row * 64;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) a[i][depth].load(Tile::block_address(origin, i, depth));
  }
}

// accumulators = A B^T + initial, the same for every 8 rows, for row-major tiles of shared memory: A [m][depth] from
// `a_address` (ldmatrix_address), B [n][depth] from `b_address` (ldmatrix_address_n_by_k), all of kDepth 16-element
// steps. The tiles lie kAOffset and kBOffset bytes further on: added last, they are immediates, where another address
// would be another register. Only the first `columns` of A and B are multiplied, in panels of 64.
template <typename T, typename ATile, typename BTile, int kDepth, int kAOffset = 0, int kBOffset = 0, int kRowTiles,
          int kColumnTiles>
__device__ __forceinline__ void multiply_by_transpose(float (&accumulators)[kRowTiles][kColumnTiles][4],
                                                      uint32_t a_address, uint32_t b_address,
                                                      const float (&initial)[kColumnTiles][4],
                                                      int columns = kDepth * 16) {
#pragma unroll
  for (int depth = 0; depth < kDepth; ++depth) {
    if (depth > 0 && depth % 4 == 0 && depth * 16 >= columns) break;
    FragmentA a[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) a[i].load(ATile::block_address(a_address, i, depth) + kAOffset);
#pragma unroll
    for (int j = 0; j < kColumnTiles / 2; ++j) {
      FragmentB b;
      b.load_n_by_k(BTile::block_address(b_address, j, depth) + kBOffset);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const auto& before = depth == 0 ? initial : accumulators[i];
        mma<T>(accumulators[i][2 * j], a[i], b.b[0], b.b[1], before[2 * j]);
        mma<T>(accumulators[i][2 * j + 1], a[i], b.b[2], b.b[3], before[2 * j + 1]);
      }
    }
  }
}

// accumulators += A B for A in fragments and a row-major tile B [depth][n] from `b_address` (ldmatrix_address),
// kBOffset bytes further on. Only the first `columns` of B count, in panels of 64.
template <typename T, typename BTile, int kBOffset = 0, int kRowTiles, int kDepth, int kColumnTiles>
__device__ __forceinline__ void multiply(float (&accumulators)[kRowTiles][kColumnTiles][4],
                                         const FragmentA (&a)[kRowTiles][kDepth], uint32_t b_address,
                                         int columns = kColumnTiles * 8) {
#pragma unroll
  for (int depth = 0; depth < kDepth; ++depth) {
#pragma unroll
    for (int j = 0; j < kColumnTiles / 2; ++j) {
      if (j % 4 == 0 && j * 16 >= columns) break;
      FragmentB b;
      b.load_k_by_n(BTile::block_address(b_address, depth, j) + kBOffset);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) mma<T>(accumulators[i][2 * j], accumulators[i][2 * j + 1], a[i][depth], b);
    }
  }
}

}  // namespace llm_kernels
