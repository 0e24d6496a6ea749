// Gradients of the root-mean-square norm y = x r (weight + weight_offset), r = 1 / sqrt(mean(x^2) + epsilon).
//
//   x, d_out, d_x: [.., d]   weight, d_weight: [d]   each f32, f16 or bf16
//
//   g = d_out (weight + weight_offset)
//   d_x = r (g - x r mean(g x r)), or added to what d_x holds
//   d_weight = sum over rows of d_out x r
//
// Team: `team` threads own a row, as in rms_norm.cu, and go from row to row with their part of the weights and of the
// sums for d_weight in registers. At the end every warp, or block if it is a team, stores its sums to the workspace; a
// second kernel adds them up, always in the same order. Accumulation: f32. Memory: each row once in, once out; units beyond the held ones are read
// twice. Derivation: src/fused/rms_norm_backward/README.md
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "common/reduce.cuh"
#include "common/rows.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/rms_norm_backward/params.rs.
struct RmsNormBackwardParams {
  RowTensor x;
  RowTensor d_out;
  RowTensor d_x;
  RowTensor weight;    // One row.
  float* partial;      // [warps or blocks, d], by `place`; null where d_weight is not wanted.
  Rows rows;
  float epsilon;
  float weight_offset;
  int32_t accumulate;  // Whether the gradient is added to d_x.
  int32_t team;        // Threads of a row: a power of two up to 32, or the whole block.
};

struct DWeightParams {
  const float* partial;
  RowTensor d_weight;
  uint32_t num_partials;
  uint32_t d;
  int32_t unit;
  int32_t padding;
};

static_assert(sizeof(RmsNormBackwardParams) == 200 && offsetof(RmsNormBackwardParams, rows) == 168 &&
                  offsetof(RmsNormBackwardParams, team) == 196 && sizeof(DWeightParams) == 64,
              "mirrored in Rust");

namespace {

constexpr int kMaxThreads = 512;
// What values are scaled with whose squares leave f32's range: exact, and any f32 then fits.
constexpr float kLargeScale = 0x1p-80f, kSmallScale = 0x1p80f;
constexpr float kSmallMean = 1e-28f;

// Where chunk `chunk` of 16 bytes of a unit lies in a row of partial sums: chunks of neighbouring units side by side.
template <int kUnit>
__device__ __forceinline__ uint32_t place(uint32_t unit, int chunk, uint32_t num_units) {
  return kUnit == 8 ? (chunk * num_units + unit) * 4 : unit * kUnit;
}

template <int kUnit>
struct Thread {
  const RmsNormBackwardParams& params;
  uint32_t num_units;  // Of a row; 0 past the last row.

  template <int kCount>
  __device__ __forceinline__ void load(const Row& row, uint32_t first, float (&values)[kCount][kUnit]) const {
    Units<kUnit, kCount> units = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i * params.team < num_units) row.load(first + i * params.team, units, i);
    }
    unpack(row.type, units, values);
  }

  template <int kCount>
  __device__ __forceinline__ void weigh(uint32_t first, float (&weights)[kCount][kUnit]) const {
    if (params.weight.data == nullptr) {
#pragma unroll
      for (int i = 0; i < kCount * kUnit; ++i) weights[i / kUnit][i % kUnit] = 1.0f;
      return;
    }
    load(Row{static_cast<char*>(params.weight.data), params.weight.type}, first, weights);
#pragma unroll
    for (int i = 0; i < kCount * kUnit; ++i) weights[i / kUnit][i % kUnit] += params.weight_offset;
  }

  // d_x of some units: inverse_root * (g - normal * projection).
  template <int kCount>
  __device__ __forceinline__ void finish(const Row& d_x, uint32_t first, const float (&normal)[kCount][kUnit],
                                         const float (&d_out)[kCount][kUnit], const float (&weights)[kCount][kUnit],
                                         float inverse_root, float projection) const {
    float values[kCount][kUnit] = {};
    if (params.accumulate) load(d_x, first, values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) {
        const float difference = __fmaf_rn(d_out[i][e], weights[i][e], -normal[i][e] * projection);
        values[i][e] = __fmaf_rn(inverse_root, difference, values[i][e]);
      }
    }
    Units<kUnit, kCount> units;
    pack(d_x.type, values, units);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i * params.team < num_units) d_x.store(first + i * params.team, units, i);
    }
  }

  // Stores sums of some units, or adds to what is there.
  template <int kCount>
  __device__ __forceinline__ void sum(float* partial, uint32_t first, const float (&sums)[kCount][kUnit],
                                      uint32_t units, bool add) const {
    constexpr int kChunk = kUnit == 1 ? 1 : 4;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t unit = first + i * params.team;
      if (unit >= units) continue;
#pragma unroll
      for (int e = 0; e < kUnit; e += kChunk) {
        const Row row{reinterpret_cast<char*>(partial), ElementType::kF32};
        Units<kChunk> chunk = {};
        float values[1][kChunk] = {};
        if (add) {
          row.load_at(place<kUnit>(unit, e / kChunk, units), chunk, 0);
          unpack(ElementType::kF32, chunk, values);
        }
#pragma unroll
        for (int f = 0; f < kChunk; ++f) values[0][f] += sums[i][e + f];
        pack(ElementType::kF32, values, chunk);
        row.store_at(place<kUnit>(unit, e / kChunk, units), chunk, 0);
      }
    }
  }
};

