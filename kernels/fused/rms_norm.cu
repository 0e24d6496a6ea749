// Root-mean-square normalisation of rows, with what a transformer adds before or after.
//
//   x: [.., d]   residual: [.., d]   weight: [d]   out: [.., d]   each f32, f16 or bf16
//
//   s = x, or residual += x, s = residual
//   y = s / sqrt(mean(s^2) + epsilon) * (weight + weight_offset)
//   out = y, or out += y
//
// Team: `team` threads own a row; unit i of it belongs to thread i % team, which keeps its first kHeld units in
// registers. So do the weights of a persistent block that goes from row to row. Accumulation: f32. Memory: each row
// once in, once out; units beyond the held ones are read twice. Derivation: src/fused/rms_norm/README.md
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "common/reduce.cuh"
#include "common/rows.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/rms_norm/params.rs.
struct RmsNormParams {
  RowTensor x;         // Of out, if out is normalised in place.
  RowTensor residual;
  RowTensor out;
  RowTensor weight;    // One row.
  Rows rows;
  float epsilon;
  float weight_offset;
  int32_t accumulate;  // Whether y is added to out.
  int32_t team;        // Threads of a row: a power of two up to 32, or the whole block.
};

static_assert(sizeof(RmsNormParams) == 192 && offsetof(RmsNormParams, rows) == 160 &&
                  offsetof(RmsNormParams, team) == 188,
              "mirrored in Rust");

namespace {

constexpr int kMaxThreads = 512;
// What values are scaled with whose squares leave f32's range: exact, and any f32 then fits.
constexpr float kLargeScale = 0x1p-80f, kSmallScale = 0x1p80f;
constexpr float kSmallMean = 1e-28f;

// One row, by its team. The row's units are taken kCount at a time from `first` on.
template <int kUnit>
struct RowOfTeam {
  const RmsNormParams& params;
  Row x, residual, out;
  uint32_t num_units;
  int member;

  template <int kCount>
  __device__ __forceinline__ void load(const Row& row, uint32_t first, Units<kUnit, kCount>& units) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t unit = first + i * params.team;
      if (unit < num_units) row.load(unit, units, i);
    }
  }

  template <int kCount>
  __device__ __forceinline__ void store(const Row& row, uint32_t first, const Units<kUnit, kCount>& units) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t unit = first + i * params.team;
      if (unit < num_units) row.store(unit, units, i);
    }
  }

  // s, from memory to registers; zeros past the row's end.
  template <int kCount>
  __device__ __forceinline__ void take(uint32_t first, float (&s)[kCount][kUnit]) const {
    Units<kUnit, kCount> units = {};
    load(x, first, units);
    unpack(x.type, units, s);
    if (residual.start != nullptr) add(first, s);
  }

  // residual += s, s = residual: what is normalised is what the residual then holds, rounded. A few units at a time,
  // so that the residual takes few registers.
  template <int kCount>
  __device__ __forceinline__ void add(uint32_t first, float (&s)[kCount][kUnit]) const {
    constexpr int kGroup = kCount < 16 / kUnit ? kCount : 16 / kUnit;
#pragma unroll
    for (int group = 0; group < kCount; group += kGroup) {
      Units<kUnit, kGroup> units = {};
      float sum[kGroup][kUnit];
      load(residual, first + group * params.team, units);
      unpack(residual.type, units, sum);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
#pragma unroll
        for (int e = 0; e < kUnit; ++e) sum[i][e] += s[group + i][e];
      }
      pack(residual.type, sum, units);
      store(residual, first + group * params.team, units);
      unpack(residual.type, units, sum);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
#pragma unroll
        for (int e = 0; e < kUnit; ++e) s[group + i][e] = sum[i][e];
      }
    }
  }

  // s again, of units that are not held.
  __device__ __forceinline__ void take_again(uint32_t first, float (&s)[1][kUnit]) const {
    const bool of_x = residual.start == nullptr;
    const Row source{of_x ? x.start : residual.start, of_x ? x.type : residual.type};
    Units<kUnit> units = {};
    load(source, first, units);
    unpack(source.type, units, s);
  }

  template <int kCount>
  __device__ __forceinline__ void weigh(uint32_t first, float (&weights)[kCount][kUnit]) const {
    Units<kUnit, kCount> units = {};
    if (params.weight.data != nullptr) {
      const Row weight{static_cast<char*>(params.weight.data), params.weight.type};
      load(weight, first, units);
      unpack(weight.type, units, weights);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) {
        weights[i][e] = params.weight.data == nullptr ? 1.0f : weights[i][e] + params.weight_offset;
      }
    }
  }

  // A few units at a time, so that what out holds takes few registers where it is added to.
  template <int kCount>
  __device__ __forceinline__ void finish(uint32_t first, const float (&s)[kCount][kUnit], float factor,
                                         const float (&weights)[kCount][kUnit]) const {
    constexpr int kGroup = kCount < 16 / kUnit ? kCount : 16 / kUnit;
#pragma unroll
    for (int group = 0; group < kCount; group += kGroup) {
      const uint32_t first_of_group = first + group * params.team;
      Units<kUnit, kGroup> units = {};
      float y[kGroup][kUnit] = {};
      if (params.accumulate) {
        load(out, first_of_group, units);
        unpack(out.type, units, y);
      }
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
#pragma unroll
        for (int e = 0; e < kUnit; ++e) {
          y[i][e] = __fmaf_rn(s[group + i][e] * factor, weights[group + i][e], y[i][e]);
        }
      }
      pack(out.type, y, units);
      store(out, first_of_group, units);
    }
  }
};

