// Gradients of the causal convolution of every channel, y[t] = bias + sum over j of weight[j] x[t - (width - 1) + j].
//
//   x, d_out, d_x: [b, s, dim], or [total, dim] with offsets of sequences   weight, d_weight: [dim, width]
//   bias, d_bias: [dim]   initial_state, d_initial_state, d_final_state: [b, dim, width - 1]
//
//   g[t] = d_out[t] activation'(y[t]), and 0 outside the sequence
//   d_x[t] = sum over j of weight[j] g[t + (width - 1) - j], for t below 0 too: the gradient of the initial state
//   d_weight[j] = sum over t of g[t] x[t - (width - 1) + j]   d_bias = sum over t of g[t]
//
// Thread: kUnit neighbouring channels of every num_groups-th tile of `positions` positions, with the last inputs and
// g's in registers. It goes width - 1 positions beyond its tile, for the g's that reach back into it. Its sums for d_weight
// and d_bias go to the workspace, and a second kernel adds them up, always in the same order. Accumulation: f32.
// Derivation: src/scan/causal_conv1d_backward/README.md
#include <cstddef>
#include <cstdint>

#include "common/tensor.cuh"
#include "fused/activation.cuh"
#include "scan/column_sum.cuh"
#include "scan/conv_tiles.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/causal_conv1d_backward/params.rs.
struct CausalConv1dBackwardParams {
  SequenceTensor x;
  SequenceTensor d_out;
  SequenceTensor d_x;
  void* weight;
  void* bias;             // Null: none.
  void* initial_state;    // Null: zeros.
  void* d_initial_state;  // Null: not wanted.
  void* d_final_state;    // Null: zeros.
  float* d_weights;       // [num_groups, dim, width]
  float* d_biases;        // [num_groups, dim]
  Sequences sequences;
  int32_t b;
  int32_t dim;
  int32_t positions;      // Of a tile.
  int32_t num_tiles;
  int32_t num_groups;
  ElementType type;       // Of x, d_out, d_x and the states.
  ElementType weight_type;
  ElementType bias_type;
  int32_t silu;
  int32_t padding;
};

static_assert(sizeof(CausalConv1dBackwardParams) == 208 && offsetof(CausalConv1dBackwardParams, sequences) == 152 &&
                  offsetof(CausalConv1dBackwardParams, silu) == 200,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
// Positions whose loads are under way together.
constexpr int kAhead = 4;

template <int kUnit, int kWidth>
struct Gradients {
  float weights[kWidth][kUnit], d_weights[kWidth][kUnit];
  float bias[1][kUnit], d_bias[1][kUnit];
  float x[kWidth - 1][kUnit];  // The inputs before, the oldest first.
  float g[kWidth - 1][kUnit];  // And the g's.
  bool silu;

  // The next position, whether it is one of the tile's own; the gradient of the input width - 1 positions before it.
  __device__ __forceinline__ void step(const float (&next)[kUnit], const float (&d_out)[kUnit], bool is_own,
                                       float (&d_x)[kUnit]) {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) {
      float now = d_out[e];
      if (silu) {
        float sum = bias[0][e];
#pragma unroll
        for (int j = 0; j < kWidth - 1; ++j) sum = __fmaf_rn(weights[j][e], x[j][e], sum);
        now *= activate_and_derive<Activation::kSilu>(__fmaf_rn(weights[kWidth - 1][e], next[e], sum)).derivative;
      }
      float sum = weights[0][e] * now;
#pragma unroll
      for (int j = 1; j < kWidth; ++j) sum = __fmaf_rn(weights[j][e], g[kWidth - 1 - j][e], sum);
      d_x[e] = sum;
      if (is_own) {
        d_bias[0][e] += now;
#pragma unroll
        for (int j = 0; j < kWidth - 1; ++j) d_weights[j][e] = __fmaf_rn(now, x[j][e], d_weights[j][e]);
        d_weights[kWidth - 1][e] = __fmaf_rn(now, next[e], d_weights[kWidth - 1][e]);
      }
#pragma unroll
      for (int j = 0; j < kWidth - 2; ++j) x[j][e] = x[j + 1][e], g[j][e] = g[j + 1][e];
      x[kWidth - 2][e] = next[e], g[kWidth - 2][e] = now;
    }
  }
};

// Element `j` of each channel of a state, for what is rare.
template <int kUnit, int kEach>
__device__ __forceinline__ void add_state(const Row& row, int64_t channel, int j, float (&values)[kUnit]) {
#pragma unroll
  for (int e = 0; e < kUnit; ++e) {
    Units<1> unit;
    row.load_at((channel + e) * kEach + j, unit, 0);
    float value[1][1];
    unpack(row.type, unit, value);
    values[e] += value[0][0];
  }
}

template <int kUnit, int kEach>
__device__ __forceinline__ void store_state(const Row& row, int64_t channel, int j, const float (&values)[kUnit]) {
#pragma unroll
  for (int e = 0; e < kUnit; ++e) {
    const float value[1][1] = {{values[e]}};
    Units<1> unit;
    pack(row.type, value, unit);
    row.store_at((channel + e) * kEach + j, unit, 0);
  }
}

