// Draws a token of every row of logits, or takes the largest.
//
//   logits: [m, n] f32, f16 or bf16   ids: [m] i32   log_probabilities: [m] f32   steps: [m] i32
//
// A token's key is logit / temperature plus a Gumbel number of its own; the largest key of a set of tokens is a draw from
// the softmax over that set. Tokens that top-k, top-p or min-p exclude are all those below some logit. So: take the
// largest key of all; while its token is excluded, take the largest key of the tokens above it. No sorting.
//
// First kernel, all chips' multiprocessors: block (row, part) finds the largest key and the sums of a part. Second, a
// block for each row: merges the parts; checks the candidate, and finds the next one, in one pass over the row.
// Arithmetic: f32. Memory: the logits once, and once for each candidate that filters must check. Derivation:
// src/fused/sample/README.md
#include <cstddef>
#include <cstdint>

#include "common/rows.cuh"
#include "fused/candidate.cuh"

namespace llm_kernels {

struct Part {
  Candidate candidate;
  Sums sums;
};

// Mirrored in Rust: src/fused/sample/params.rs.
struct SampleParams {
  RowTensor logits;
  Rows rows;
  int32_t* ids;
  float* log_probabilities;  // Null when they are not wanted.
  int32_t* steps;            // Null where there are none; advanced by one.
  Part* parts;               // [m, num_parts]
  uint32_t num_parts;
  uint32_t units_per_part;
  uint2 seed;
  uint32_t step;
  uint32_t top_k;            // 0: all.
  float scale;               // 1 / temperature; 0: the largest logit.
  float top_p;               // 1: all.
  float log_min_p;           // -inf: all.
  int32_t padding;
};

static_assert(sizeof(Part) == 24 && sizeof(SampleParams) == 128 && offsetof(SampleParams, num_parts) == 88 &&
                  offsetof(SampleParams, step) == 104 && offsetof(SampleParams, log_min_p) == 120,
              "mirrored in Rust");

namespace {

constexpr int kPartThreads = 256;
constexpr int kRowThreads = 512;

// A row's logits and its random numbers.
template <int kUnit>
struct Logits {
  const SampleParams& params;
  Row row;
  uint32_t index;
  uint32_t step;

  __device__ __forceinline__ Logits(const SampleParams& params, uint32_t index)
      : params(params), row(params.logits.row(params.rows, index)), index(index), step(params.step) {
    if (params.steps != nullptr) step += ptx::ld_global_4(params.steps + index);
  }

  __device__ __forceinline__ void load(uint32_t unit, float (&logits)[1][kUnit]) const {
    Units<kUnit> units;
    row.load(unit, units, 0);
    unpack(row.type, units, logits);
    // NaN is never drawn.
#pragma unroll
    for (int e = 0; e < kUnit; ++e) logits[0][e] = logits[0][e] == logits[0][e] ? logits[0][e] : -CUDART_INF_F;
  }