template <int kUnit, int kCount>
__device__ __forceinline__ float sum_of_squares(const float (&s)[kCount][kUnit], float sum) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) sum = __fmaf_rn(s[i][e], s[i][e], sum);
  }
  return sum;
}

template <int kUnit, int kHeld>
__device__ __forceinline__ void rms_norm(const RmsNormParams& params) {
  __shared__ float scratch[kMaxThreads / 32];
  const int team = params.team;
  const int member = threadIdx.x % team;
  const uint32_t rows_per_block = blockDim.x / team;
  const uint32_t num_units = params.rows.width / kUnit;
  const uint32_t rest = member + kHeld * team;
  const float inverse_width = 1.0f / static_cast<float>(params.rows.width);

  float weights[kHeld][kUnit];
  const bool has_rows = uint64_t{blockIdx.x} * rows_per_block + threadIdx.x / team < params.rows.num_rows;
  RowOfTeam<kUnit>{params, {}, {}, {}, has_rows ? num_units : 0, member}.weigh(member, weights);
  // Blocks go on as a whole. A team past the last row computes with zeros and stores nothing.
  for (uint64_t first = uint64_t{blockIdx.x} * rows_per_block; first < params.rows.num_rows;
       first += uint64_t{gridDim.x} * rows_per_block) {
    const uint64_t index = first + threadIdx.x / team;
    const bool exists = index < params.rows.num_rows;
    const uint32_t row = exists ? static_cast<uint32_t>(index) : 0;
    RowOfTeam<kUnit> own{params, params.x.row(params.rows, row), {}, params.out.row(params.rows, row),
                         exists ? num_units : 0, member};
    if (params.residual.data != nullptr) own.residual = params.residual.row(params.rows, row);

    float s[kHeld][kUnit];
    own.take(member, s);
    float sum = sum_of_squares(s, 0.0f);
    for (uint32_t unit = rest; unit < own.num_units; unit += team) {
      float more[1][kUnit];
      own.take(unit, more);
      sum = sum_of_squares(more, sum);
    }
    sum = team_sum(sum, team, scratch);

    float scale = 1.0f;
    const bool large = !(sum <= FLT_MAX), small = __fmaf_rn(sum, inverse_width, params.epsilon) < kSmallMean;
    if (any_of_teams(exists && (large || small), team)) {
      // Rare: values beyond 1e18 or so, infinities and NaN; or values and epsilon near 0.
      scale = large ? kLargeScale : small ? kSmallScale : 1.0f;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
#pragma unroll
        for (int e = 0; e < kUnit; ++e) s[i][e] *= scale;
      }
      sum = sum_of_squares(s, 0.0f);
      for (uint32_t unit = rest; unit < own.num_units; unit += team) {
        float more[1][kUnit];
        own.take_again(unit, more);
#pragma unroll
        for (int e = 0; e < kUnit; ++e) sum = __fmaf_rn(more[0][e] * scale, more[0][e] * scale, sum);
      }
      sum = team_sum(sum, team, scratch);
    }
    const float factor = rsqrtf(__fmaf_rn(sum, inverse_width, params.epsilon * scale * scale));

    own.finish(member, s, factor, weights);
    for (uint32_t unit = rest; unit < own.num_units; unit += team) {
      float more[1][kUnit], more_weights[1][kUnit];
      own.take_again(unit, more);
      own.weigh(unit, more_weights);
      own.finish(unit, more, scale * factor, more_weights);
    }
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit, units that a thread holds.
#define RMS_NORM_INSTANCE(NAME, UNIT, HELD)                                                      \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kMaxThreads, 1)                      \
      NAME(const __grid_constant__ llm_kernels::RmsNormParams params) {                          \
    llm_kernels::rms_norm<UNIT, HELD>(params);                                                   \
  }

RMS_NORM_INSTANCE(rms_norm_unit8_short, 8, 1)
RMS_NORM_INSTANCE(rms_norm_unit8, 8, 4)
RMS_NORM_INSTANCE(rms_norm_unit4_short, 4, 2)
RMS_NORM_INSTANCE(rms_norm_unit4, 4, 8)
RMS_NORM_INSTANCE(rms_norm_unit1, 1, 16)
