// Products of grouped weights with up to 32 rows of activations. See src/quant/weight_only/README.md.
//
// A block computes kColumns columns of y (rows of weights) by kRows rows, in steps of 64 of k that come kStages - 1 ahead. A warp
// widens the codes of its rows of weights in registers, where they are operand A; activations are operand B.
#pragma once

#include "common/mma.cuh"
#include "common/ptx/shared_word.cuh"
#include "quant/weight_only_dozens_load.cuh"

namespace llm_kernels {

// The scale of rows g and g + 8 of a tile, each in both halves of a register, and their zero-points, negative.
template <typename Weights, typename T>
struct GroupFactors {
  uint32_t scale[2], minus_zero[2];

  __device__ __forceinline__ void load_scales(uint32_t address) {
    const uint32_t both = ptx::ld_shared_4(address);
    scale[0] = ptx::prmt(both, 0, 0x1010), scale[1] = ptx::prmt(both, 0, 0x3232);
  }

  __device__ __forceinline__ void load_zeros(uint32_t address) {
    const int both = ptx::ld_shared_2(address);
    pack_minus_zeros<Weights, T>(both & 0xff, both >> 8, minus_zero);
  }
};

// Where a lane finds its operands in a stage.
template <typename Weights, typename T, typename Tile>
struct GroupedLane {
  uint32_t codes, scales, zeros, x[2];
  uint32_t constant_zeros[2] = {};  // For all groups, if there are no zero-points.
  bool has_zeros, small_groups;

  __device__ __forceinline__ GroupedLane(const WeightOnlyParams& params, int first_row, int first_tile, unsigned lane) {
    const int g = lane / 4, t = lane % 4;
    codes = first_tile * Weights::kChunkBytes + lane * 16;
    scales = Tile::kScalesAt + (first_tile * 16 + g) * 4;
    zeros = Tile::kZerosAt + (first_tile * 16 + g) * 2;
    x[0] = Tile::kActivationsAt + activation_offset(first_row + g, t);
    x[1] = Tile::kActivationsAt + activation_offset(first_row + g, 4 + t);
    pack_minus_zeros<Weights, T>(params.zero, params.zero, constant_zeros);
    has_zeros = Weights::kHasZeros && params.zeros != nullptr;
    // Two groups of 32 in a step.
    small_groups = params.group_shift == 0;
  }
};

// sums += the products of 64 columns: of a warp's rows of weights and rows of activations.
template <typename Weights, typename T, typename Tile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_chunk(float (&sums)[kColumnTiles][kRowTiles][4],
                                               const GroupedLane<Weights, T, Tile>& lane, uint32_t stage) {
  // 4-bit codes of both halves: loads of 8 bytes, 16 apart, would have bank conflicts.
  uint4 loaded[kColumnTiles];
  GroupFactors<Weights, T> factors[kColumnTiles];
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    FragmentA a[kColumnTiles][2];
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) {
      // A group of 64 or more goes on; of more tiles than two its factors would take too many registers.
      if (part == 0 || kColumnTiles > 2 || lane.small_groups) {
        const int group = i * 16 + (part == 1 && lane.small_groups ? 8 : 0);
        factors[i].minus_zero[0] = lane.constant_zeros[0], factors[i].minus_zero[1] = lane.constant_zeros[1];
        factors[i].load_scales(stage + lane.scales + group * 4);
        if (lane.has_zeros) factors[i].load_zeros(stage + lane.zeros + group * 2);
      }
      if (part == 0 || Weights::kWords == 2) {
        loaded[i] = ptx::ld_shared_16(stage + lane.codes + i * Weights::kChunkBytes + part * 512);
      }
      uint32_t words[2][Weights::kWords];
      if constexpr (Weights::kWords == 1) {
        words[0][0] = part == 0 ? loaded[i].x : loaded[i].z, words[1][0] = part == 0 ? loaded[i].y : loaded[i].w;
      } else {
        words[0][0] = loaded[i].x, words[0][1] = loaded[i].y, words[1][0] = loaded[i].z, words[1][1] = loaded[i].w;
      }
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        Weights::template widen<T>(words[pair], a[i][pair].a);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          a[i][pair].a[e] = scaled<Weights, T>(a[i][pair].a[e], factors[i].minus_zero[e % 2], factors[i].scale[e % 2]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
      const uint4 b = ptx::ld_shared_16(stage + lane.x[part] + j * 1024);
#pragma unroll
      for (int i = 0; i < kColumnTiles; ++i) mma<T>(sums[i][j], a[i][0], b.x, b.y, sums[i][j]);
#pragma unroll
      for (int i = 0; i < kColumnTiles; ++i) mma<T>(sums[i][j], a[i][1], b.z, b.w, sums[i][j]);
    }
  }
}

