// The two matrix products of attention, for a warp's rows and a tile of keys: of 16-bit elements, and of f32.
//
// `Traits` has T, kHeadDim, kHeadDimV, kRowTiles and the shared tiles QTile, KTile and VTile. With kFeatures the head dims
// are the arguments `d` and `d_v`, at most those of Traits; panels of columns that lie past them hold nothing.
#pragma once

#include <cstdint>

#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/tf32.cuh"
#include "common/types.cuh"

namespace llm_kernels {

template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void clear(float (&accumulators)[kRowTiles][kColumnTiles][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) accumulators[i][j][e] = 0.0f;
    }
  }
}

// This lane's address for `multiply_power_value`.
template <typename T, typename Tile>
__device__ __forceinline__ uint32_t value_address(Tile tile, unsigned lane) {
  if constexpr (kIsF32<T>) {
    return tile.chunk_address(lane % 4 * 2, output_chunk(lane / 4));
  } else {
    return tile.ldmatrix_address(lane);
  }
}

// scores = q k^T; the addresses are ldmatrix_address of q and ldmatrix_address_n_by_k of k.
template <typename Traits, int kScoreTiles>
__device__ __forceinline__ void multiply_query_key(float (&scores)[Traits::kRowTiles][kScoreTiles][4],
                                                   uint32_t q_address, uint32_t k_address, int d) {
  clear(scores);
#pragma unroll
  for (int depth = 0; depth < Traits::kHeadDim / 16; ++depth) {
    if (Traits::kFeatures && depth > 0 && depth % 4 == 0 && depth * 16 >= d) break;
    FragmentA q[Traits::kRowTiles];
#pragma unroll
    for (int i = 0; i < Traits::kRowTiles; ++i) q[i].load(Traits::QTile::block_address(q_address, i, depth));
#pragma unroll
    for (int j = 0; j < kScoreTiles / 2; ++j) {
      FragmentB k;
      k.load_n_by_k(Traits::KTile::block_address(k_address, j, depth));
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) {
        mma<typename Traits::T>(scores[i][2 * j], scores[i][2 * j + 1], q[i], k);
      }
    }
  }
}

// output += powers v; the address is value_address.
template <typename Traits, int kScoreTiles, int kOutputTiles>
__device__ __forceinline__ void multiply_power_value(float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                                     const float (&powers)[Traits::kRowTiles][kScoreTiles][4],
                                                     uint32_t v_address, int d_v) {
#pragma unroll
  for (int depth = 0; depth < kScoreTiles / 2; ++depth) {
    FragmentA p[Traits::kRowTiles];
#pragma unroll
    for (int i = 0; i < Traits::kRowTiles; ++i) {
      p[i].template convert<typename Traits::T>(powers[i][2 * depth], powers[i][2 * depth + 1]);
    }
#pragma unroll
    for (int j = 0; j < kOutputTiles / 2; ++j) {
      if (Traits::kFeatures && j > 0 && j % 4 == 0 && j * 16 >= d_v) break;
      FragmentB v;
      v.load_k_by_n(Traits::VTile::block_address(v_address, depth, j));
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) {
        mma<typename Traits::T>(output[i][2 * j], output[i][2 * j + 1], p[i], v);
      }
    }
  }
}

// Likewise of f32.
template <typename Traits, int kScoreTiles>
__device__ __forceinline__ void multiply_query_key_f32(float (&scores)[Traits::kRowTiles][kScoreTiles][4],
                                                       uint32_t q_address, uint32_t k_address, int d) {
  clear(scores);
#pragma unroll 1
  for (int panel = 0; panel < Traits::QTile::kPanels && panel * 32 < d; ++panel) {
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
      FragmentA q[Traits::kRowTiles];
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) q[i].load(Traits::QTile::block_address(q_address, i, depth));
#pragma unroll
      for (int j = 0; j < kScoreTiles / 2; ++j) {
        FragmentB k;
        k.load_n_by_k(Traits::KTile::block_address(k_address, j, depth));
#pragma unroll
        for (int i = 0; i < Traits::kRowTiles; ++i) {
          const SplitA a(q[i].a);
          mma_f32(scores[i][2 * j], a, SplitB({k.b[0], k.b[1]}));
          mma_f32(scores[i][2 * j + 1], a, SplitB({k.b[2], k.b[3]}));
        }
      }
    }
    q_address += Traits::QTile::kPanelBytes;
    k_address += Traits::KTile::kPanelBytes;
  }
}

template <typename Traits, int kScoreTiles, int kOutputTiles>
__device__ __forceinline__ void multiply_power_value_f32(float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                                         const float (&powers)[Traits::kRowTiles][kScoreTiles][4],
                                                         uint32_t v_address, int d_v) {
  // Of the next key.
  const uint32_t next_address = (v_address ^ 16) + 128;
#pragma unroll
  for (int depth = 0; depth < kScoreTiles; ++depth) {
#pragma unroll
    for (int panel = 0; panel < Traits::VTile::kPanels; ++panel) {
      if (panel > 0 && panel * 32 >= d_v) break;
      const uint32_t offset = depth * 1024 + panel * Traits::VTile::kPanelBytes;
      const uint4 even = ptx::ld_shared_16(v_address + offset), odd = ptx::ld_shared_16(next_address + offset);
      const SplitB v[4] = {SplitB({even.x, odd.x}), SplitB({even.y, odd.y}), SplitB({even.z, odd.z}),
                           SplitB({even.w, odd.w})};
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) {
        // Depth t and t + 4 of an operand are the keys 2 t and 2 t + 1, as accumulators have them: no data moves between
        // lanes.
        const float(&x)[4] = powers[i][depth];
        const SplitA p({__float_as_uint(x[0]), __float_as_uint(x[2]), __float_as_uint(x[1]), __float_as_uint(x[3])});
#pragma unroll
        for (int e = 0; e < 4; ++e) mma_f32(output[i][panel * 4 + e], p, v[e]);
      }
    }
  }
}

}  // namespace llm_kernels
