// The kernels around weight_only_matrix.cuh: shares of tiles, and where their sums go.
#pragma once

#include "quant/shares.cuh"
#include "quant/weight_only_matrix.cuh"

namespace llm_kernels {

// The sums over both teams, of half of the tiles for each.
template <typename Tile>
__device__ __forceinline__ void add_teams(float (&own)[Tile::kOwnTiles][Tile::kRowTiles][4],
                                          const float (&sums)[Tile::kColumnTiles][Tile::kRowTiles][4], float4* shared) {
  const unsigned thread = ptx::thread_index(), team = thread / 32 / Tile::kTeamWarps;
  constexpr int kOther = Tile::kThreads / 2;
#pragma unroll
  for (int i = 0; i < Tile::kOwnTiles; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kRowTiles; ++j) {
      const float(&first)[4] = sums[i][j];
      const float(&second)[4] = sums[Tile::kOwnTiles + i][j];
      float4& given = shared[(i * Tile::kRowTiles + j) * Tile::kThreads + (thread ^ kOther)];
      given = team == 0 ? float4{second[0], second[1], second[2], second[3]} : float4{first[0], first[1], first[2], first[3]};
#pragma unroll
      for (int e = 0; e < 4; ++e) own[i][j][e] = team == 0 ? first[e] : second[e];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Tile::kOwnTiles; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kRowTiles; ++j) {
      const float4 taken = shared[(i * Tile::kRowTiles + j) * Tile::kThreads + thread];
      own[i][j][0] += taken.x, own[i][j][1] += taken.y, own[i][j][2] += taken.z, own[i][j][3] += taken.w;
    }
  }
}

// Where a thread's own sums of a tile belong.
template <typename Tile>
struct TilePlace {
  int first_row, first_column;  // Of the lane's first sum.

  // Neighbouring tiles have the same weights.
  __device__ __forceinline__ TilePlace(const WeightOnlyParams& params, int tile) {
    const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32 % Tile::kTeamWarps;
    const int team = thread / 32 / Tile::kTeamWarps, column_tile = tile / params.row_tiles;
    const int row_tile = tile - column_tile * params.row_tiles;
    first_row = row_tile * Tile::kRows + warp / Tile::kColumnWarps * Tile::kRowTiles * 8 + lane % 4 * 2;
    first_column = column_tile * Tile::kColumns +
                   (warp % Tile::kColumnWarps * Tile::kColumnTiles + team * Tile::kOwnTiles) * kChunkRows + lane / 4;
  }

  // Sums from tile i, j on.
  template <int kColumnTiles, int kRowTiles>
  __device__ __forceinline__ void store(const WeightOnlyParams& params, const float (&sums)[kColumnTiles][kRowTiles][4],
                                        int first_i = 0, int first_j = 0) const {
    const int column = first_column + first_i * kChunkRows;
    float bias[2 * kColumnTiles] = {};
    if (params.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < 2 * kColumnTiles; ++i) {
        bias[i] = load_element(params.bias, min(column + i * 8, params.n - 1), params.bias_type);
      }
    }
    with_element_type(params.y_type, [&](auto element) {
      using Y = decltype(element);
      int row = first_row + first_j * 8;
      Y* to = static_cast<Y*>(params.y) + row * params.y_stride + column;
#pragma unroll
      for (int j = 0; j < 2 * kRowTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2 * kColumnTiles; ++i) {
          store_if(row < params.m && column + i * 8 < params.n, to + i * 8, sums[i / 2][j / 2][i % 2 * 2 + j % 2] + bias[i]);
        }
        const int rows = j % 2 == 0 ? 1 : 7;
        row += rows, to += rows * params.y_stride;
      }
    });
  }
};

template <typename Weights, typename T, typename Tile>
__device__ __forceinline__ void multiply_grouped(const WeightOnlyParams& params) {
  extern __shared__ __align__(128) char shared[];
  // What is needed when the sums are there, by when registers are free again; each thread has its own place.
  const uint32_t later = ptx::shared_address(shared) + Tile::kLaterAt;
  const ShareWalk<2 / Tile::kTeams> walk{params.shares, params.num_chunks / Tile::kTeams};
#pragma unroll 1
  for (int position = walk.exists(walk.first()) ? walk.first() : -1; position >= 0;) {
    const Share share = walk.share(position);
    const int next = walk.next(position);
    ptx::st_shared_16(later + ptx::thread_index() * 16,
                      {static_cast<unsigned>(share.tile), static_cast<unsigned>(share.partial),
                       static_cast<unsigned>(walk.exists(next) ? next : -1), 0});
    const unsigned warp = ptx::thread_index() / 32, team_warp = warp % Tile::kTeamWarps;
    const int column_tile = share.tile / params.row_tiles, row_tile = share.tile - column_tile * params.row_tiles;
    const int first_tile = (column_tile * Tile::kColumnWarps + team_warp % Tile::kColumnWarps) * Tile::kColumnTiles;
    float sums[Tile::kColumnTiles][Tile::kRowTiles][4] = {};
    if (params.k > 0) {
      multiply_steps<Weights, T, Tile>(sums, params, ptx::shared_address(shared), row_tile * Tile::kRows, first_tile,
                                       warp / Tile::kTeamWarps, share.first_step, share.last_step);
    }
    float own[Tile::kOwnTiles][Tile::kRowTiles][4];
    if constexpr (Tile::kTeams == 2) {
      add_teams<Tile>(own, sums, reinterpret_cast<float4*>(shared));
    } else {
#pragma unroll
      for (int i = 0; i < Tile::kOwnTiles; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kRowTiles; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) own[i][j][e] = sums[i][j][e];
        }
      }
    }
    // That place put together in another way, or else it would be kept in a register through the loop.
    const unsigned own_lane = ptx::opaque(ptx::thread_index()) % 32, own_warp = ptx::opaque(ptx::thread_index()) / 32;
    const uint4 done = ptx::ld_shared_16(later + own_warp * 512 + own_lane * 16);
    const int tile = done.x, partial = done.y;
    position = done.z;
    if (partial < 0) {
      TilePlace<Tile>(params, tile).store(params, own);
    } else {
      store_partial_sums<Tile::kQuads, Tile::kThreads>(reinterpret_cast<float4*>(params.partials), own, partial);
    }
  }
}

inline constexpr int kAddQuads = 2;

// Adds up the sums of shared tiles, in the order of k. Block: kAddQuads quads of each thread of a tile.
template <typename Tile>
__device__ __forceinline__ void add_shares(const WeightOnlyParams& params) {
  constexpr int kBlocks = Tile::kQuads / kAddQuads;
  const int tile = ptx::block_index() / kBlocks, first = ptx::block_index() % kBlocks * kAddQuads;
  float sums[1][kAddQuads][4] = {};
  const float4* partials = reinterpret_cast<const float4*>(params.partials);
  if (!add_partial_sums<Tile::kQuads, Tile::kThreads>(sums, params.shares, partials, tile, first)) return;
  TilePlace<Tile>(params, params.shares.whole_tiles + tile).store(params, sums, first / Tile::kRowTiles, first % Tile::kRowTiles);
}

}  // namespace llm_kernels
