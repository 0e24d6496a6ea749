// Products of grouped weights with at most 8 rows of activations. See src/quant/weight_only/README.md.
//
// Rows of weights are those of operand A, so that 8 rows of activations are a whole operand B. A warp takes 32 rows of weights
// and every kWarps-th 128 columns, straight from memory to registers, a step ahead. Codes are multiplied as they are, and so are
// zero-points: a group's sum is scale * (sum of (q + offset) x + sum of -(zero + offset) x), taken off 16 or 32 columns at a time, so
// that sums stay small.
#pragma once

#include <cstdint>

#include "common/mma.cuh"
#include "quant/weight_only_params.cuh"

namespace llm_kernels {

inline constexpr int kVectorWarps = 4;
inline constexpr int kVectorTiles = 2;  // Of 16 rows, of a block and of each of its warps.

// What a lane needs of a step of 128 columns: of kGroups groups, or of one that goes on.
template <typename Weights, int kGroups>
struct VectorStep {
  static constexpr int kLoads = Weights::kChunkBytes / 512;
  uint4 codes[kVectorTiles][2][kLoads];
  uint4 x[4];  // 8 columns of each 32.
  uint32_t scales[kVectorTiles][kGroups];
  uint32_t zeros[kVectorTiles][kGroups];
};

// kPlain: columns in their order, a multiple of 128, and kGroups as the groups are; else a scale for each 32 columns, of whatever group.
template <typename Weights, int kGroups, bool kZeros, bool kPlain>
struct VectorLoader {
  using Step = VectorStep<Weights, kGroups>;
  const WeightOnlyParams& params;
  // This lane's, of the next step.
  const char* codes[kVectorTiles];
  const char* scales[kVectorTiles];
  const char* zeros[kVectorTiles];
  const char* x;   // Of its row, and in a plain one of its columns.
  int column;
  int scale_step;  // Bytes to the scales of the next step.

  __device__ __forceinline__ VectorLoader(const WeightOnlyParams& params, int first_tile, int step, unsigned lane)
      : params(params) {
    const int first_group = !kPlain || params.group_shift > 2 ? 0 : step * kGroups;
    scale_step = !kPlain || params.group_shift > 2 ? 0 : kVectorWarps * kGroups * 32;
    const int64_t chunk = static_cast<int64_t>(first_tile) * params.num_chunks + step * 2;
    const int64_t scale = (static_cast<int64_t>(first_tile) * params.num_groups + first_group) * 8 + lane / 4;
    codes[0] = params.codes + chunk * Weights::kChunkBytes + lane * 16;
    scales[0] = reinterpret_cast<const char*>(params.scales + scale);
    if constexpr (kZeros) zeros[0] = reinterpret_cast<const char*>(params.zeros + scale);
    // The first tile once more where there is no second one: its results are dropped.
    const bool both = first_tile + 1 < params.num_tiles;
    codes[1] = codes[0] + (both ? static_cast<int64_t>(params.num_chunks) * Weights::kChunkBytes : 0);
    scales[1] = scales[0] + (both ? params.num_groups * 32 : 0);
    if constexpr (kZeros) zeros[1] = zeros[0] + (both ? params.num_groups * 16 : 0);
    // Lanes of rows that do not exist load the last one's, likewise.
    const int64_t row = min(static_cast<int>(lane / 4), params.m - 1);
    column = step * 128 + lane % 4 * 8;
    x = params.x + (row * params.x_stride + (kPlain ? column : 0)) * 2;
  }

