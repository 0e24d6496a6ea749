// What a tile of steps needs before the state goes through it, with a decay of every key channel. See recurrence_steps.cuh.
//
// The weights of a block's steps go into q and k: q_i becomes 2^x_i q_i, k_j becomes 2^(x_last - x_j) k_j, and the product of
// these, with 2^-x_last in each channel, is the score. That last factor is above 1: where it is too much for some channel, the
// scores of the tile are added up as they are defined, before q and k are weighed.
#pragma once

#include <cstdint>
#include <type_traits>

#include "scan/recurrence_block.cuh"
#include "scan/recurrence_state.cuh"
#include "scan/recurrence_steps.cuh"

namespace llm_kernels {

// The least sum of logarithms of a block that goes through q and k: so little is lost where f16 elements become subnormal.
template <typename T>
inline constexpr float kLeastSum = std::is_same_v<T, f16> ? -4.0f : -100.0f;

// Two channels of a block of 16 steps, which one thread has.
template <typename Traits>
struct ChannelPair {
  using KeyTile = typename Traits::KeyTile;
  using DecayTile = typename Traits::DecayTile;
  static constexpr int kPairs = Traits::kKeys / 2 * Traits::kBlocks;

  int block, channel;

  __device__ __forceinline__ explicit ChannelPair(int index)
      : block(index / (Traits::kKeys / 2)), channel(index % (Traits::kKeys / 2) * 2) {}

  // Addresses in row `row` of the tile of decays at `base`, and of a tile of keys.
  static __device__ __forceinline__ uint32_t decay_address(uint32_t base, int row, int channel) {
    return DecayTile{base}.chunk_address(row, channel / 4 % 8) + channel / 32 * DecayTile::kPanelBytes + channel % 4 * 4;
  }
  static __device__ __forceinline__ uint32_t key_address(uint32_t base, int row, int channel) {
    return KeyTile{base}.chunk_address(row, channel / 8 % 8) + channel / 64 * KeyTile::kPanelBytes + channel % 8 * 2;
  }

  // Where the block's factors, or sums, of these channels are.
  __device__ __forceinline__ uint32_t offset() const { return (block * Traits::kKeys + channel) * 4; }
};

// The scores of a block as they are defined. One warp.
template <typename Traits>
__device__ __forceinline__ void add_up_scores(float (&scores)[2][4], uint32_t stage, int block, int d_k, unsigned lane) {
  using T = typename Traits::T;
  using Pair = ChannelPair<Traits>;
  const uint32_t decays = stage + Traits::kDecayOffset, keys = stage + Traits::KeyTile::kBytes;
#pragma unroll 1
  for (int channel = 0; channel < d_k; channel += 2) {
    float2 q[2], q_sum[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = block * 16 + score_row(2 * h, lane);
      q[h] = T::unpack(ptx::ld_shared_4(Pair::key_address(stage, row, channel)));
      q_sum[h] = shared_float2(Pair::decay_address(decays, row, channel));
    }
#pragma unroll
    for (int column = 0; column < 4; ++column) {
      const int row = block * 16 + score_column(column / 2, column % 2, lane);
      const float2 k = T::unpack(ptx::ld_shared_4(Pair::key_address(keys, row, channel)));
      const float2 k_sum = shared_float2(Pair::decay_address(decays, row, channel));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& score = scores[column / 2][h * 2 + column % 2];
        score += q[h].x * k.x * ptx::ex2_approx_ftz(q_sum[h].x - k_sum.x);
        score += q[h].y * k.y * ptx::ex2_approx_ftz(q_sum[h].y - k_sum.y);
      }
    }
  }
}

// Weights q and k, and stores the factors and their logarithms, and the scores. All threads of the block.
template <typename Traits>
__device__ __forceinline__ void weigh_channels(const LinearRecurrenceParams& params, uint32_t shared, uint32_t stage) {
  using T = typename Traits::T;
  using Pair = ChannelPair<Traits>;
  using Tile = typename Traits::KeyTile;
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32, warp = thread / 32;
  const uint32_t decays = stage + Traits::kDecayOffset, keys = stage + Tile::kBytes;
  const int first = warp < Traits::kWarps ? thread : Pair::kPairs;
  bool far = false;
#pragma unroll 1
  for (int index = first; index < Pair::kPairs; index += Traits::kThreads) {
    const Pair pair(index);
    float2 sum = {0.0f, 0.0f};
#pragma unroll 4
    for (int i = 0; i < 16; ++i) {
      const uint32_t address = Pair::decay_address(decays, pair.block * 16 + i, pair.channel);
      const float2 log = shared_float2(address), before = sum;
      sum = {sum.x + limited_log2(log.x), sum.y + limited_log2(log.y)};
      const float2 own = params.reverse ? before : sum;
      ptx::st_shared_8(address, {__float_as_uint(own.x), __float_as_uint(own.y)});
    }
    far = far || sum.x < kLeastSum<T> || sum.y < kLeastSum<T>;
    ptx::st_shared_8(shared + Traits::kKeyOffset + pair.offset(), {__float_as_uint(sum.x), __float_as_uint(sum.y)});
    ptx::st_shared_8(shared + Traits::kRowOffset + pair.offset(),
                     {__float_as_uint(ptx::ex2_approx_ftz(sum.x)), __float_as_uint(ptx::ex2_approx_ftz(sum.y))});
  }
  const bool directly = __syncthreads_or(far);
  const bool scores_here = !params.states_only && warp < Traits::kBlocks;
  float scores[2][4] = {};
  if (directly) {
    if (scores_here) {
      add_up_scores<Traits>(scores, stage, warp, params.d_k, lane);
#pragma unroll
      for (int e = 0; e < 8; ++e) scores[e / 4][e % 4] *= params.key_scale;
    }
    __syncthreads();
  }
#pragma unroll 1
  for (int index = first; index < Pair::kPairs; index += Traits::kThreads) {
    const Pair pair(index);
    const float2 total = shared_float2(shared + Traits::kKeyOffset + pair.offset());
#pragma unroll 4
    for (int i = 0; i < 16; ++i) {
      const int row = pair.block * 16 + i;
      const float2 sum = shared_float2(Pair::decay_address(decays, row, pair.channel));
      const auto weigh = [&](uint32_t address, float x, float y) {
        const float2 element = T::unpack(ptx::ld_shared_4(address));
        ptx::st_shared_4(address, T::pack(element.x * x, element.y * y));
      };
      if (!params.states_only) {
        weigh(Pair::key_address(stage, row, pair.channel), ptx::ex2_approx_ftz(sum.x), ptx::ex2_approx_ftz(sum.y));
      }
      weigh(Pair::key_address(keys, row, pair.channel), ptx::ex2_approx_ftz(total.x - sum.x) * params.key_scale,
            ptx::ex2_approx_ftz(total.y - sum.y) * params.key_scale);
    }
  }
  if (params.states_only) return;
  if (!directly) {
    __syncthreads();
    if (scores_here) {
      multiply_steps<Traits, true>(scores, Tile{stage}.ldmatrix_address(lane), Tile{keys}.ldmatrix_address_n_by_k(lane),
                                   warp, params.d_k, shared + Traits::kKeyOffset + warp * Traits::kKeys * 4, lane);
    }
  }
  if (!scores_here) return;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const bool earlier = score_column(n, e, lane) <= score_row(e, lane);
      scores[n][e] = earlier ? scores[n][e] * params.scale : 0.0f;
    }
  }
  store_scores(shared + Traits::kScoreOffset + warp * 1024, scores, lane);
}

}  // namespace llm_kernels