// Adds a unit's squares, and its products with g.
template <int kUnit, int kCount>
__device__ __forceinline__ void add_up(const float (&x)[kCount][kUnit], const float (&d_out)[kCount][kUnit],
                                       const float (&weights)[kCount][kUnit], float scale, float& squares,
                                       float& products) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) {
      const float scaled = x[i][e] * scale;
      squares = __fmaf_rn(scaled, scaled, squares);
      products = __fmaf_rn(d_out[i][e] * weights[i][e], scaled, products);
    }
  }
}

template <int kUnit, int kHeld>
__device__ __forceinline__ void rms_norm_backward(const RmsNormBackwardParams& params) {
  __shared__ float scratch[kMaxThreads / 32];
  const int team = params.team;
  const int member = threadIdx.x % team;
  const uint32_t rows_per_block = blockDim.x / team;
  const uint32_t num_units = params.rows.width / kUnit;
  const uint32_t rest = member + kHeld * team;
  const float inverse_width = 1.0f / static_cast<float>(params.rows.width);
  const int owners = max(team, 32);  // Threads that store sums together.
  const int64_t owner = static_cast<int64_t>(blockIdx.x) * (blockDim.x / owners) + threadIdx.x / owners;
  float* partial = params.partial == nullptr ? nullptr : params.partial + owner * params.rows.width;

  float weights[kHeld][kUnit], d_weights[kHeld][kUnit] = {};
  Thread<kUnit>{params, num_units}.weigh(member, weights);
  bool is_first = true;
  // Blocks go on as a whole. A team past the last row computes with zeros and stores nothing.
  for (uint64_t first = uint64_t{blockIdx.x} * rows_per_block; first < params.rows.num_rows;
       first += uint64_t{gridDim.x} * rows_per_block, is_first = false) {
    const uint64_t index = first + threadIdx.x / team;
    const bool exists = index < params.rows.num_rows;
    const uint32_t row = exists ? static_cast<uint32_t>(index) : 0;
    const Thread<kUnit> own{params, exists ? num_units : 0};
    const Row x_row = params.x.row(params.rows, row), d_out_row = params.d_out.row(params.rows, row);
    const Row d_x_row = params.d_x.row(params.rows, row);

    float x[kHeld][kUnit], d_out[kHeld][kUnit];
    own.load(x_row, member, x);
    own.load(d_out_row, member, d_out);
    float scale = 1.0f, squares = 0.0f, products = 0.0f;
    const auto sum_up = [&] {
      squares = products = 0.0f;
      add_up(x, d_out, weights, scale, squares, products);
      for (uint32_t unit = rest; unit < own.num_units; unit += team) {
        float more_x[1][kUnit], more_d_out[1][kUnit], more_weights[1][kUnit];
        own.load(x_row, unit, more_x);
        own.load(d_out_row, unit, more_d_out);
        own.weigh(unit, more_weights);
        add_up(more_x, more_d_out, more_weights, scale, squares, products);
      }
      squares = team_sum(squares, team, scratch);
      products = team_sum(products, team, scratch);
    };
    sum_up();
    const bool large = !(squares <= FLT_MAX);
    const bool small = __fmaf_rn(squares, inverse_width, params.epsilon) < kSmallMean;
    if (any_of_teams(exists && (large || small), team)) {
      // Rare: values beyond 1e18 or so, infinities and NaN; or values and epsilon near 0.
      scale = large ? kLargeScale : small ? kSmallScale : 1.0f;
      sum_up();
    }
    const float root = rsqrtf(__fmaf_rn(squares, inverse_width, params.epsilon * scale * scale));
    const float projection = products * root * inverse_width, inverse_root = root * scale;

    // x becomes x r.
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) {
        x[i][e] = x[i][e] * scale * root;
        d_weights[i][e] = __fmaf_rn(d_out[i][e], x[i][e], d_weights[i][e]);
      }
    }
    own.finish(d_x_row, member, x, d_out, weights, inverse_root, projection);
    for (uint32_t unit = rest; unit < own.num_units; unit += team) {
      float more_x[1][kUnit], more_d_out[1][kUnit], more_weights[1][kUnit], more_d_weights[1][kUnit];
      own.load(x_row, unit, more_x);
      own.load(d_out_row, unit, more_d_out);
      own.weigh(unit, more_weights);
#pragma unroll
      for (int e = 0; e < kUnit; ++e) {
        more_x[0][e] = more_x[0][e] * scale * root;
        more_d_weights[0][e] = more_d_out[0][e] * more_x[0][e];
      }
      own.finish(d_x_row, unit, more_x, more_d_out, more_weights, inverse_root, projection);
      if (partial != nullptr) own.sum(partial, unit, more_d_weights, num_units, !is_first);
    }
  }
  if (partial == nullptr) return;
  // Teams of a warp add up first.
  for (int distance = team; distance < 32; distance *= 2) {
#pragma unroll
    for (int i = 0; i < kHeld * kUnit; ++i) {
      float& sum = d_weights[i / kUnit][i % kUnit];
      sum += __shfl_xor_sync(kAllLanes, sum, distance);
    }
  }
  if (threadIdx.x % owners < team) Thread<kUnit>{params, num_units}.sum(partial, member, d_weights, num_units, false);
}