  // Columns `from` to `from` + 7 of the weights.
  __device__ __forceinline__ uint4 gather(int from) const {
    uint32_t pairs[4] = {};
    if (from < params.k) {
      if (params.columns == nullptr) return *reinterpret_cast<const uint4*>(x + from * 2);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        // Whoever changes indices on the device gets a wrong result, not an access outside.
        const unsigned own = min(static_cast<unsigned>(params.columns[from + i]), static_cast<unsigned>(params.k - 1));
        pairs[i / 2] |= static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(x)[own]) << i % 2 * 16;
      }
    }
    return {pairs[0], pairs[1], pairs[2], pairs[3]};
  }

  // Loads a step, then moves on to this warp's next.
  __device__ __forceinline__ void load(Step& to) {
#pragma unroll
    for (int i = 0; i < kVectorTiles; ++i) {
#pragma unroll
      for (int part = 0; part < 2 * to.kLoads; ++part) {
        to.codes[i][part / to.kLoads][part % to.kLoads] = *reinterpret_cast<const uint4*>(codes[i] + part * 512);
      }
      codes[i] += kVectorWarps * 2 * Weights::kChunkBytes;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const int from = kPlain ? group : (column / 32 + group) >> params.group_shift;
        to.scales[i][group] = *reinterpret_cast<const uint32_t*>(scales[i] + from * 32);
        if constexpr (kZeros) to.zeros[i][group] = *reinterpret_cast<const uint16_t*>(zeros[i] + from * 16);
      }
      scales[i] += scale_step;
      if constexpr (kZeros) zeros[i] += scale_step / 2;
    }
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      to.x[part] = kPlain ? *reinterpret_cast<const uint4*>(x + part * 64) : gather(column + part * 32);
    }
    if constexpr (kPlain) {
      x += kVectorWarps * 256;
    } else {
      column += kVectorWarps * 128;
    }
  }
};

// Of rows 2 t (side 0) or 2 t + 1 of the activations.
__device__ __forceinline__ void add_scaled(float (&totals)[4], const float (&products)[4], float2 scale, int side) {
  totals[side] = __fmaf_rn(scale.x, products[side], totals[side]);
  totals[2 + side] = __fmaf_rn(scale.y, products[2 + side], totals[2 + side]);
}

// totals += the products of a step.
template <typename Weights, typename T, int kGroups, bool kZeros>
__device__ __forceinline__ void multiply_step(float (&totals)[kVectorTiles][4], const VectorStep<Weights, kGroups>& step,
                                              const uint32_t (&constant_zeros)[2], bool several) {
  constexpr int kParts = 4 / kGroups;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    float products[kVectorTiles][4] = {};
    FragmentA zeros[kVectorTiles];
    if constexpr (Weights::kHasZeros) {
#pragma unroll
      for (int i = 0; i < kVectorTiles; ++i) {
        uint32_t own[2] = {constant_zeros[0], constant_zeros[1]};
        if constexpr (kZeros) pack_minus_zeros<Weights, T>(step.zeros[i][group] & 0xff, step.zeros[i][group] >> 8, own);
        zeros[i] = {{own[0], own[1], own[0], own[1]}};
      }
    }
    if constexpr (Weights::kHasZeros) {
      // Of a group's first 32 columns; where zero-points are the same everywhere, once for all tiles.
      const uint4& x = step.x[group * kParts];
#pragma unroll
      for (int i = 0; i < (kZeros ? kVectorTiles : 1); ++i) {
        mma<T>(products[i], zeros[i], x.x, x.y, products[i]);
        mma<T>(products[i], zeros[i], x.z, x.w, products[i]);
      }
#pragma unroll
      for (int e = 0; e < (kZeros ? 0 : 4); ++e) products[1][e] = products[0][e];
    }
#pragma unroll
    for (int part = group * kParts; part < (group + 1) * kParts; ++part) {
      const uint32_t b[4] = {step.x[part].x, step.x[part].y, step.x[part].z, step.x[part].w};
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
        for (int i = 0; i < kVectorTiles; ++i) {
          if (Weights::kHasZeros && part > group * kParts) {
            mma<T>(products[i], zeros[i], b[2 * pair], b[2 * pair + 1], products[i]);
          }
          const int first = (part % 2 * 2 + pair) * Weights::kWords;
          const uint4& four = step.codes[i][part / 2][first / 4];
          const uint32_t all[4] = {four.x, four.y, four.z, four.w};
          uint32_t words[Weights::kWords];
#pragma unroll
          for (int word = 0; word < Weights::kWords; ++word) words[word] = all[first % 4 + word];
          FragmentA a;
          Weights::template widen<T>(words, a.a);
          mma<T>(products[i], a, b[2 * pair], b[2 * pair + 1], products[i]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kVectorTiles; ++i) {
      const float2 scale = T::unpack(step.scales[i][group]);
      add_scaled(totals[i], products[i], scale, 0);
      if (several) add_scaled(totals[i], products[i], scale, 1);
    }
  }
}

}  // namespace llm_kernels
