// Exact attention, backward: d_q, d_k, d_v of out = dropout(softmax(score(scale * q k^T))) v, recomputed from lse.
//
//   q, d_q: [b, s_q, h_q, d]   k, d_k: [b, s_k, h_kv, d]   v, d_v: [b, s_k, h_kv, d_v]   out, d_out: [b, s_q, h_q, d_v]
//   lse: [b, h_q, s_q] f32   sinks, d_sinks: [h_q] f32   d_bias: [b or 1, h_q or 1, s_q, s_k] f32
//   With cu_seqlens [total_q, ...], [total_k, ...] and [h_q, total_q], as in the forward pass.
//
// Kernels: statistics: lse in base 2 and delta = sum of out * d_out. main: a block owns kBlockN keys of a kv head and
// visits the tiles of kBlockM queries that see them, in each of its query heads; scores lie transposed, keys by queries, so
// that d_k and d_v stay in registers of the warp that owns the keys; d_q is summed in global memory, key tile after key
// tile. finish: sums to results. sinks: sums of statistics to d_sinks.
// Accumulation: f32; powers and d_scores are rounded to the element type. All sums have one order. Elements of f32 are
// multiplied in parts: attention/backward_products_f32.cuh.
// Derivation, workspace and counts: src/attention/flash_backward/README.md
#include "attention/backward_loop.cuh"
#include "attention/row_statistics.cuh"
#include "common/slab.cuh"

// Name, element type, head dim, kBlockM, kBlockN, warps over keys and over columns, stages, features, blocks per
// multiprocessor, dynamic shared bytes.
#define FLASH_BACKWARD_INSTANCE(NAME, T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, FEATURES, BLOCKS, SHARED)          \
  using NAME##_traits =                                                                                               \
      llm_kernels::FlashBackwardTraits<llm_kernels::T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, FEATURES>;           \
  static_assert(NAME##_traits::kSharedBytes == SHARED, "mirrored in Rust");                                           \
  extern "C" __global__ void __launch_bounds__(KEY_WARPS * COLUMN_WARPS * 32, BLOCKS)                                 \
      NAME(const __grid_constant__ llm_kernels::FlashBackwardParams params) {                                         \
    llm_kernels::flash_backward<NAME##_traits, llm_kernels::WindowedQueries<NAME##_traits>>(params, {});               \
  }

FLASH_BACKWARD_INSTANCE(flash_backward_f16_d64, f16, 64, 32, 128, 4, 1, 2, false, 2, 59952)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d128, f16, 128, 32, 64, 4, 1, 2, false, 2, 72240)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d256, f16, 256, 32, 32, 2, 2, 1, false, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d64, bf16, 64, 32, 128, 4, 1, 2, false, 2, 59952)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d128, bf16, 128, 32, 64, 4, 1, 2, false, 2, 72240)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, false, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d64, f16, 64, 32, 64, 4, 1, 2, true, 2, 39472)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d128, f16, 128, 32, 64, 4, 2, 2, true, 1, 78384)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f16_d256, f16, 256, 32, 32, 2, 2, 1, true, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d64, bf16, 64, 32, 64, 4, 1, 2, true, 2, 39472)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d128, bf16, 128, 32, 64, 4, 2, 2, true, 1, 78384)
FLASH_BACKWARD_INSTANCE(flash_backward_features_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, true, 2, 71984)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d64, f32, 64, 32, 64, 2, 2, 2, true, 2, 74288)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d128, f32, 128, 32, 32, 2, 2, 1, true, 2, 69936)
FLASH_BACKWARD_INSTANCE(flash_backward_features_f32_d256, f32, 256, 32, 16, 1, 4, 1, true, 1, 100656)

// Kernel, name, parameters, threads.
#define FLASH_BACKWARD_END(KERNEL, NAME, PARAMS, THREADS)                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ llm_kernels::PARAMS params) {    \
    llm_kernels::KERNEL(params);                                                                                      \
  }

FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::f16>, flash_backward_statistics_f16, row_statistics::Params, 128)
FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::bf16>, flash_backward_statistics_bf16, row_statistics::Params, 128)
FLASH_BACKWARD_END(row_statistics::statistics<llm_kernels::f32>, flash_backward_statistics_f32, row_statistics::Params, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::f16>, flash_backward_finish_f16, SlabSumParams, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::bf16>, flash_backward_finish_bf16, SlabSumParams, 128)
FLASH_BACKWARD_END(sum_slabs<llm_kernels::f32>, flash_backward_finish_f32, SlabSumParams, 128)
FLASH_BACKWARD_END(row_statistics::sum_sinks, flash_backward_sinks, row_statistics::SinkSumParams, 32)
