// Gated linear units: out = activation(gate) * up, or activation(gate) alone.
//
//   gate, up, out: [.., d]   each f32, f16 or bf16
//
// Block: a tile of a row. Thread: kPerThread units of it, kThreads apart. Rows without gaps between them are one row
// here. Arithmetic: f32. Memory: each input once, the output once. Derivation: src/fused/gated/README.md
#include <cstddef>
#include <cstdint>

#include "common/rows.cuh"
#include "fused/activation.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/gated/params.rs.
struct GatedParams {
  RowTensor gate;
  RowTensor up;             // Without it the product is with 1.
  RowTensor out;
  Rows rows;
  Activation activation;
  uint32_t tiles_per_row;
};

static_assert(sizeof(GatedParams) == 144 && offsetof(GatedParams, rows) == 120 &&
                  offsetof(GatedParams, tiles_per_row) == 140,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;

template <int kUnit>
struct Values {
  static constexpr int kPerThread = 16 / kUnit > 4 ? 4 : 16 / kUnit;
  float (&gate)[kPerThread][kUnit];
  const float (&up)[kPerThread][kUnit];

  // gate becomes the result.
  template <Activation kActivation>
  __device__ __forceinline__ void run() const {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) gate[i][e] = activate<kActivation>(gate[i][e]) * up[i][e];
    }
  }
};

template <int kUnit>
__device__ __forceinline__ void gated(const GatedParams& params) {
  constexpr int kPerThread = Values<kUnit>::kPerThread;
  const uint32_t row = ptx::block_index() / params.tiles_per_row;
  const uint32_t tile = ptx::block_index() - row * params.tiles_per_row;
  const uint32_t num_units = params.rows.width / kUnit;
  const uint32_t first = tile * (kThreads * kPerThread) + ptx::thread_index();
  const Row gate = params.gate.row(params.rows, row);
  const Row out = params.out.row(params.rows, row);
  const bool has_up = params.up.data != nullptr;

  Units<kUnit, kPerThread> units = {}, up_units = {};
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) gate.load(first + i * kThreads, units, i);
  }
  float values[kPerThread][kUnit], up_values[kPerThread][kUnit];
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
  with_activation(params.activation, Values<kUnit>{values, up_values});
  pack(out.type, values, units);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) out.store(first + i * kThreads, units, i);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit.
#define GATED_INSTANCE(NAME, UNIT)                                            \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)         \
      NAME(const __grid_constant__ llm_kernels::GatedParams params) {         \
    llm_kernels::gated<UNIT>(params);                                         \
  }

GATED_INSTANCE(gated_unit8, 8)
GATED_INSTANCE(gated_unit4, 4)
GATED_INSTANCE(gated_unit1, 1)
