// Products of activations with grouped weights of 4 and 8 bits: y = x w^T + bias, w = scale * (code - zero)
// or, of NF4, scale * table[code].
//
//   x: [m, k] f16 or bf16   codes, scales, zeros: packed by quant/repack   bias: [n]   y: [m, n] f16, bf16 or f32
//
// weight_only_vector_*: up to 8 rows of x. Block: 32 rows of weights. Warp: every fourth 128 columns of them; the warps' sums
// are added at the end. Where there are too few blocks for the chip, k is split and weight_only_finish adds the splits up, in order.
// weight_only_rows{16,32}_*: up to 32. Block: all rows of x by 128 rows of weights, likewise split. Warp: 32 rows of weights of
// every second 64 columns.
// weight_only_rows{64,128}_*: more. Block: tiles of so many rows of x by 256 rows of weights (of 8-bit codes 128), or parts of k
// of them, whose sums weight_only_add_* adds up in the order of k. Warp: 64 (32) rows of weights by 64 of x, of half of the
// columns or of all.
// weight_only_permute: columns of x in the order of the weights'.
// Accumulation: tensor cores, f32. Memory: every code once for each 8 or so many rows of x.
// Derivation: src/quant/weight_only/README.md
#include "quant/weight_only_dozens_loop.cuh"
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

// Tiles of 8 rows and of 16 rows of weights of a warp, warps along both, teams along k, stages.
using Rows64 = llm_kernels::GroupedTile<8, 4, 1, 4, 2, 3>;
using Rows128 = llm_kernels::GroupedTile<8, 4, 2, 4, 1, 4>;
// 8-bit codes take twice the registers.
using Rows64Narrow = llm_kernels::GroupedTile<8, 2, 1, 4, 2, 3>;
using Rows128Narrow = llm_kernels::GroupedTile<8, 2, 2, 4, 1, 4>;

#define MATRIX_INSTANCE(NAME, WEIGHTS, TYPE, TILE)                                                          \
  extern "C" __global__ void __launch_bounds__(TILE::kThreads, 1)                                           \
      NAME(const __grid_constant__ llm_kernels::WeightOnlyParams params) {                                  \
    llm_kernels::multiply_grouped<llm_kernels::WEIGHTS, llm_kernels::TYPE, TILE>(params);                   \
  }

#define DOZENS_INSTANCE(NAME, WEIGHTS, TYPE, ROW_TILES)                                                     \
  extern "C" __global__ void __launch_bounds__(256, 1)                                                      \
      NAME(const __grid_constant__ llm_kernels::WeightOnlyParams params) {                                  \
    llm_kernels::multiply_dozens<llm_kernels::WEIGHTS, llm_kernels::TYPE, ROW_TILES, 2, 1, 4, 2>(params);   \
  }

#define ADD_INSTANCE(NAME, TILE)                                                                            \
  extern "C" __global__ void __launch_bounds__(TILE::kThreads)                                              \
      NAME(const __grid_constant__ llm_kernels::WeightOnlyParams params) {                                  \
    llm_kernels::add_shares<TILE>(params);                                                                  \
  }

ADD_INSTANCE(weight_only_add_64x256, Rows64)
ADD_INSTANCE(weight_only_add_128x256, Rows128)
ADD_INSTANCE(weight_only_add_64x128, Rows64Narrow)
ADD_INSTANCE(weight_only_add_128x128, Rows128Narrow)

#define INSTANCES(CODES, WEIGHTS, TYPE, ROWS64, ROWS128)                                                    \
  VECTOR_INSTANCE(weight_only_vector_##CODES##_##TYPE, WEIGHTS, TYPE)                                       \
  DOZENS_INSTANCE(weight_only_rows16_##CODES##_##TYPE, WEIGHTS, TYPE, 2)                                    \
  DOZENS_INSTANCE(weight_only_rows32_##CODES##_##TYPE, WEIGHTS, TYPE, 4)                                    \
  MATRIX_INSTANCE(weight_only_rows64_##CODES##_##TYPE, WEIGHTS, TYPE, ROWS64)                               \
  MATRIX_INSTANCE(weight_only_rows128_##CODES##_##TYPE, WEIGHTS, TYPE, ROWS128)

INSTANCES(int4, Int4, f16, Rows64, Rows128)
INSTANCES(int4, Int4, bf16, Rows64, Rows128)
INSTANCES(int8, UInt8, f16, Rows64Narrow, Rows128Narrow)
INSTANCES(int8, UInt8, bf16, Rows64Narrow, Rows128Narrow)
INSTANCES(nf4, Nf4, f16, Rows64, Rows128)
INSTANCES(nf4, Nf4, bf16, Rows64, Rows128)
