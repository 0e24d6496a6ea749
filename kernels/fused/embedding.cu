// Rows of a table by number: out[i] = scale * table[ids[i]].
//
//   table: [n, d]   ids: [..] i32   out: [.., d]   table and out each f32, f16 or bf16
//
// A number outside the table gives a row of NaN; nothing outside is read. Block: a tile of a row of out. Thread:
// kPerThread units of it, kThreads apart. Memory: each number, table row and result once. Derivation:
// src/fused/embedding/README.md
#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/rows.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/embedding/params.rs.
struct EmbeddingParams {
  RowTensor table;
  RowTensor out;
  const int32_t* ids;  // Contiguous.
  Rows rows;           // Of out.
  uint32_t num_entries;
  uint32_t tiles_per_row;
  float scale;
  int32_t padding;
};

static_assert(sizeof(EmbeddingParams) == 120 && offsetof(EmbeddingParams, rows) == 88 &&
                  offsetof(EmbeddingParams, scale) == 112,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;

template <int kUnit>
__device__ __forceinline__ void embedding(const EmbeddingParams& params) {
  constexpr int kPerThread = 16 / kUnit > 4 ? 4 : 16 / kUnit;
  const uint32_t row = ptx::block_index() / params.tiles_per_row;
  const uint32_t tile = ptx::block_index() - row * params.tiles_per_row;
  const uint32_t num_units = params.rows.width / kUnit;
  const uint32_t first = tile * (kThreads * kPerThread) + ptx::thread_index();
  const int32_t id = ptx::ld_global_4(params.ids + row);
  const bool exists = static_cast<uint32_t>(id) < params.num_entries;
  const Row start{static_cast<char*>(params.table.data), params.table.type};
  const Row source{start.at((exists ? id : 0) * params.table.strides[0]), params.table.type};
  const Row out = params.out.row(params.rows, row);

  Units<kUnit, kPerThread> units = {};
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (exists && first + i * kThreads < num_units) source.load(first + i * kThreads, units, i);
  }
  float values[kPerThread][kUnit];
  unpack(source.type, units, values);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) values[i][e] = exists ? values[i][e] * params.scale : CUDART_NAN_F;
  }
  pack(out.type, values, units);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (first + i * kThreads < num_units) out.store(first + i * kThreads, units, i);
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit.
#define EMBEDDING_INSTANCE(NAME, UNIT)                                        \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)         \
      NAME(const __grid_constant__ llm_kernels::EmbeddingParams params) {     \
    llm_kernels::embedding<UNIT>(params);                                     \
  }

EMBEDDING_INSTANCE(embedding_unit8, 8)
EMBEDDING_INSTANCE(embedding_unit4, 4)
EMBEDDING_INSTANCE(embedding_unit1, 1)
