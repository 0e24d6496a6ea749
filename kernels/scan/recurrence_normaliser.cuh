// Gradients through the normaliser of the linear recurrence: what it divides by is a scan of keys of its own.
//
// With the numerator u = scale q S and n = scale q z + epsilon, z_t = decay z + k, the gradient of n is -(d_out . u) / n^2:
//   d_q = scale S d_out / n + scale d_n z        d_z_t = scale d_n q_t + decay_{t+1} d_z_{t+1},  which d_k has in addition
// Both scans are one: a warp sums up its kScanSteps steps, what each begins with comes from all sums, and the warp goes through
// its steps again. All arithmetic is f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "common/ptx.cuh"
#include "common/reduce.cuh"
#include "common/sequences.cuh"
#include "common/tensor.cuh"
#include "scan/recurrence_steps.cuh"
#include "scan/warp_row.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/linear_recurrence_backward/.
struct RecurrenceNormaliserParams {
  SequenceTensor q, k;      // Features, as they were multiplied.
  SequenceTensor d_out;
  SequenceTensor decay;     // f32, logarithms: rows of 1 element or d_k; null: none.
  float* d_q_heads;         // [positions, h, d_k]; in: scale S d_out; out: the gradient.
  float* d_k_heads;         // Likewise; the normaliser's part is added.
  void* q_weighed;          // [positions, h, d_k] and [positions, h, d_v] of the element type: their products are those of
  void* d_out_weighed;      // q and d_out over n.
  float* d_divisors;        // [positions, h]: gradients of n.
  const float* begin;       // [b, h, d_k]: what the scan begins with; null: zeros.
  float* end;               // Likewise what it ends with; null: not wanted.
  float* chunks;            // [b, num_chunks - 1, h, d_k]: between a chunk of steps and the next; null: not wanted.
  Sequences sequences;
  int32_t h, group;         // Heads of the state, and for each of q and k.
  int32_t d_k, d_v;
  int32_t decay_width;      // 1 or d_k.
  float scale, epsilon;
  int32_t chunk, num_chunks;  // Steps, a multiple of 64; chunks of the longest sequence.
  int32_t padding;
};

static_assert(sizeof(RecurrenceNormaliserParams) == 248 && offsetof(RecurrenceNormaliserParams, sequences) == 192 &&
                  offsetof(RecurrenceNormaliserParams, h) == 208,
              "mirrored in Rust");

inline constexpr int kScanWarps = 8;
inline constexpr int kScanSteps = 8;  // Of a warp, in a row.
inline constexpr int kScanTile = kScanWarps * kScanSteps;
inline constexpr int kScanThreads = kScanWarps * 32;

// Block: a head of a sequence.
template <typename T, bool kReverse, int kUnits>
struct NormaliserScan {
  using WarpRow = llm_kernels::WarpRow<kUnits>;

  const RecurrenceNormaliserParams& params;
  const int batch, head;
  const Sequence sequence;

  __device__ __forceinline__ explicit NormaliserScan(const RecurrenceNormaliserParams& params_)
      : params(params_),
        batch(ptx::block_index() / params_.h),
        head(ptx::block_index() % params_.h),
        sequence(params_.sequences.at(batch)) {}

  // Steps of whole tiles: tiles are the same steps in both directions.
  __device__ __forceinline__ int padded() const { return (sequence.length + kScanTile - 1) / kScanTile * kScanTile; }

  __device__ __forceinline__ int step(int place) const { return kReverse ? padded() - 1 - place : place; }

  // Row of a step in tensors without gaps.
  __device__ __forceinline__ int64_t row(int step) const {
    const bool various = params.sequences.offsets != nullptr;
    const int64_t begin = various ? sequence.begin : static_cast<int64_t>(batch) * params.sequences.longest;
    return (begin + step) * params.h + head;
  }

  __device__ __forceinline__ WarpRow features(const SequenceTensor& tensor, int step) const {
    return WarpRow::load(tensor.row<T>(batch, sequence.begin + step, head / params.group), params.d_k);
  }

  // What a step adds to the scan.
  __device__ __forceinline__ WarpRow source(int step) const {
    if constexpr (!kReverse) return features(params.k, step);
    const float factor = params.scale * __uint_as_float(ptx::ld_global_4(params.d_divisors + row(step)));
    return features(params.q, step).map([&](float x) { return x * factor; });
  }

  __device__ __forceinline__ WarpRow decay(int step) const {
    if (params.decay.data == nullptr) return WarpRow::filled(1.0f);
    const float* logs = params.decay.row<float>(batch, sequence.begin + step, head);
    const auto power = [](float log) { return ptx::ex2_approx_ftz(limited_log2(log)); };
    if (params.decay_width == 1) return WarpRow::filled(power(__uint_as_float(ptx::ld_global_4(logs))));
    return WarpRow::load(reinterpret_cast<const f32*>(logs), params.d_k).map(power);
  }