// Leaves a warp's sums in shared memory, or adds them to those that lie there.
template <bool kAdds, int kPitch, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void leave_sums(float* shared, const float (&sums)[kColumnTiles][kRowTiles][4]) {
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& to = shared[(j * 8 + e % 2) * kPitch + i * kChunkRows + e / 2 * 8];
        to = kAdds ? to + sums[i][j][e] : sums[i][j][e];
      }
    }
  }
}

// Stores a team's sums over a split of k, those of the other team added. 8 lanes store 32 neighbouring bytes.
template <typename Tile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_partials(float (&sums)[kColumnTiles][kRowTiles][4], const WeightOnlyParams& params,
                                               const float* others, int first_row, int first_column, int split) {
  float* to = params.partials + (static_cast<int64_t>(split) * params.m + first_row) * params.n + first_column;
#pragma unroll
  for (int j = 0; j < kRowTiles; ++j) {
#pragma unroll
    for (int side = 0; side < 2; ++side, to += params.n) {
#pragma unroll
      for (int i = 0; i < kColumnTiles; ++i) {
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) {
          float sum = sums[i][j][upper * 2 + side];
          const int offset = i * kChunkRows + upper * 8;
          if constexpr (Tile::kTeams == 2) sum += others[(j * 8 + side) * Tile::kPitch + offset];
          if (first_row + j * 8 + side < params.m && first_column + offset < params.n) to[offset] = sum;
        }
      }
    }
    to += static_cast<int64_t>(params.n) * 6;
  }
}

// Stores a block's sums, by way of shared memory: neighbouring threads have neighbouring columns.
template <typename Tile, int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store_tile(float (&sums)[kColumnTiles][kRowTiles][4], const WeightOnlyParams& params,
                                           float* shared, int warp_row, int warp_tile, int team, int first_row,
                                           int first_column, int split) {
  const unsigned thread = ptx::thread_index(), lane = thread % 32;
  const int own_row = warp_row + lane % 4 * 2, own_column = warp_tile * kChunkRows + lane / 4;
  float* to = shared + own_row * Tile::kPitch + own_column;
  if (params.num_splits > 1) {
    if (team == 1) leave_sums<false, Tile::kPitch>(to, sums);
    __syncthreads();
    if (team == 0) store_partials<Tile>(sums, params, to, first_row + own_row, first_column + own_column, split);
    return;
  }
  if (team == 0) leave_sums<false, Tile::kPitch>(to, sums);
  __syncthreads();
  if constexpr (Tile::kTeams == 2) {
    if (team == 1) leave_sums<true, Tile::kPitch>(to, sums);
    __syncthreads();
  }
  const int own = thread % Tile::kColumns, column = first_column + own;
  if (column >= params.n) return;
  const int rows = min(Tile::kRows, params.m - first_row);
  for (int row = thread / Tile::kColumns; row < rows; row += Tile::kTeams * Tile::kThreads / Tile::kColumns) {
    store_result(params, split, first_row + row, column, shared[row * Tile::kPitch + own]);
  }
}

}  // namespace llm_kernels
