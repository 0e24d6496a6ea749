// The kernel around weight_only_vector.cuh, and what adds up splits of k.
#pragma once

#include "quant/weight_only_vector.cuh"

namespace llm_kernels {

// Adds up a warp's steps.
template <typename Weights, typename T, int kGroups, bool kZeros, bool kPlain>
__device__ __forceinline__ void multiply_steps(float (&totals)[kVectorTiles][4], const WeightOnlyParams& params,
                                               int first_tile, int first, int end, unsigned lane) {
  if (first >= end) return;
  VectorLoader<Weights, kGroups, kZeros, kPlain> loader(params, first_tile, first, lane);
  uint32_t constant_zeros[2] = {};
  pack_minus_zeros<Weights, T>(params.zero, params.zero, constant_zeros);
  const bool several = params.m > 1;
  VectorStep<Weights, kGroups> next;
  loader.load(next);
#pragma unroll 1
  for (int step = first + kVectorWarps; step - kVectorWarps < end; step += kVectorWarps) {
    const VectorStep<Weights, kGroups> current = next;
    if (step < end) loader.load(next);
    multiply_step<Weights, T, kGroups, kZeros>(totals, current, constant_zeros, several);
  }
}

template <typename Weights, typename T, bool kZeros>
__device__ __forceinline__ void multiply_groups(float (&totals)[kVectorTiles][4], const WeightOnlyParams& params,
                                                int first_tile, int first, int end, unsigned lane) {
  const bool plain = params.columns == nullptr && params.k % 128 == 0;
  if (plain && params.group_shift == 1) {
    multiply_steps<Weights, T, 2, kZeros, true>(totals, params, first_tile, first, end, lane);
  } else if (plain && params.group_shift > 1) {
    multiply_steps<Weights, T, 1, kZeros, true>(totals, params, first_tile, first, end, lane);
  } else if (plain) {
    multiply_steps<Weights, T, 4, kZeros, true>(totals, params, first_tile, first, end, lane);
  } else {
    multiply_steps<Weights, T, 4, kZeros, false>(totals, params, first_tile, first, end, lane);
  }
}

template <typename Weights, typename T>
__device__ __forceinline__ void multiply_weights(float (&totals)[kVectorTiles][4], const WeightOnlyParams& params,
                                                 int first_tile, int first, int end, unsigned lane) {
  if constexpr (Weights::kHasZeros) {
    if (params.zeros != nullptr) return multiply_groups<Weights, T, true>(totals, params, first_tile, first, end, lane);
  }
  multiply_groups<Weights, T, false>(totals, params, first_tile, first, end, lane);
}

template <typename Weights, typename T>
__device__ __forceinline__ void multiply_vectors(const WeightOnlyParams& params) {
  constexpr int kRows = kVectorTiles * kChunkRows, kMost = 8;
  static_assert(kRows == 32, "a lane has a column");
  // [warp][row of x][row of weights]: at this pitch accumulators are stored without bank conflicts.
  constexpr int kPitch = kRows + 4;
  __shared__ float partials[kVectorWarps][kMost][kPitch];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int first_tile = ptx::block_index() * kVectorTiles, split = ptx::block_index<1>();
  const int end = min((split + 1) * params.split_chunks, params.num_chunks) / 2;
  const int first = split * params.split_chunks / 2 + warp;

  float totals[kVectorTiles][4] = {};
  constexpr bool kChoice = std::is_same_v<Weights, Int4> && std::is_same_v<T, f16>;
  if (kChoice && params.y_type == kF32) {
    if constexpr (kChoice) multiply_weights<FineInt4, T>(totals, params, first_tile, first, end, lane);
  } else {
    multiply_weights<Weights, T>(totals, params, first_tile, first, end, lane);
  }

#pragma unroll
  for (int i = 0; i < kVectorTiles; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      partials[warp][lane % 4 * 2 + e % 2][i * kChunkRows + e / 2 * 8 + lane / 4] = totals[i][e];
    }
  }
  __syncthreads();
  const int column = first_tile * kChunkRows + lane;
  if (column >= params.n) return;
  for (int row = warp; row < params.m; row += kVectorWarps) {
    float sum = 0.0f;
#pragma unroll
    for (int part = 0; part < kVectorWarps; ++part) sum += partials[part][row][lane];
    store_result(params, split, row, column, sum);
  }
}

inline constexpr int kFinishThreads = 128;

// The sum over splits, in their order. A thread has one element of the result.
__device__ __forceinline__ void add_splits(const WeightOnlyParams& params) {
  const int64_t idx = static_cast<int64_t>(ptx::block_index()) * kFinishThreads + ptx::thread_index();
  const int64_t size = static_cast<int64_t>(params.m) * params.n;
  if (idx >= size) return;
  float sum = 0.0f;
  for (int split = 0; split < params.num_splits; ++split) sum += params.partials[split * size + idx];
  const int64_t row = idx / params.n, column = idx - row * params.n;
  if (params.bias != nullptr) sum += load_element(params.bias, column, params.bias_type);
  store_element(params.y, row * params.y_stride + column, sum, params.y_type);
}

// The columns of x in the order of the weights' columns, to `y`, [m, k]. A thread has 8 of them.
__device__ __forceinline__ void permute_columns(const WeightOnlyParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kFinishThreads + ptx::thread_index();
  const int items_per_row = params.k / 8;
  const int64_t row = item / items_per_row;
  if (row >= params.m) return;
  const int column = static_cast<int>(item - row * items_per_row) * 8;
  const uint16_t* x = reinterpret_cast<const uint16_t*>(params.x) + row * params.x_stride;
  uint32_t pairs[4] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const unsigned from = min(static_cast<unsigned>(params.columns[column + i]), static_cast<unsigned>(params.k - 1));
    pairs[i / 2] |= static_cast<uint32_t>(x[from]) << i % 2 * 16;
  }
  ptx::st_global_16(static_cast<uint16_t*>(params.y) + row * params.y_stride + column,
                    {pairs[0], pairs[1], pairs[2], pairs[3]});
}

}  // namespace llm_kernels
