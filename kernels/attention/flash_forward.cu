// Exact attention, forward: out = dropout(softmax(score(scale * q k^T))) v, without the scores ever in memory.
//
//   q: [b, s_q, h_q, d]   k: [b, s_k, h_kv, d]   v: [b, s_k, h_kv, d_v]   out: [b, s_q, h_q, d_v]
//   lse: [b, h_q, s_q] f32, natural logarithm   sinks: [h_q] f32   other features: common/score.cuh
//   With cu_seqlens q and out are [total_q, ...], k and v [total_k, ...], lse is [h_q, total_q].
//
// Block: kBlockM rows of scores, which are queries of one head, or, packed, queries of all heads that share k and v;
// visits the tiles of kBlockN keys that its queries see, from last to first. Warp: kRowTiles * 16 rows, all keys of a
// tile. Lane: rows lane / 4 (+ 8), columns 2 (lane % 4) (+ 1) of each 16x8. Scores, powers' sums and output accumulate in
// f32; powers are rounded to the element type for P V. Elements of f32 are multiplied in parts: attention/products.cuh.
// Memory: q once, k and v once per block, out and lse once.
// Plain instances take scale, windows, sinks and cu_seqlens, and exactly their head dims; the others take all features
// and any smaller head dims. Derivation: src/attention/flash_forward/README.md
#include "attention/forward_loop.cuh"

// Name, element type, head dims of q and v, kBlockM, kBlockN, features, blocks per multiprocessor, dynamic shared bytes.
// All have 4 warps.
#define FLASH_FORWARD_INSTANCE(NAME, T, D, DV, M, N, FEATURES, BLOCKS, SHARED)                                          \
  static_assert(llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, FEATURES>::kSharedBytes == SHARED,      \
                "mirrored in Rust");                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, BLOCKS)                                                           \
      NAME(const __grid_constant__ llm_kernels::FlashForwardParams params) {                                          \
    llm_kernels::flash_forward<llm_kernels::FlashForwardTraits<llm_kernels::T, D, DV, M, N, 4, FEATURES>>(              \
        params, llm_kernels::WindowedKeys{params});                                                                   \
  }

FLASH_FORWARD_INSTANCE(flash_forward_f16_d64, f16, 64, 64, 128, 128, false, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d128, f16, 128, 128, 128, 64, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d192_128, f16, 192, 128, 128, 64, false, 2, 90128)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d256, f16, 256, 256, 64, 32, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d64, bf16, 64, 64, 128, 128, false, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d128, bf16, 128, 128, 128, 64, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d192_128, bf16, 192, 128, 128, 64, false, 2, 90128)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d256, bf16, 256, 256, 64, 32, false, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d64, f16, 64, 64, 64, 64, true, 2, 24592)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d128, f16, 128, 128, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_f16_d256, f16, 256, 256, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d64, bf16, 64, 64, 64, 64, true, 2, 24592)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d128, bf16, 128, 128, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_bf16_d256, bf16, 256, 256, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d64, f32, 64, 64, 64, 64, true, 2, 49168)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d128, f32, 128, 128, 64, 32, true, 2, 65552)
FLASH_FORWARD_INSTANCE(flash_forward_features_f32_d256, f32, 256, 256, 64, 16, true, 1, 98320)
