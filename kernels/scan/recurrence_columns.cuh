// Weights of the steps of a block with a decay of every value column: of v, and of what a step gives.
//
// With the sums x_i of a column, out_i = 2^x_i (q S + 2^-x_last A w), w_j = 2^(x_last - x_j) v_j, S' = 2^x_last S + k^T w. The
// factor 2^-x_last is above 1: where it is too much, 2^(x_i - x_j) A v is added up as it is defined.
#pragma once

#include <cstdint>

#include "scan/recurrence_block.cuh"
#include "scan/recurrence_channels.cuh"
#include "scan/recurrence_state.cuh"
#include "scan/recurrence_steps.cuh"

namespace llm_kernels {

// Sums and scores of a tile; returns whether products with v are to be added up. All threads of the block.
template <typename Traits>
__device__ __forceinline__ bool weigh_columns(const LinearRecurrenceParams& params, uint32_t shared, uint32_t stage) {
  const unsigned lane = ptx::thread_index() % 32, block = ptx::thread_index() / 32;
  const bool directly = sum_decays<Traits>(params, shared, stage);
  if (params.states_only || block >= Traits::kBlocks) return directly;
  using Tile = typename Traits::KeyTile;
  float scores[2][4] = {};
  multiply_steps<Traits, false>(scores, Tile{stage}.ldmatrix_address(lane),
                                Tile{stage + Tile::kBytes}.ldmatrix_address_n_by_k(lane), block, params.d_k, 0, lane);
  scale_and_store_scores(params.scale, shared + Traits::kScoreOffset + block * 1024, scores, lane);
  return directly;
}

// The 16 value columns of a warp in a block of steps.
template <typename Traits>
struct ColumnWeights {
  using T = typename Traits::T;
  using Pair = ChannelPair<Traits>;

  uint32_t decays, sums, factors;  // Addresses: of the tile of sums; of the warp's columns in the block's sums and factors.
  int block, column_first;

  __device__ __forceinline__ ColumnWeights(uint32_t shared, uint32_t stage, int block_, int warp)
      : decays(stage + Traits::kDecayOffset), block(block_), column_first(warp * 16) {
    const int offset = (block * Traits::kValues + column_first) * 4;
    sums = shared + Traits::kKeyOffset + offset;
    factors = shared + Traits::kRowOffset + offset;
  }

  __device__ __forceinline__ float sum(int step, int column) const {
    return shared_float(Pair::decay_address(decays, block * 16 + step, column_first + column));
  }

  // Weighs v, in both operands.
  __device__ __forceinline__ void weigh(RecurrenceValues<Traits>& v, float key_scale, unsigned lane) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = i * 8 + lane / 4, step = half * 8 + lane % 4 * 2;
        const float total = shared_float(sums + column * 4);
        uint32_t& packed = v.transposed.a[half * 2 + i];
        const float2 pair = T::unpack(packed);
        packed = T::pack(pair.x * (ptx::ex2_approx_ftz(total - sum(step, column)) * key_scale),
                         pair.y * (ptx::ex2_approx_ftz(total - sum(step + 1, column)) * key_scale));
      }
    }
    // The same elements, in the other operand's order.
    v.by_step.b[0] = v.transposed.a[0], v.by_step.b[1] = v.transposed.a[2];
    v.by_step.b[2] = v.transposed.a[1], v.by_step.b[3] = v.transposed.a[3];
  }

  // S by the factors of its columns.
  __device__ __forceinline__ void scale(RecurrenceState<Traits>& state, unsigned lane) const {
    const float low = shared_float(factors + lane / 4 * 4), high = shared_float(factors + (8 + lane / 4) * 4);
#pragma unroll
    for (int j = 0; j < RecurrenceState<Traits>::kTiles; ++j) {
      state.s[j][0] *= low, state.s[j][1] *= low, state.s[j][2] *= high, state.s[j][3] *= high;
    }
  }

  // o = 2^x_i (scale o + 2^-x_last product), or, directly, 2^x_i scale o + product.
  __device__ __forceinline__ void finish(float (&o)[2][4], const float (&product)[2][4], float scale, bool directly,
                                         unsigned lane) const {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = score_column(n, e, lane);
        const float weight = ptx::ex2_approx_ftz(sum(score_row(e, lane), column));
        const float inverse = ptx::ex2_approx_ftz(-shared_float(sums + column * 4));
        o[n][e] = directly ? weight * scale * o[n][e] + product[n][e]
                           : weight * (scale * o[n][e] + inverse * product[n][e]);
      }
    }
  }

  // product = sum over j <= i of 2^(x_i - x_j) A_ij v_j, as it is written; `scores` is the address of the block's.
  __device__ __forceinline__ void add_up(float (&product)[2][4], typename Traits::ValueTile tile, uint32_t scores,
                                         float key_scale, unsigned lane) const {
#pragma unroll 1
    for (int j = 0; j < 16; ++j) {
      // Where store_scores has put column j of the rows g and g + 8.
      const uint32_t address = scores + j / 8 * 512 + (lane / 4 * 4 + j % 8 / 2) * 16 + j % 2 * 4;
      const float weights[2] = {shared_float(address), shared_float(address + 8)};
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int column = score_column(n, 0, lane);
        const uint32_t place = tile.chunk_address(block * 16 + j, (column_first + column) / 8) + column % 8 * 2;
        const float2 v = T::unpack(ptx::ld_shared_4(place));
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float exponent = sum(score_row(e, lane), column + e % 2) - sum(j, column + e % 2);
          const float term = weights[e / 2] * (e % 2 == 0 ? v.x : v.y) * (ptx::ex2_approx_ftz(exponent) * key_scale);
          if (j <= score_row(e, lane)) product[n][e] += term;
        }
      }
    }
  }
};

}  // namespace llm_kernels