  // `z` is the normaliser behind the step.
  __device__ __forceinline__ void divide(int step, const WarpRow& z) const {
    const int64_t row = this->row(step);
    f32* d_q_row = reinterpret_cast<f32*>(params.d_q_heads) + row * params.d_k;
    const WarpRow q = features(params.q, step), d_numerator = WarpRow::load(d_q_row, params.d_k);
    const WarpRow d_out = WarpRow::load(params.d_out.row<T>(batch, sequence.begin + step, head), params.d_v);
    const float inverse = 1.0f / __fmaf_rn(params.scale, warp_sum(q.dot(z)), params.epsilon);
    const float d_divisor = -(warp_sum(q.dot(d_numerator)) * inverse) * inverse;
    const float of_z = params.scale * d_divisor;
    d_numerator.zip(z, [&](float x, float sum) { return __fmaf_rn(of_z, sum, x * inverse); }).store_to(d_q_row, params.d_k);
    if (ptx::thread_index() % 32 == 0) ptx::st_global_4(params.d_divisors + row, __float_as_uint(d_divisor));
    float factor = 1.0f;
    // bf16 has the range of f32.
    if constexpr (std::is_same_v<T, f16>) {
      factor = balance(warp_largest(q.largest()), warp_largest(d_out.largest()) * fabsf(inverse));
    }
    const float weight = inverse / factor;
    q.map([&](float x) { return x * factor; }).store_to(static_cast<T*>(params.q_weighed) + row * params.d_k, params.d_k);
    d_out.map([&](float x) { return x * weight; })
        .store_to(static_cast<T*>(params.d_out_weighed) + row * params.d_v, params.d_v);
  }

  __device__ __forceinline__ void add_to_keys(int step, const WarpRow& d_z) const {
    f32* d_k_row = reinterpret_cast<f32*>(params.d_k_heads) + row(step) * params.d_k;
    const auto add = [](float x, float y) { return x + y; };
    WarpRow::load(d_k_row, params.d_k).zip(d_z, add).store_to(d_k_row, params.d_k);
  }

  __device__ __forceinline__ void run() const {
    __shared__ float sums[kScanWarps][WarpRow::kValues][32], decays[kScanWarps][WarpRow::kValues][32];
    const unsigned lane = ptx::thread_index() % 32, warp = ptx::thread_index() / 32;
    const auto multiply = [](float x, float y) { return x * y; };
    const auto add = [](float x, float y) { return x + y; };
    const int64_t slot = (static_cast<int64_t>(batch) * params.h + head) * params.d_k;
    WarpRow value = WarpRow::filled(0.0f);
    if (params.begin != nullptr) value = WarpRow::load(reinterpret_cast<const f32*>(params.begin) + slot, params.d_k);
    for (int tile = 0; tile < padded(); tile += kScanTile) {
      // Steps before what the scan has, or, in reverse, has not.
      const int before = kReverse ? padded() - tile : tile;
      if (params.chunks != nullptr && before % params.chunk == 0 && 0 < before && before < sequence.length && warp == 0) {
        const int64_t index = static_cast<int64_t>(batch) * (params.num_chunks - 1) + before / params.chunk - 1;
        value.store_to(reinterpret_cast<f32*>(params.chunks) + (index * params.h + head) * params.d_k, params.d_k);
      }
      const int begin = tile + warp * kScanSteps, end = begin + kScanSteps;
      const int first = kReverse ? max(begin, padded() - sequence.length) : begin;
      const int last = kReverse ? end : min(end, sequence.length);
      // In reverse a step's decay comes after its sum.
      WarpRow sum = WarpRow::filled(0.0f), product = WarpRow::filled(1.0f);
#pragma unroll 1
      for (int place = first; place < last; ++place) {
        const WarpRow own = source(step(place)), factor = decay(step(place));
        sum = kReverse ? sum.zip(own, add).zip(factor, multiply) : sum.zip(factor, multiply).zip(own, add);
        product = product.zip(factor, multiply);
      }
      // Not before all have read the sums of the tile before.
      __syncthreads();
#pragma unroll
      for (int i = 0; i < WarpRow::kValues; ++i) sums[warp][i][lane] = sum.x[i], decays[warp][i][lane] = product.x[i];
      __syncthreads();
      WarpRow running = value;
      for (int other = 0; other < kScanWarps; ++other) {
        if (other == static_cast<int>(warp)) running = value;
#pragma unroll
        for (int i = 0; i < WarpRow::kValues; ++i) {
          value.x[i] = __fmaf_rn(value.x[i], decays[other][i][lane], sums[other][i][lane]);
        }
      }
#pragma unroll 1
      for (int place = first; place < last; ++place) {
        const WarpRow own = source(step(place)), factor = decay(step(place));
        if constexpr (kReverse) {
          running = running.zip(own, add);
          add_to_keys(step(place), running);
          running = running.zip(factor, multiply);
        } else {
          running = running.zip(factor, multiply).zip(own, add);
          divide(step(place), running);
        }
      }
    }
    if (params.end != nullptr && warp == 0) value.store_to(reinterpret_cast<f32*>(params.end) + slot, params.d_k);
  }
};

template <typename T, bool kReverse>
__device__ __forceinline__ void scan_normaliser(const RecurrenceNormaliserParams& params) {
  with_units(max(params.d_k, params.d_v), [&](auto units) { NormaliserScan<T, kReverse, units()>(params).run(); });
}

// Forward: divides, and gives the gradient of what is divided by.
template <typename T>
__device__ __forceinline__ void divide(const RecurrenceNormaliserParams& params) {
  scan_normaliser<T, false>(params);
}

// In reverse: adds the normaliser's part to the gradients of k.
template <typename T>
__device__ __forceinline__ void add_to_keys(const RecurrenceNormaliserParams& params) {
  scan_normaliser<T, true>(params);
}

}  // namespace llm_kernels