template <int kUnit, int kWidth>
__device__ __forceinline__ void backward_tile(const CausalConv1dBackwardParams& params, const ConvTile& tile,
                                              int64_t channel, Gradients<kUnit, kWidth>& gradients) {
  constexpr int kBefore = kWidth - 1;
  const ElementType type = params.type;
  const int batch = params.sequences.offsets == nullptr ? tile.batch : 0;
  const auto row = [&](const SequenceTensor& tensor) {
    return Row{Row{static_cast<char*>(tensor.data), type}.at(tensor.offset(batch, tile.begin, 0) + channel), type};
  };
  const Row x = row(params.x), d_out = row(params.d_out), d_x = row(params.d_x);
  const int64_t state_channel = static_cast<int64_t>(tile.batch) * params.dim + channel;
  const auto state = [&](void* data) { return Row{static_cast<char*>(data), type}; };

#pragma unroll
  for (int i = 0; i < kBefore * kUnit; ++i) gradients.x[i / kUnit][i % kUnit] = gradients.g[i / kUnit][i % kUnit] = 0;
  if (tile.first > 0) {
    Units<kUnit, kBefore> units;
#pragma unroll
    for (int j = 0; j < kBefore; ++j) x.load_at((tile.first - kBefore + j) * params.x.sequence_stride, units, j);
    unpack(type, units, gradients.x);
  } else if (params.initial_state != nullptr) {
    load_each<kUnit, kBefore>(state(params.initial_state), state_channel, gradients.x);
  }

  const int end = tile.first + tile.count;
  for (int first = tile.first; first < end + kBefore; first += kAhead) {
    // Beyond the sequence both are 0, and so is g.
    Units<kUnit, kAhead> x_units = {}, d_out_units = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i < min(end + kBefore, tile.length)) {
        x.load_at((first + i) * params.x.sequence_stride, x_units, i);
        d_out.load_at((first + i) * params.d_out.sequence_stride, d_out_units, i);
      }
    }
    float inputs[kAhead][kUnit], d_outs[kAhead][kUnit];
    unpack(type, x_units, inputs);
    unpack(type, d_out_units, d_outs);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      float result[1][kUnit];
      gradients.step(inputs[i], d_outs[i], first + i < end, result[0]);
      const int position = first + i - kBefore;
      if (position >= end) continue;
      const bool is_input = position >= tile.first;
      if (params.d_final_state != nullptr && position >= tile.length - kBefore && (is_input || tile.first == 0)) {
        add_state<kUnit, kBefore>(state(params.d_final_state), state_channel, position - tile.length + kBefore,
                                  result[0]);
      }
      if (is_input) {
        Units<kUnit> packed;
        pack(type, result, packed);
        d_x.store_at(position * params.d_x.sequence_stride, packed, 0);
      } else if (tile.first == 0 && params.d_initial_state != nullptr) {
        store_state<kUnit, kBefore>(state(params.d_initial_state), state_channel, position + kBefore, result[0]);
      }
    }
  }
}

template <int kUnit, int kWidth>
__device__ __forceinline__ void causal_conv1d_backward(const CausalConv1dBackwardParams& params) {
  const uint32_t num_units = params.dim / kUnit;
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  const int group = thread / num_units;
  if (group >= params.num_groups) return;
  const int64_t channel = thread % num_units * kUnit;
  Gradients<kUnit, kWidth> gradients = {};
  gradients.silu = params.silu;
  load_each<kUnit, kWidth>({static_cast<char*>(params.weight), params.weight_type}, channel, gradients.weights);
  if (params.bias != nullptr) {
    load_each<kUnit, 1>({static_cast<char*>(params.bias), params.bias_type}, channel, gradients.bias);
  }
  for (int number = group; number < params.num_tiles; number += params.num_groups) {
    const ConvTile tile = conv_tile(params.sequences, params.b, params.positions, number);
    if (tile.exists) backward_tile(params, tile, channel, gradients);
  }
  // Sums are f32, four of which are 16 bytes.
  constexpr int kChunk = kUnit == 1 ? 1 : 4;
  const int64_t first = static_cast<int64_t>(group) * params.dim + channel;
#pragma unroll
  for (int at = 0; at < kUnit; at += kChunk) {
    float weights[kWidth][kChunk], biases[1][kChunk];
#pragma unroll
    for (int e = 0; e < kChunk; ++e) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) weights[j][e] = gradients.d_weights[j][at + e];
      biases[0][e] = gradients.d_bias[0][at + e];
    }
    store_each<kChunk, kWidth>({reinterpret_cast<char*>(params.d_weights), ElementType::kF32}, first + at, weights);
    store_each<kChunk, 1>({reinterpret_cast<char*>(params.d_biases), ElementType::kF32}, first + at, biases);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, channels of a thread, width.
#define CAUSAL_CONV1D_BACKWARD_INSTANCE(NAME, UNIT, WIDTH)                           \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads, 2)             \
      NAME(const __grid_constant__ llm_kernels::CausalConv1dBackwardParams params) { \
    llm_kernels::causal_conv1d_backward<UNIT, WIDTH>(params);                        \
  }

CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit8_width2, 8, 2)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit8_width3, 8, 3)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit8_width4, 8, 4)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit4_width2, 4, 2)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit4_width3, 4, 3)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit4_width4, 4, 4)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit1_width2, 1, 2)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit1_width3, 1, 3)
CAUSAL_CONV1D_BACKWARD_INSTANCE(causal_conv1d_backward_unit1_width4, 1, 4)

extern "C" __global__ void __launch_bounds__(llm_kernels::kSumColumns * llm_kernels::kSumGroups)
    causal_conv1d_backward_sum(const __grid_constant__ llm_kernels::ColumnSumParams params) {
  llm_kernels::column_sum(params);
}