constexpr int kColumns = 32;
constexpr int kGroups = 8;

// Block: kColumns neighbouring partial sums; every warp takes each kGroups-th team's.
__device__ __forceinline__ void sum_d_weight(const DWeightParams& params) {
  __shared__ float sums[kGroups][kColumns];
  const uint32_t lane = threadIdx.x % kColumns, group = threadIdx.x / kColumns;
  const uint32_t at = blockIdx.x * kColumns + lane;
  float sum = 0.0f;
  if (at < params.d) {
    for (uint32_t partial = group; partial < params.num_partials; partial += kGroups) {
      sum += params.partial[static_cast<int64_t>(partial) * params.d + at];
    }
  }
  sums[group][lane] = sum;
  __syncthreads();
  if (group > 0 || at >= params.d) return;
  for (int other = 1; other < kGroups; ++other) sum += sums[other][lane];
  // `place` backwards.
  const uint32_t num_units = params.d / 8, chunk = at / 4;
  const uint32_t column = params.unit == 8 ? chunk % num_units * 8 + chunk / num_units * 4 + at % 4 : at;
  const Row row{static_cast<char*>(params.d_weight.data), params.d_weight.type};
  const float values[1][1] = {{sum}};
  Units<1> unit;
  pack(row.type, values, unit);
  row.store(column, unit, 0);
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit, units that a thread holds.
#define RMS_NORM_BACKWARD_INSTANCE(NAME, UNIT, HELD)                                             \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kMaxThreads, 1)                      \
      NAME(const __grid_constant__ llm_kernels::RmsNormBackwardParams params) {                  \
    llm_kernels::rms_norm_backward<UNIT, HELD>(params);                                          \
  }

RMS_NORM_BACKWARD_INSTANCE(rms_norm_backward_unit8, 8, 2)
RMS_NORM_BACKWARD_INSTANCE(rms_norm_backward_unit4, 4, 4)
RMS_NORM_BACKWARD_INSTANCE(rms_norm_backward_unit1, 1, 8)

extern "C" __global__ void __launch_bounds__(llm_kernels::kColumns * llm_kernels::kGroups)
    rms_norm_backward_d_weight(const __grid_constant__ llm_kernels::DWeightParams params) {
  llm_kernels::sum_d_weight(params);
}
