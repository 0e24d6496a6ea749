// Gradients of gated linear units out = activation(gate) * up.
//
//   gate, up, d_out, d_gate, d_up: [.., d]   each f32, f16 or bf16
//
//   d_up = activation(gate) * d_out
//   d_gate = activation'(gate) * up * d_out
//
// Block: a tile of a row. Thread: kPerThread units of it, kThreads apart. Rows without gaps between them are one row
// here. Arithmetic: f32. Memory: each input once, each output once. Derivation: src/fused/gated_backward/README.md
#include <cstddef>
#include <cstdint>

#include "common/rows.cuh"
#include "fused/activation.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/gated_backward/params.rs.
struct GatedBackwardParams {
  RowTensor gate;
  RowTensor up;             // Without it `up` is 1 and there is no d_up.
  RowTensor d_out;
  RowTensor d_gate;
  RowTensor d_up;
  Rows rows;
  Activation activation;
  uint32_t tiles_per_row;
};

static_assert(sizeof(GatedBackwardParams) == 224 && offsetof(GatedBackwardParams, rows) == 200 &&
                  offsetof(GatedBackwardParams, tiles_per_row) == 220,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;

template <int kUnit>
struct Values {
  static constexpr int kPerThread = 16 / kUnit > 4 ? 4 : 16 / kUnit;
  using Array = float[kPerThread][kUnit];
  Array& gate;
  Array& up;
  const Array& d_out;

  // gate becomes d_gate, up becomes d_up.
  template <Activation kActivation>
  __device__ __forceinline__ void run() const {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) {
        const Activated activated = activate_and_derive<kActivation>(gate[i][e]);
        gate[i][e] = activated.derivative * up[i][e] * d_out[i][e];
        up[i][e] = activated.value * d_out[i][e];
      }
    }
  }
};

template <int kUnit>
__device__ __forceinline__ void gated_backward(const GatedBackwardParams& params) {
  constexpr int kPerThread = Values<kUnit>::kPerThread;
  const uint32_t row = ptx::block_index() / params.tiles_per_row;
  const uint32_t tile = ptx::block_index() - row * params.tiles_per_row;
  const uint32_t num_units = params.rows.width / kUnit;
  const uint32_t first = tile * (kThreads * kPerThread) + ptx::thread_index();
  const Row gate = params.gate.row(params.rows, row);
  const Row d_out = params.d_out.row(params.rows, row);
  const bool has_up = params.up.data != nullptr;

  Units<kUnit, kPerThread> units = {}, up_units = {}, d_units = {};
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) {
      gate.load(first + i * kThreads, units, i);
      d_out.load(first + i * kThreads, d_units, i);
    }
  }
  float values[kPerThread][kUnit], up_values[kPerThread][kUnit], d_values[kPerThread][kUnit];
  if (has_up) {
    const Row up = params.up.row(params.rows, row);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (first + i * kThreads < num_units) up.load(first + i * kThreads, up_units, i);
    }
    unpack(up.type, up_units, up_values);
  } else {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) up_values[i][e] = 1.0f;
    }
  }
  unpack(gate.type, units, values);
  unpack(d_out.type, d_units, d_values);
  with_activation(params.activation, Values<kUnit>{values, up_values, d_values});
  const Row d_gate = params.d_gate.row(params.rows, row);
  pack(d_gate.type, values, units);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) d_gate.store(first + i * kThreads, units, i);
  }
  if (!has_up) return;
  const Row d_up = params.d_up.row(params.rows, row);
  pack(d_up.type, up_values, units);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) d_up.store(first + i * kThreads, units, i);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit.
#define GATED_BACKWARD_INSTANCE(NAME, UNIT)                                   \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)         \
      NAME(const __grid_constant__ llm_kernels::GatedBackwardParams params) { \
    llm_kernels::gated_backward<UNIT>(params);                                \
  }

GATED_BACKWARD_INSTANCE(gated_backward_unit8, 8)
GATED_BACKWARD_INSTANCE(gated_backward_unit4, 4)
GATED_BACKWARD_INSTANCE(gated_backward_unit1, 1)
