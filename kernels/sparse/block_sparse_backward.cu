// Block-sparse attention, backward: d_q, d_k, d_v of out = softmax(scale * q k^T where a layout shows it) v.
//
//   q, d_q: [b, s_q, h_q, d]   k, d_k, v, d_v: [b, s_k, h_kv, d]   out, d_out: [b, s_q, h_q, d]   lse: [b, h_q, s_q] f32
//   layout: sparse/block_layout.cuh   With cu_seqlens [total_q, ...], [total_k, ...] and [h_q, total_q].
//
// Blocks, warps, lanes, types and sums are those of attention/flash_backward.cu, whose loop this is, and whose other kernels
// go before and after it: a block owns kBlockN keys of a kv head, and visits the tiles of queries whose rows list them. Key
// tiles add to a sum of d_q in the order in which its row lists them: the same bits in every run.
// Derivation: src/sparse/block_sparse_backward/README.md
#include "attention/backward_loop.cuh"
#include "sparse/listed_queries.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/sparse/block_sparse_backward/params.rs.
struct BlockSparseBackwardParams {
  FlashBackwardParams attention;  // No windows or features.
  BlockLayoutParams layout;
};

static_assert(sizeof(BlockSparseBackwardParams) == 600 && offsetof(BlockSparseBackwardParams, layout) == 504,
              "mirrored in Rust");

}  // namespace llm_kernels

// Name, element type, head dim, kBlockM, kBlockN, warps over keys and over columns, stages, dynamic shared bytes.
#define BLOCK_SPARSE_BACKWARD_INSTANCE(NAME, T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, SHARED)                     \
  using NAME##_traits =                                                                                               \
      llm_kernels::FlashBackwardTraits<llm_kernels::T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, false>;              \
  static_assert(NAME##_traits::kSharedBytes == SHARED, "mirrored in Rust");                                           \
  extern "C" __global__ void __launch_bounds__(KEY_WARPS * COLUMN_WARPS * 32, 2)                                      \
      NAME(const __grid_constant__ llm_kernels::BlockSparseBackwardParams params) {                                   \
    llm_kernels::flash_backward<NAME##_traits, llm_kernels::ListedQueries<NAME##_traits>>(params.attention,           \
                                                                                           params.layout);           \
  }

BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_f16_d64, f16, 64, 32, 64, 4, 1, 2, 39472)
BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_f16_d128, f16, 128, 32, 64, 4, 1, 2, 72240)
BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_f16_d256, f16, 256, 32, 32, 2, 2, 1, 71984)
BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_bf16_d64, bf16, 64, 32, 64, 4, 1, 2, 39472)
BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_bf16_d128, bf16, 128, 32, 64, 4, 1, 2, 72240)
BLOCK_SPARSE_BACKWARD_INSTANCE(block_sparse_backward_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, 71984)
