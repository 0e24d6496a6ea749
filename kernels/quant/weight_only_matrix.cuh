// Products of grouped weights with many rows of activations. See src/quant/weight_only/README.md.
//
// Rows of weights are those of operand A. A warp's codes come from memory to registers, a load ahead, and become an operand while
// the last one is multiplied; activations are operand B, in shared memory, read once for all of a warp's rows of weights. What a
// step's last products need is in registers before its barrier, so that they cover it.
#pragma once

#include "common/mma.cuh"
#include "quant/weight_only_matrix_load.cuh"

namespace llm_kernels {

// The weights of a warp in the order in which they are multiplied: parts of 32 columns, of each all tiles.
template <typename Weights, typename T, typename Tile>
struct WeightStream {
  static constexpr int kColumnTiles = Tile::kColumnTiles;
  using Loader = CodeLoader<Weights, Tile>;
  static constexpr int kParts = 2;  // Of 32 columns of a step, of a team.
  Loader code_loader;
  FactorLoader<Weights, Tile> factor_loader;
  uint4 codes[kColumnTiles];
  Factors<Weights> factors[kColumnTiles];

  // Begins with a part of a row; parts are counted along it.
  __device__ __forceinline__ WeightStream(const WeightOnlyParams& params, int first_tile, int part, unsigned lane)
      : code_loader(params, first_tile, part, lane), factor_loader(params, first_tile, part) {
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) load(i, part, part, true);
  }

  // Loads what the next part has in place of a tile of part `part` of the step that begins with part `number`, all of which
  // has become operands.
  __device__ __forceinline__ void refill(int i, int number, int part, int next) {
    load(i, number + part, next, part % Loader::kParts == Loader::kParts - 1);
  }

  // Operand A of 16 columns of a tile: half `pair` of the part `part` of its step.
  __device__ __forceinline__ void dequantise(FragmentA& to, int i, int part, int pair) const {
    const uint32_t all[4] = {codes[i].x, codes[i].y, codes[i].z, codes[i].w};
    const int first = (part % Loader::kParts * 2 + pair) * Weights::kWords;
    uint32_t words[Weights::kWords];
#pragma unroll
    for (int word = 0; word < Weights::kWords; ++word) words[word] = all[first + word];
    Weights::template widen<T>(words, to.a);
    const uint32_t scale[2] = {ptx::prmt(factors[i].scales, 0, 0x1010), ptx::prmt(factors[i].scales, 0, 0x3232)};
    uint32_t minus_zero[2] = {};
    if constexpr (Weights::kHasZeros) pack_minus_zeros<Weights, T>(factors[i].zeros, minus_zero);
#pragma unroll
    for (int e = 0; e < 4; ++e) to.a[e] = scaled<Weights, T>(to.a[e], minus_zero[e % 2], scale[e % 2]);
  }

 private:
  __device__ __forceinline__ void load(int i, int last, int part, bool has_codes) {
    factors[i] = factor_loader.load(i, last, part);
    if (has_codes) codes[i] = code_loader.load(i, part / Loader::kParts - last / Loader::kParts);
  }
};

// Adds the products of steps first_step to last_step - 1 of a tile to this warp's sums.
template <typename Weights, typename T, typename Tile>
__device__ __forceinline__ void multiply_steps(float (&sums)[Tile::kColumnTiles][Tile::kRowTiles][4],
                                               const WeightOnlyParams& params, uint32_t shared, int first_row,
                                               int first_tile, int team, int first_step, int last_step) {
  constexpr int kStages = Tile::kStages, kParts = WeightStream<Weights, T, Tile>::kParts;
  const unsigned thread = ptx::thread_index(), lane = thread % 32;
  ActivationLoader<Tile> loader(params, first_row, first_step, thread);
  uint4 b[Tile::kRowTiles];
  // Where this lane's activations of a part begin. Found out anew for each part, as are the copies' places: registers are few.
  auto rows_of = [&](uint32_t stage, int part) {
    const unsigned own = ptx::thread_index(), team_warp = own / 32 % Tile::kTeamWarps;
    const int row = team_warp / Tile::kColumnWarps * Tile::kRowTiles * 8 + own % 32 / 4;
    return stage + own / 32 / Tile::kTeamWarps * Tile::kPanelBytes + activation_offset(row, own % 4 + part * 4);
  };

  // The last share's loads are over.
  __syncthreads();
#pragma unroll 1
  for (int stage = 0; stage < kStages; ++stage) {
    const int step = first_step + stage;
    loader.template load<0, loader.kPasses>(shared + stage * Tile::kStageBytes, step, step < last_step);
  }
  // Of this team: the number of a step's first part, and of the last step's.
  int number = (first_step * Tile::kTeams + team) * kParts;
  const int last = ((last_step - 1) * Tile::kTeams + team) * kParts;
  WeightStream<Weights, T, Tile> weights(params, first_tile, number, lane);
  FragmentA a[2];  // Of these 16 columns of a tile, and of what comes next.
  weights.dequantise(a[0], 0, 0, 0);
  wait_for_copies<kStages - 1>();
  __syncthreads();
#pragma unroll
  for (int j = 0; j < Tile::kRowTiles; ++j) b[j] = ptx::ld_shared_16(rows_of(shared, 0) + j * 1024);

  uint32_t stage = shared;
  const uint32_t last_stage = shared + (kStages - 1) * Tile::kStageBytes;
#pragma unroll 1
  while (number <= last) {
    // Behind the last step what exists is loaded once more, for nobody: no branches among the products.
    const int next = min(number + Tile::kTeams * kParts, last);
    const int copied = number + kStages * Tile::kTeams * kParts, copied_step = copied / (Tile::kTeams * kParts);
    const uint32_t next_stage = stage == last_stage ? shared : stage + Tile::kStageBytes;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int i = 0; i < Tile::kColumnTiles; ++i) {
        constexpr int kPasses = ActivationLoader<Tile>::kPasses;
        const bool ends_part = i == Tile::kColumnTiles - 1, ends_step = ends_part && part == kParts - 1;
        const int next_part = ends_step ? 0 : part + 1;
        if (ends_step) {
          // Shows the next step's copies to all, and that this step's have been read.
          wait_for_copies<kStages - 2>();
          __syncthreads();
        }
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          const uint32_t next_rows = ends_part && pair == 1 ? rows_of(ends_step ? next_stage : stage, next_part) : 0;
#pragma unroll
          for (int j = 0; j < Tile::kRowTiles; ++j) {
            const uint32_t b0 = pair == 0 ? b[j].x : b[j].z, b1 = pair == 0 ? b[j].y : b[j].w;
            mma<T>(sums[i][j], a[pair], b0, b1, sums[i][j]);
            if (ends_part && pair == 1) b[j] = ptx::ld_shared_16(next_rows + j * 1024);
            if (j > 0) continue;
            if (pair == 0) {
              weights.dequantise(a[1], i, part, 1);
              weights.refill(i, number, part, part == 0 ? number + 1 : next);
            } else {
              weights.dequantise(a[0], ends_part ? 0 : i + 1, ends_part ? next_part : part, 0);
            }
          }
          if (ends_step && pair == 0) loader.template load<0, (kPasses + 1) / 2>(stage, copied_step, copied <= last);
          if (ends_step && pair == 1) loader.template load<(kPasses + 1) / 2, kPasses>(stage, copied_step, copied <= last);
        }
      }
    }
    stage = next_stage;
    number += Tile::kTeams * kParts;
  }
  // No copy is in flight, of zeros either, when the memory is used again or given back.
  wait_for_copies();
  __syncthreads();
}

}  // namespace llm_kernels
