// Causal convolution of every channel by itself, with an activation, as state-space models have it before their scan.
//
//   x, out: [b, s, dim], or [total, dim] with offsets of sequences   weight: [dim, width]   bias: [dim]
//   initial_state, final_state: [b, dim, width - 1], the positions before the first, and the last ones
//
//   out[t] = activation(bias + sum over j of weight[j] x[t - (width - 1) + j]), x before the first position from the
//   state, or 0
//
// Thread: kUnit neighbouring channels, `positions` positions of one sequence, with the last width - 1 inputs and the
// weights in registers. Neighbouring threads own neighbouring channels. Accumulation: f32. Memory: out once; x once and
// width - 1 of every `positions` positions twice. Derivation: src/scan/causal_conv1d/README.md
#include <cstddef>
#include <cstdint>

#include "common/tensor.cuh"
#include "fused/activation.cuh"
#include "scan/conv_tiles.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/causal_conv1d/params.rs.
struct CausalConv1dParams {
  SequenceTensor x;
  SequenceTensor out;
  void* weight;
  void* bias;           // Null: none.
  void* initial_state;  // Null: zeros. May be final_state where no sequence has more than `positions` positions.
  void* final_state;    // Null: not wanted.
  Sequences sequences;
  int32_t b;
  int32_t dim;
  int32_t positions;    // Of a thread.
  int32_t num_tiles;
  ElementType type;     // Of x, out and the states.
  ElementType weight_type;
  ElementType bias_type;
  int32_t silu;
};

static_assert(sizeof(CausalConv1dParams) == 144 && offsetof(CausalConv1dParams, sequences) == 96 &&
                  offsetof(CausalConv1dParams, silu) == 140,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
// Positions whose loads are under way together.
constexpr int kAhead = 4;

template <int kUnit, int kWidth>
struct Convolution {
  float weights[kWidth][kUnit];
  float bias[kUnit];
  float history[kWidth - 1][kUnit];  // The inputs before, the oldest first.
  bool silu;

  __device__ __forceinline__ void step(const float (&x)[kUnit], float (&out)[1][kUnit]) {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) {
      float sum = bias[e];
#pragma unroll
      for (int j = 0; j < kWidth - 1; ++j) sum = __fmaf_rn(weights[j][e], history[j][e], sum);
      out[0][e] = __fmaf_rn(weights[kWidth - 1][e], x[e], sum);
#pragma unroll
      for (int j = 0; j < kWidth - 2; ++j) history[j][e] = history[j + 1][e];
      history[kWidth - 2][e] = x[e];
    }
    if (silu) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) out[0][e] = activate<Activation::kSilu>(out[0][e]);
    }
  }
};

template <int kUnit, int kWidth>
__device__ __forceinline__ void causal_conv1d(const CausalConv1dParams& params) {
  const uint32_t num_units = params.dim / kUnit;
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  if (thread / num_units >= params.num_tiles) return;
  const ConvTile tile = conv_tile(params.sequences, params.b, params.positions, thread / num_units);
  if (!tile.exists) return;
  const int64_t channel = thread % num_units * kUnit;
  const int64_t state_channel = static_cast<int64_t>(tile.batch) * params.dim + channel;
  // Rows of this thread's channels, from the sequence's first position on.
  const int batch = params.sequences.offsets == nullptr ? tile.batch : 0;
  const ElementType type = params.type;
  const auto row = [&](const SequenceTensor& tensor) {
    return Row{Row{static_cast<char*>(tensor.data), type}.at(tensor.offset(batch, tile.begin, 0) + channel), type};
  };
  const Row x = row(params.x), out = row(params.out);
  const int64_t x_stride = params.x.sequence_stride, out_stride = params.out.sequence_stride;

  Convolution<kUnit, kWidth> convolution = {};
  convolution.silu = params.silu;
  load_each<kUnit, kWidth>({static_cast<char*>(params.weight), params.weight_type}, channel, convolution.weights);
  if (params.bias != nullptr) {
    float bias[1][kUnit];
    load_each<kUnit, 1>({static_cast<char*>(params.bias), params.bias_type}, channel, bias);
#pragma unroll
    for (int e = 0; e < kUnit; ++e) convolution.bias[e] = bias[0][e];
  }
  if (tile.first > 0) {
    // A tile is at least as long as the history.
    Units<kUnit, kWidth - 1> units;
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) x.load_at((tile.first - (kWidth - 1) + j) * x_stride, units, j);
    unpack(type, units, convolution.history);
  } else if (params.initial_state != nullptr) {
    load_each<kUnit, kWidth - 1>({static_cast<char*>(params.initial_state), type}, state_channel, convolution.history);
  }

  const auto steps = [&](auto count, int first) {
    constexpr int kCount = decltype(count)::kValue;
    Units<kUnit, kCount> units;
#pragma unroll
    for (int i = 0; i < kCount; ++i) x.load_at((first + i) * x_stride, units, i);
    float inputs[kCount][kUnit];
    unpack(type, units, inputs);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float result[1][kUnit];
      convolution.step(inputs[i], result);
      Units<kUnit> packed;
      pack(type, result, packed);
      out.store_at((first + i) * out_stride, packed, 0);
    }
  };
  const int end = tile.first + tile.count;
  int position = tile.first;
  for (; position + kAhead <= end; position += kAhead) steps(Count<kAhead>{}, position);
  for (; position < end; ++position) steps(Count<1>{}, position);

  if (params.final_state != nullptr && tile.is_last) {
    store_each<kUnit, kWidth - 1>({static_cast<char*>(params.final_state), type}, state_channel, convolution.history);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, channels of a thread, width.
#define CAUSAL_CONV1D_INSTANCE(NAME, UNIT, WIDTH)                                  \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)              \
      NAME(const __grid_constant__ llm_kernels::CausalConv1dParams params) {       \
    llm_kernels::causal_conv1d<UNIT, WIDTH>(params);                               \
  }

CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit8_width2, 8, 2)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit8_width3, 8, 3)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit8_width4, 8, 4)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit4_width2, 4, 2)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit4_width3, 4, 3)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit4_width4, 4, 4)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit1_width2, 1, 2)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit1_width3, 1, 3)
CAUSAL_CONV1D_INSTANCE(causal_conv1d_unit1_width4, 1, 4)
