// The kernel around weight_only_dozens.cuh: stages, steps, the result.
#pragma once

#include "quant/weight_only_dozens.cuh"

namespace llm_kernels {

template <typename Weights, typename T, int kRowTiles, int kColumnTiles, int kRowWarps, int kColumnWarps, int kTeams>
__device__ __forceinline__ void multiply_dozens(const WeightOnlyParams& params) {
  using Tile = DozensTile<Weights, kRowTiles, kColumnTiles, kRowWarps, kColumnWarps, kTeams>;
  extern __shared__ __align__(128) char shared[];
  const unsigned thread = ptx::thread_index(), team_thread = thread % Tile::kThreads, warp = team_thread / 32;
  const int team = thread / Tile::kThreads;
  // Neighbouring blocks have the same weights.
  const int row_blocks = (params.m + Tile::kRows - 1) / Tile::kRows;
  const int block = ptx::block_index(), column_block = block / row_blocks, split = ptx::block_index<1>();
  const int first_row = (block - column_block * row_blocks) * Tile::kRows, first_tile = column_block * Tile::kTiles;
  const int warp_row = warp / kColumnWarps * kRowTiles * 8, warp_tile = warp % kColumnWarps * kColumnTiles;

  const int first = split * params.split_chunks, end = min(first + params.split_chunks, params.num_chunks);
  // Chunks are even in number: teams have equally many.
  const int num_steps = (end - first) / kTeams;
  GroupedLoader<Weights, Tile> loader(params, first_row, first_tile, first + team, team_thread);
  const GroupedLane<Weights, T, Tile> lane(params, warp_row, warp_tile, thread % 32);
  float sums[kColumnTiles][kRowTiles][4] = {};
  uint32_t stage = ptx::shared_address(shared) + team * Tile::kStages * Tile::kStageBytes;
  const uint32_t base = stage, last = base + (Tile::kStages - 1) * Tile::kStageBytes;
#pragma unroll 1
  for (int ahead = 0; ahead < Tile::kStages - 1; ++ahead) {
    if (ahead < num_steps) loader.load(base + ahead * Tile::kStageBytes);
    commit_copies();
  }
  uint32_t next = last;
#pragma unroll 1
  for (int step = 0; step < num_steps; ++step) {
    // Shows this step's copies to all, and that what the next ones go over has been read.
    wait_for_copies<Tile::kStages - 2>();
    __syncthreads();
    if (step + Tile::kStages - 1 < num_steps) loader.load(next);
    commit_copies();
    multiply_chunk<Weights, T, Tile>(sums, lane, stage);
    next = stage;
    stage = stage == last ? base : stage + Tile::kStageBytes;
  }

  wait_for_copies();
  __syncthreads();
  store_tile<Tile>(sums, params, reinterpret_cast<float*>(shared), warp_row, warp_tile, team, first_row,
                   first_tile * kChunkRows, split);
}

}  // namespace llm_kernels