  // Offers those of a unit's tokens whose logits are above `pivot` and not below `least`.
  __device__ __forceinline__ void offer(Candidate& candidate, uint32_t unit, const float (&logits)[1][kUnit],
                                        float pivot, float least) const {
    float largest = logits[0][0];
#pragma unroll
    for (int e = 1; e < kUnit; ++e) largest = fmaxf(largest, logits[0][e]);
    if (!(largest > pivot)) return;
#pragma unroll
    for (int four = 0; four < (kUnit + 3) / 4; ++four) {
      uint32_t bits[4] = {};
      if (params.scale != 0.0f) {
        const uint32_t counter = kUnit == 1 ? unit / 4 : unit * (kUnit / 4) + four;
        const uint4 random = philox({counter, index, step, 0}, params.seed);
        bits[0] = random.x, bits[1] = random.y, bits[2] = random.z, bits[3] = random.w;
        if (kUnit == 1) {
          const uint32_t low = unit & 1 ? bits[1] : bits[0], high = unit & 1 ? bits[3] : bits[2];
          bits[0] = unit & 2 ? high : low;
        }
      }
#pragma unroll
      for (int e = 0; e < (kUnit < 4 ? kUnit : 4); ++e) {
        const float logit = logits[0][4 * four + e];
        const float key = params.scale != 0.0f ? __fmaf_rn(logit, params.scale, gumbel(bits[e])) : logit;
        if (logit > pivot && logit >= least) candidate.offer(key, unit * kUnit + 4 * four + e, logit);
      }
    }
  }
};

template <int kUnit>
__device__ __forceinline__ void sample_parts(const SampleParams& params) {
  __shared__ Part parts[kPartThreads / 32];
  const uint32_t row = blockIdx.x / params.num_parts;
  const uint32_t part = blockIdx.x - row * params.num_parts;
  const Logits<kUnit> logits(params, row);
  const float scale_log2 = params.scale * CUDART_L2E_F;
  const bool needs_plain = params.log_probabilities != nullptr, needs_tempered = params.top_p < 1.0f;

  Candidate candidate = Candidate::none();
  Sums sums{-CUDART_INF_F, 0.0f, 0.0f};
  const uint32_t end = min(params.rows.width / kUnit, (part + 1) * params.units_per_part);
  for (uint32_t unit = part * params.units_per_part + threadIdx.x; unit < end; unit += kPartThreads) {
    float values[1][kUnit];
    logits.load(unit, values);
    logits.offer(candidate, unit, values, -CUDART_INF_F, -CUDART_INF_F);
    float largest = sums.maximum;
#pragma unroll
    for (int e = 0; e < kUnit; ++e) largest = fmaxf(largest, values[0][e]);
    // Minus infinity adds nothing, and has no difference to itself.
    if (largest == -CUDART_INF_F) continue;
    Sums more{largest, 0.0f, 0.0f};
#pragma unroll
    for (int e = 0; e < kUnit; ++e) {
      if (needs_plain) more.plain += ptx::ex2_approx_ftz((values[0][e] - largest) * CUDART_L2E_F);
      if (needs_tempered) more.tempered += ptx::ex2_approx_ftz((values[0][e] - largest) * scale_log2);
    }
    sums.add(more, scale_log2);
  }
  candidate.reduce();
  sums.reduce(scale_log2);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = {candidate, sums};
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kPartThreads / 32; ++warp) {
    const Part& other = parts[warp];
    candidate.offer(other.candidate.key, other.candidate.token, other.candidate.logit);
    sums.add(other.sums, scale_log2);
  }
  params.parts[blockIdx.x] = {candidate, sums};
}

// Counts of a pass over a row.
struct Above {
  Candidate next;  // The largest key above the pivot.
  uint32_t count;  // Tokens above it.
  float mass;      // Their sum of exponentials.
};

// One pass of the block over a row; equal in all threads.
template <int kUnit>
__device__ __forceinline__ Above pass(const Logits<kUnit>& logits, float pivot, float least, const Sums& sums,
                                      float scale_log2, Above (&scratch)[kRowThreads / 32]) {
  Above above{Candidate::none(), 0, 0.0f};
  for (uint32_t unit = threadIdx.x; unit < logits.params.rows.width / kUnit; unit += kRowThreads) {
    float values[1][kUnit];
    logits.load(unit, values);
    logits.offer(above.next, unit, values, pivot, least);
#pragma unroll
    for (int e = 0; e < kUnit; ++e) {
      if (values[0][e] > pivot) {
        ++above.count;
        above.mass += ptx::ex2_approx_ftz((values[0][e] - sums.maximum) * scale_log2);
      }
    }
  }
  above.next.reduce();
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    above.count += __shfl_xor_sync(kAllLanes, above.count, distance);
    above.mass += __shfl_xor_sync(kAllLanes, above.mass, distance);
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = above;
  __syncthreads();
  above = scratch[0];
  for (int warp = 1; warp < kRowThreads / 32; ++warp) {
    const Above& other = scratch[warp];
    above.next.offer(other.next.key, other.next.token, other.next.logit);
    above.count += other.count;
    above.mass += other.mass;
  }
  return above;
}

template <int kUnit>
__device__ __forceinline__ void sample(const SampleParams& params) {
  __shared__ Above scratch[kRowThreads / 32];
  const uint32_t row = blockIdx.x;
  const Logits<kUnit> logits(params, row);
  const float scale_log2 = params.scale * CUDART_L2E_F;

  // A warp merges the parts, for all.
  __shared__ Part whole;
  Candidate candidate = Candidate::none();
  Sums sums{-CUDART_INF_F, 0.0f, 0.0f};
  if (threadIdx.x < 32) {
    for (uint32_t part = threadIdx.x; part < params.num_parts; part += 32) {
      const Part& other = params.parts[static_cast<int64_t>(row) * params.num_parts + part];
      candidate.offer(other.candidate.key, other.candidate.token, other.candidate.logit);
      sums.add(other.sums, scale_log2);
    }
    candidate.reduce();
    sums.reduce(scale_log2);
    if (threadIdx.x == 0) whole = {candidate, sums};
  }
  __syncthreads();
  candidate = whole.candidate;
  sums = whole.sums;

  const bool counts = params.top_k > 0 || params.top_p < 1.0f;
  const bool filters = params.scale != 0.0f && (counts || params.log_min_p > -CUDART_INF_F);
  // Among infinities the first has been taken.
  if (filters && candidate.token != kNoToken && sums.maximum < CUDART_INF_F) {
    // The least logit that min-p allows; -inf without.
    const float least = __fmaf_rn(params.log_min_p, 1.0f / params.scale, sums.maximum);
    while (true) {
      const bool likely = candidate.logit >= least;
      if (likely && !counts) break;
      const Above above = pass(logits, candidate.logit, least, sums, scale_log2, scratch);
      const bool few = params.top_k == 0 || above.count < params.top_k;
      const bool light = params.top_p >= 1.0f || above.mass < params.top_p * sums.tempered;
      // Nothing is above the largest logit, whatever rounding says.
      if ((likely && few && light) || above.count == 0) break;
      candidate = above.next;
    }
  }
  // All threads have read the step.
  __syncthreads();
  if (threadIdx.x != 0) return;
  const bool found = candidate.token != kNoToken;
  params.ids[row] = found ? static_cast<int32_t>(candidate.token) : -1;
  if (params.log_probabilities != nullptr) {
    params.log_probabilities[row] = found ? candidate.logit - sums.maximum - logf(sums.plain) : CUDART_NAN_F;
  }
  if (params.steps != nullptr) params.steps[row] += 1;
}

}  // namespace
}  // namespace llm_kernels

// Name of the first and the second kernel, elements of a unit.
#define SAMPLE_INSTANCE(PARTS, ROWS, UNIT)                                                            \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kPartThreads)                             \
      PARTS(const __grid_constant__ llm_kernels::SampleParams params) {                               \
    llm_kernels::sample_parts<UNIT>(params);                                                          \
  }                                                                                                   \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kRowThreads, 1)                            \
      ROWS(const __grid_constant__ llm_kernels::SampleParams params) {                                \
    llm_kernels::sample<UNIT>(params);                                                                \
  }

SAMPLE_INSTANCE(sample_parts_unit8, sample_unit8, 8)
SAMPLE_INSTANCE(sample_parts_unit4, sample_unit4, 4)
SAMPLE_INSTANCE(sample_parts_unit1, sample_unit1, 1)
