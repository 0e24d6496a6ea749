// Products of activations with a matrix in a block format of ggml: y = x w^T + bias.
//
//   x: [m, k] f16, bf16 or f32   w: [n, k] packed   bias: [n]   y: [m, n] f16, bf16 or f32
//
// gguf_quantise: activations to 8-bit integers, in blocks of 32 with a scale. Thread: 8 elements.
// gguf_vector_q8_*: one row of x; gguf_vectors_q8_*, gguf_vectors_exact_*: up to 8 at once. Warp: 8 to 32 rows of w, whose
// packed bytes are one run, 32 units of it at a time. Lane: a unit of 1 to 4 blocks, by integer dot products with quantised
// activations, or by f32 ones with activations as they are. Accumulation: exact in integers within 32 weights, then f32.
// Memory: every packed byte once for each 8 rows of x.
// gguf_matrix_*: more rows, quantised, with tensor cores. Block: 128 x 64 of y. Warp: 32 rows.
// gguf_dense_*: many rows, activations and weights rounded to bf16. Block: tiles of 256 x 128 of y, or parts of k of them, whose
// sums gguf_dense_add adds up in the order of k. Warp: 64 x 64.
// gguf_matrix_exact_*: more than 8 rows, activations in f32 (gguf_widen) and weights in f32, in tf32 parts. Block: 64 x 64 of y.
// Derivation: src/quant/gguf/README.md
#include "quant/gguf_dense.cuh"
#include "quant/gguf_exact.cuh"
#include "quant/gguf_matrix_loop.cuh"
#include "quant/gguf_quantise.cuh"
#include "quant/gguf_vector_loop.cuh"

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantiseThreads)
    gguf_quantise(const __grid_constant__ llm_kernels::QuantiseParams params) {
  llm_kernels::quantise(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantiseThreads)
    gguf_round(const __grid_constant__ llm_kernels::QuantiseParams params) {
  llm_kernels::round_activations(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantiseThreads)
    gguf_widen(const __grid_constant__ llm_kernels::QuantiseParams params) {
  llm_kernels::widen_activations(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kDenseThreads)
    gguf_dense_add(const __grid_constant__ llm_kernels::MatrixParams params) {
  llm_kernels::add_dense_tiles(params);
}

// A block is as large as its copies need; where ptxas may choose, it spills rather than to use some more registers.
#define VECTOR_INSTANCE(NAME, FORMAT, ELEMENT, VECTORS)                                                     \
  extern "C" __global__ void                                                                                \
  __launch_bounds__((llm_kernels::VectorTile<llm_kernels::FORMAT, true>::kThreads), 1)                      \
      NAME(const __grid_constant__ llm_kernels::VectorParams params) {                                      \
    llm_kernels::multiply_vectors<llm_kernels::FORMAT, ELEMENT, VECTORS>(params);                           \
  }

// Names for one and for up to 8 rows of quantised activations, for exact ones, for more rows and for many, and for more rows of
// exact ones; and the format.
#define INSTANCES(ONE, QUANTISED, EXACT, MATRIX, DENSE, EXACT_MATRIX, FORMAT)                               \
  VECTOR_INSTANCE(ONE, FORMAT, int8_t, 1)                                                                   \
  VECTOR_INSTANCE(QUANTISED, FORMAT, int8_t, 8)                                                             \
  VECTOR_INSTANCE(EXACT, FORMAT, float, 8)                                                                  \
  extern "C" __global__ void __launch_bounds__(llm_kernels::MatrixTile<llm_kernels::FORMAT>::kThreads)      \
      MATRIX(const __grid_constant__ llm_kernels::MatrixParams params) {                                    \
    llm_kernels::multiply_matrices<llm_kernels::FORMAT>(params);                                            \
  }                                                                                                         \
  extern "C" __global__ void __launch_bounds__(llm_kernels::DenseTile<llm_kernels::FORMAT>::kThreads, 1)    \
      DENSE(const __grid_constant__ llm_kernels::MatrixParams params) {                                     \
    llm_kernels::multiply_dense<llm_kernels::FORMAT>(params);                                               \
  }                                                                                                         \
  extern "C" __global__ void __launch_bounds__(llm_kernels::ExactTile<llm_kernels::FORMAT>::kThreads, 2)    \
      EXACT_MATRIX(const __grid_constant__ llm_kernels::MatrixParams params) {                              \
    llm_kernels::multiply_exactly<llm_kernels::FORMAT>(params);                                             \
  }

INSTANCES(gguf_vector_q8_q4_0, gguf_vectors_q8_q4_0, gguf_vectors_exact_q4_0, gguf_matrix_q4_0, gguf_dense_q4_0, gguf_matrix_exact_q4_0,
          Q4_0)
INSTANCES(gguf_vector_q8_q4_1, gguf_vectors_q8_q4_1, gguf_vectors_exact_q4_1, gguf_matrix_q4_1, gguf_dense_q4_1, gguf_matrix_exact_q4_1,
          Q4_1)
INSTANCES(gguf_vector_q8_q5_0, gguf_vectors_q8_q5_0, gguf_vectors_exact_q5_0, gguf_matrix_q5_0, gguf_dense_q5_0, gguf_matrix_exact_q5_0,
          Q5_0)
INSTANCES(gguf_vector_q8_q5_1, gguf_vectors_q8_q5_1, gguf_vectors_exact_q5_1, gguf_matrix_q5_1, gguf_dense_q5_1, gguf_matrix_exact_q5_1,
          Q5_1)
INSTANCES(gguf_vector_q8_q8_0, gguf_vectors_q8_q8_0, gguf_vectors_exact_q8_0, gguf_matrix_q8_0, gguf_dense_q8_0, gguf_matrix_exact_q8_0,
          Q8_0)
INSTANCES(gguf_vector_q8_q2_k, gguf_vectors_q8_q2_k, gguf_vectors_exact_q2_k, gguf_matrix_q2_k, gguf_dense_q2_k, gguf_matrix_exact_q2_k,
          Q2_K)
INSTANCES(gguf_vector_q8_q3_k, gguf_vectors_q8_q3_k, gguf_vectors_exact_q3_k, gguf_matrix_q3_k, gguf_dense_q3_k, gguf_matrix_exact_q3_k,
          Q3_K)
INSTANCES(gguf_vector_q8_q4_k, gguf_vectors_q8_q4_k, gguf_vectors_exact_q4_k, gguf_matrix_q4_k, gguf_dense_q4_k, gguf_matrix_exact_q4_k,
          Q4_K)
INSTANCES(gguf_vector_q8_q5_k, gguf_vectors_q8_q5_k, gguf_vectors_exact_q5_k, gguf_matrix_q5_k, gguf_dense_q5_k, gguf_matrix_exact_q5_k,
          Q5_K)
INSTANCES(gguf_vector_q8_q6_k, gguf_vectors_q8_q6_k, gguf_vectors_exact_q6_k, gguf_matrix_q6_k, gguf_dense_q6_k, gguf_matrix_exact_q6_k,
          Q6_K)
INSTANCES(gguf_vector_q8_iq4_nl, gguf_vectors_q8_iq4_nl, gguf_vectors_exact_iq4_nl, gguf_matrix_iq4_nl, gguf_dense_iq4_nl, gguf_matrix_exact_iq4_nl,
          IQ4_NL)
INSTANCES(gguf_vector_q8_iq4_xs, gguf_vectors_q8_iq4_xs, gguf_vectors_exact_iq4_xs, gguf_matrix_iq4_xs, gguf_dense_iq4_xs, gguf_matrix_exact_iq4_xs,
          IQ4_XS)
