// Block-sparse attention, forward: out = softmax(scale * q k^T where a layout shows it) v, visiting listed tiles only.
//
//   q: [b, s_q, h_q, d]   k: [b, s_k, h_kv, d]   v: [b, s_k, h_kv, d_v]   out: [b, s_q, h_q, d_v]
//   lse: [b, h_q, s_q] f32, natural logarithm   layout: sparse/listed_tiles.cuh
//   With cu_seqlens q and out are [total_q, ...], k and v [total_k, ...], lse is [h_q, total_q].
//
// Blocks, warps, lanes, types and order of the sums are those of attention/flash_forward.cu, whose loop this is: a layout
// of all tiles gives the same bits. Only the next tile of keys is found in a list, and a tile's mask is what the list says.
// Memory: q once, k and v of each listed tile once per block, out and lse once, a word of the layout for each listed tile.
// Derivation: src/sparse/block_sparse/README.md
#include "attention/forward_loop.cuh"
#include "sparse/listed_tiles.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/sparse/block_sparse/params.rs.
struct BlockSparseParams {
  FlashForwardParams attention;  // No windows, sinks or features.
  BlockLayoutParams layout;
};

static_assert(sizeof(BlockSparseParams) == 432 && offsetof(BlockSparseParams, layout) == 336, "mirrored in Rust");

}  // namespace llm_kernels

// Name, element type, head dims of q and v, kBlockM, kBlockN, dynamic shared bytes. All have 4 warps.
#define BLOCK_SPARSE_INSTANCE(NAME, T, D, DV, M, N, SHARED)                                                             \
  static_assert(llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, false>::kSharedBytes +                  \
                        llm_kernels::ListedTiles<N>::kStoredBytes ==                                                  \
                    SHARED,                                                                                           \
                "mirrored in Rust");                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, 2)                                                                \
      NAME(const __grid_constant__ llm_kernels::BlockSparseParams params) {                                           \
    llm_kernels::flash_forward<llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, false>>(                 \
        params.attention, llm_kernels::ListedKeys{params.layout});                                                    \
  }

BLOCK_SPARSE_INSTANCE(block_sparse_f16_d64_128x128, f16, 64, 64, 128, 128, 49184)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d64_64x64, f16, 64, 64, 64, 64, 24608)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d128_128x64, f16, 128, 128, 128, 64, 65568)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d128_64x64, f16, 128, 128, 64, 64, 49184)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d192_128_128x64, f16, 192, 128, 128, 64, 90144)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d192_128_64x64, f16, 192, 128, 64, 64, 65568)
BLOCK_SPARSE_INSTANCE(block_sparse_f16_d256_64x32, f16, 256, 256, 64, 32, 65568)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d64_128x128, bf16, 64, 64, 128, 128, 49184)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d64_64x64, bf16, 64, 64, 64, 64, 24608)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d128_128x64, bf16, 128, 128, 128, 64, 65568)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d128_64x64, bf16, 128, 128, 64, 64, 49184)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d192_128_128x64, bf16, 192, 128, 128, 64, 90144)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d192_128_64x64, bf16, 192, 128, 64, 64, 65568)
BLOCK_SPARSE_INSTANCE(block_sparse_bf16_d256_64x32, bf16, 256, 256, 64, 32, 65568)
