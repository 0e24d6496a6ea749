// The state of the linear recurrence in a warp's registers.
//
// A warp holds S^T, 16 value columns by all key channels, in accumulators: tile j is channels 8 j to 8 j + 7. Lane l, with
// g = l / 4 and t = l % 4, has of it the values g (elements 0, 1) and g + 8 (2, 3) of the channels 8 j + 2 t and + 1. These
// are what operand B of q S wants of this lane: the state never leaves its registers between steps.
#pragma once

#include <cstdint>

#include "common/mma.cuh"
#include "common/ptx.cuh"
#include "common/ptx/shared_word.cuh"
#include "common/wide_operand.cuh"
#include "scan/recurrence_block.cuh"

namespace llm_kernels {

__device__ __forceinline__ float shared_float(uint32_t address) { return __uint_as_float(ptx::ld_shared_4(address)); }

__device__ __forceinline__ float2 shared_float2(uint32_t address) {
  const uint2 bits = ptx::ld_shared_8(address);
  return {__uint_as_float(bits.x), __uint_as_float(bits.y)};
}

template <typename Traits>
struct RecurrenceState {
  using T = typename Traits::T;
  static constexpr int kTiles = Traits::kKeys / 8;

  float s[kTiles][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[j][e] = 0.0f;
    }
  }

  // Calls visit(element, offset) for what the lane has of a state in memory, of `values` columns from `value_first` on.
  template <typename Visit>
  __device__ __forceinline__ void each(int d_k, int value_first, int values, int value_stride, int key_stride,
                                       Visit visit) {
    const unsigned lane = ptx::thread_index() % 32;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      if (j * 8 >= d_k) break;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int value = value_first + lane / 4 + e / 2 * 8, key = j * 8 + lane % 4 * 2 + e % 2;
        // A state has at most 2^16 elements.
        if (value < values) visit(s[j][e], value * value_stride + key * key_stride);
      }
    }
  }

  // O = q S for the 16 steps whose q is at `address`, this lane's for ldmatrix of the tile.
  __device__ __forceinline__ void multiply(float (&o)[2][4], uint32_t address, int block, int d_k) const {
#pragma unroll
    for (int depth = 0; depth < kTiles / 2; ++depth) {
      if (depth * 16 >= d_k) break;
      FragmentA q;
      q.load(Traits::KeyTile::block_address(address, block, depth));
      const float(&low)[4] = s[2 * depth], (&high)[4] = s[2 * depth + 1];
      mma_wide_b<T>(o[0], q, {low[0], low[1], high[0], high[1]});
      mma_wide_b<T>(o[1], q, {low[2], low[3], high[2], high[3]});
    }
  }

  // S += k^T v for the 16 steps whose k is at `address`, likewise; `v` is their v^T.
  __device__ __forceinline__ void add(const FragmentA& v, uint32_t address, int block, int d_k) {
#pragma unroll
    for (int j = 0; j < kTiles / 2; ++j) {
      if (j * 16 >= d_k) break;
      FragmentB k;
      k.load_k_by_n(Traits::KeyTile::block_address(address, block, j));
      mma<T>(s[2 * j], s[2 * j + 1], v, k);
    }
  }

  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) s[j][e] *= factor;
    }
  }

  // Each channel by its factor; `factors` is the address of those of all channels.
  __device__ __forceinline__ void scale_channels(uint32_t factors) {
    const unsigned lane = ptx::thread_index() % 32;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const float2 factor = shared_float2(factors + (j * 8 + lane % 4 * 2) * 4);
      s[j][0] *= factor.x, s[j][1] *= factor.y, s[j][2] *= factor.x, s[j][3] *= factor.y;
    }
  }
};

// Operands of the 16 steps of a block: v for A v, and its transpose for k^T v.
template <typename Traits>
struct RecurrenceValues {
  FragmentB by_step;
  FragmentA transposed;

  // From this lane's addresses for ldmatrix and ldmatrix of [n][k].
  __device__ __forceinline__ void load(uint32_t address, uint32_t address_n_by_k, int block, int column_block) {
    by_step.load_k_by_n(Traits::ValueTile::block_address(address, block, column_block));
    transposed.load_k_by_m(Traits::ValueTile::block_address(address_n_by_k, block, column_block));
  }

  // A first column of ones: what q S is then is q z.
  __device__ __forceinline__ void set_ones(unsigned lane) {
    const uint32_t ones = lane / 4 == 0 ? Traits::T::pack(1.0f, 1.0f) : 0;
    by_step.b[0] = by_step.b[1] = transposed.a[0] = transposed.a[2] = ones;
    by_step.b[2] = by_step.b[3] = transposed.a[1] = transposed.a[3] = 0;
  }

  // The steps of the transpose by their weights at `weights`, 16 floats.
  __device__ __forceinline__ void weigh(uint32_t weights, unsigned lane) {
    using T = typename Traits::T;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 weight = shared_float2(weights + (half * 8 + lane % 4 * 2) * 4);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t& packed = transposed.a[half * 2 + i];
        const float2 pair = T::unpack(packed);
        packed = T::pack(pair.x * weight.x, pair.y * weight.y);
      }
    }
  }
};

}  // namespace llm_kernels
