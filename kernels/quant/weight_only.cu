// Products of activations with grouped weights of 4 and 8 bits: y = x w^T + bias, w = scale * (code - zero)
// or, of NF4, scale * table[code].
//
//   x: [m, k] f16 or bf16   codes, scales, zeros: packed by quant/repack   bias: [n]   y: [m, n] f16, bf16 or f32
//
// weight_only_vector_*: up to 8 rows of x. Block: 32 rows of weights. Warp: every fourth 128 columns of them; the warps' sums
// are added at the end. weight_only_rows{16,32,64,128}_*: more. Block: so many rows of x by 128 rows of weights. Warp: 32 rows of
// weights of every second 64 columns, or 64 x 64. Where there are too few blocks for the chip, k is split and weight_only_finish adds the splits up, in order.
// weight_only_permute: columns of x in the order of the weights'.
// Accumulation: tensor cores, f32. Memory: every code once for each 8 or so many rows of x.
// Derivation: src/quant/weight_only/README.md
#include "quant/weight_only_matrix_loop.cuh"
#include "quant/weight_only_vector_loop.cuh"

extern "C" __global__ void __launch_bounds__(llm_kernels::kFinishThreads)
    weight_only_finish(const __grid_constant__ llm_kernels::WeightOnlyParams params) {
  llm_kernels::add_splits(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kFinishThreads)
    weight_only_permute(const __grid_constant__ llm_kernels::WeightOnlyParams params) {
  llm_kernels::permute_columns(params);
}

#define VECTOR_INSTANCE(NAME, WEIGHTS, TYPE)                                                                \
  extern "C" __global__ void __launch_bounds__(32 * llm_kernels::kVectorWarps, 1)                             \
      NAME(const __grid_constant__ llm_kernels::WeightOnlyParams params) {                                  \
    llm_kernels::multiply_vectors<llm_kernels::WEIGHTS, llm_kernels::TYPE>(params);                         \
  }

// Tiles of 8 rows and of 16 rows of weights of a warp, warps along both, and teams along k.
#define MATRIX_INSTANCE(NAME, WEIGHTS, TYPE, ROW_TILES, COLUMN_TILES, ROW_WARPS, COLUMN_WARPS, TEAMS) \
  extern "C" __global__ void __launch_bounds__(32 * ROW_WARPS * COLUMN_WARPS * TEAMS, 1)              \
      NAME(const __grid_constant__ llm_kernels::WeightOnlyParams params) {                                  \
    llm_kernels::multiply_grouped<llm_kernels::WEIGHTS, llm_kernels::TYPE, ROW_TILES, COLUMN_TILES, ROW_WARPS, \
                                  COLUMN_WARPS, TEAMS>(params);                                       \
  }

// Teams of the kernel for 64 rows: two of 8-bit codes do not fit every chip.
#define INSTANCES(CODES, WEIGHTS, TYPE, TEAMS)                                                              \
  VECTOR_INSTANCE(weight_only_vector_##CODES##_##TYPE, WEIGHTS, TYPE)                                       \
  MATRIX_INSTANCE(weight_only_rows16_##CODES##_##TYPE, WEIGHTS, TYPE, 2, 2, 1, 4, 2)                        \
  MATRIX_INSTANCE(weight_only_rows32_##CODES##_##TYPE, WEIGHTS, TYPE, 4, 2, 1, 4, 2)                        \
  MATRIX_INSTANCE(weight_only_rows64_##CODES##_##TYPE, WEIGHTS, TYPE, 8, 2, 1, 4, TEAMS)                    \
  MATRIX_INSTANCE(weight_only_rows128_##CODES##_##TYPE, WEIGHTS, TYPE, 8, 4, 2, 2, 1)

INSTANCES(int4, Int4, f16, 2)
INSTANCES(int4, Int4, bf16, 2)
INSTANCES(int8, UInt8, f16, 1)
INSTANCES(int8, UInt8, bf16, 1)
INSTANCES(nf4, Nf4, f16, 2)
INSTANCES(nf4, Nf4, bf16, 2)
