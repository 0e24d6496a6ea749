// Exact attention, forward: out = softmax(scale * q k^T, masked) v, without the score matrix ever in memory.
//
//   q: [b, s_q, h_q, d]   k, v: [b, s_k, h_kv, d]   out: [b, s_q, h_q, d]   lse: [b, h_q, s_q] f32, natural logarithm
//
// Block: kBlockM queries of one head; visits the tiles of kBlockN keys that its queries see, from last to first.
// Warp:  kRowTiles * 16 queries, all keys of a tile. Lane: rows lane / 4 (+ 8), columns 2 (lane % 4) (+ 1) of each
// 16x8. Scores, powers' sums and output accumulate in f32; powers are rounded to the element type for P V. Memory: q
// once, k and v once per block, out and lse once. Derivation: src/attention/flash_forward/README.md
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "common/mask.cuh"
#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/shared_tile.cuh"
#include "common/softmax.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_forward/.
struct FlashForwardParams {
  SequenceTensor q, k, v, out;
  float* lse;               // Contiguous; null when it is not wanted.
  int32_t s_q, s_k;         // At most 2^29; s_q >= 1.
  int32_t h_q, h_kv;        // h_q is a multiple of h_kv.
  int32_t num_query_tiles;  // ceil(s_q / kBlockM).
  int32_t window_left;      // -1: no limit; else at most 2^29.
  int32_t window_right;     // Likewise; 0 when causal.
  float scale_log2;         // Softmax scale times log2(e), finite, of either sign.
};

static_assert(sizeof(FlashForwardParams) == 168 && offsetof(FlashForwardParams, lse) == 128 &&
                  offsetof(FlashForwardParams, s_q) == 136 && offsetof(FlashForwardParams, scale_log2) == 164,
              "mirrored in Rust");

template <typename T_, int kHeadDim_, int kHeadDimV_, int kBlockM_, int kBlockN_, int kWarps_>
struct FlashForwardTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kHeadDimV = kHeadDimV_;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kThreads = kWarps_ * 32;
  static constexpr int kRowTiles = kBlockM / (kWarps_ * 16);
  static_assert(kRowTiles * kWarps_ * 16 == kBlockM, "whole row tiles in every warp");
  static_assert(kHeadDimV <= kHeadDim, "the output is staged where q was");

  // First row in the tile of the warp of `thread`.
  static __device__ __forceinline__ int warp_row(unsigned thread) { return thread / 32 * (kRowTiles * 16); }

  using QTile = SharedTile<kBlockM, kHeadDim>;
  using KTile = SharedTile<kBlockN, kHeadDim>;
  using VTile = SharedTile<kBlockN, kHeadDimV>;
  using OutTile = SharedTile<kBlockM, kHeadDimV>;
  static constexpr int kSharedBytes = QTile::kBytes + KTile::kBytes + VTile::kBytes;
};

// What a block works on. Blocks next to each other share k and v: the query heads of one kv head first, then the query
// tiles, from last to first since under a causal mask the last is the longest, then kv heads, then batches.
struct BlockCoordinates {
  int batch, head, kv_head, query_tile;

  __device__ __forceinline__ explicit BlockCoordinates(const FlashForwardParams& params) {
    const unsigned group_size = params.h_q / params.h_kv;
    unsigned rest = ptx::block_index();
    const unsigned head_in_group = rest % group_size;
    rest /= group_size;
    query_tile = params.num_query_tiles - 1 - rest % params.num_query_tiles;
    rest /= params.num_query_tiles;
    kv_head = rest % params.h_kv;
    batch = rest / params.h_kv;
    head = kv_head * group_size + head_in_group;
  }
};

// scores = q k^T for this warp's rows and one tile of keys.
template <typename Traits, int kScoreTiles>
__device__ __forceinline__ void multiply_query_key(float (&scores)[Traits::kRowTiles][kScoreTiles][4],
                                                   uint32_t q_address, uint32_t k_address) {
#pragma unroll
  for (int i = 0; i < Traits::kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[i][j][e] = 0.0f;
    }
  }
#pragma unroll
  for (int depth = 0; depth < Traits::kHeadDim / 16; ++depth) {
    FragmentA q[Traits::kRowTiles];
#pragma unroll
    for (int i = 0; i < Traits::kRowTiles; ++i) q[i].load(Traits::QTile::block_address(q_address, i, depth));
#pragma unroll
    for (int j = 0; j < kScoreTiles / 2; ++j) {
      FragmentB k;
      k.load_n_by_k(Traits::KTile::block_address(k_address, j, depth));
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) {
        mma<typename Traits::T>(scores[i][2 * j], scores[i][2 * j + 1], q[i], k);
      }
    }
  }
}

// output += powers v for this warp's rows and one tile of keys.
template <typename Traits, int kScoreTiles, int kOutputTiles>
__device__ __forceinline__ void multiply_power_value(float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                                     const float (&powers)[Traits::kRowTiles][kScoreTiles][4],
                                                     uint32_t v_address) {
#pragma unroll
  for (int depth = 0; depth < kScoreTiles / 2; ++depth) {
    FragmentA p[Traits::kRowTiles];
#pragma unroll
    for (int i = 0; i < Traits::kRowTiles; ++i) {
      p[i].template convert<typename Traits::T>(powers[i][2 * depth], powers[i][2 * depth + 1]);
    }
#pragma unroll
    for (int j = 0; j < kOutputTiles / 2; ++j) {
      FragmentB v;
      v.load_k_by_n(Traits::VTile::block_address(v_address, depth, j));
#pragma unroll
      for (int i = 0; i < Traits::kRowTiles; ++i) {
        mma<typename Traits::T>(output[i][2 * j], output[i][2 * j + 1], p[i], v);
      }
    }
  }
}

// Flips the signs of the q elements that this thread has copied: a negative scale becomes a positive one.
template <typename Traits>
__device__ __forceinline__ void negate_own_copies(typename Traits::QTile tile, uint32_t first_chunk) {
#pragma unroll 1
  for (int offset = 0; offset < Traits::QTile::kBytes; offset += Traits::kThreads * 16) {
    uint4 x = ptx::ld_shared_16(first_chunk + offset);
    x.x ^= 0x80008000u, x.y ^= 0x80008000u, x.z ^= 0x80008000u, x.w ^= 0x80008000u;
    ptx::st_shared_16(first_chunk + offset, x);
  }
}

// Writes this warp's rows of the output and of lse. They are staged in `tile`, in rows no other warp touches, so that
// whole 128-byte segments go out in 16-byte stores.
template <typename Traits, int kOutputTiles>
__device__ __forceinline__ void store_output(const FlashForwardParams& params,
                                             const float (&output)[Traits::kRowTiles][kOutputTiles][4],
                                             OnlineSoftmax<Traits::kRowTiles>& softmax, typename Traits::OutTile tile) {
  using T = typename Traits::T;
  const BlockCoordinates block(params);
  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const int warp_row = Traits::warp_row(thread);
  const int query_first = block.query_tile * Traits::kBlockM;
  softmax.finish();
#pragma unroll
  for (int i = 0; i < Traits::kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + i * 16 + h * 8 + lane / 4;
      // A row that saw no key is 0, also where a non-finite v has met its zero powers.
      const bool empty = softmax.sum[i][h] == 0.0f;
      const float inverse = softmax.inverse_sum(i, h);
#pragma unroll
      for (int j = 0; j < kOutputTiles; ++j) {
        const float left = empty ? 0.0f : output[i][j][2 * h] * inverse;
        const float right = empty ? 0.0f : output[i][j][2 * h + 1] * inverse;
        const uint32_t address =
            tile.chunk_address(row, j % 8) + (j / 8) * Traits::OutTile::kPanelBytes + (lane % 4) * 4;
        ptx::st_shared_4(address, T::pack(left, right));
      }
      if (params.lse != nullptr && lane % 4 == 0 && query_first + row < params.s_q) {
        const int64_t offset = row_offset(block.batch, block.head, query_first + row, params.h_q, params.s_q);
        params.lse[offset] = softmax.log_sum_exp(i, h);
      }
    }
  }
  __syncwarp();
  // 8 lanes write the 128 bytes of one row of a panel, 4 rows at a time.
#pragma unroll
  for (int step = 0; step < Traits::kRowTiles * 4; ++step) {
    const int row = warp_row + step * 4 + lane / 8;
    if (query_first + row < params.s_q) {
      T* out = params.out.row<T>(block.batch, query_first + row, block.head) + lane % 8 * 8;
#pragma unroll
      for (int panel = 0; panel < Traits::OutTile::kPanels; ++panel) {
        const uint4 chunk = ptx::ld_shared_16(tile.chunk_address(row, lane % 8) + panel * Traits::OutTile::kPanelBytes);
        ptx::st_global_16(out + panel * 64, chunk);
      }
    }
  }
}

template <typename Traits>
__device__ __forceinline__ void flash_forward(const FlashForwardParams& params) {
  using T = typename Traits::T;
  constexpr int kRowTiles = Traits::kRowTiles;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const typename Traits::QTile q_tile{ptx::shared_address(shared_memory)};
  const typename Traits::KTile k_tile{q_tile.base + Traits::QTile::kBytes};
  const typename Traits::VTile v_tile{k_tile.base + Traits::KTile::kBytes};

  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32;
  const BlockCoordinates block(params);
  const int query_first = block.query_tile * Traits::kBlockM;
  const int query_last = min(query_first + Traits::kBlockM, params.s_q) - 1;
  const KeyMask mask(params.s_q, params.s_k, params.window_left, params.window_right);
  const KeyTiles<Traits::kBlockN> tiles(mask, query_first, query_last);

  float output[kRowTiles][Traits::kHeadDimV / 8][4] = {};
  OnlineSoftmax<kRowTiles> softmax;

  if (tiles.first <= tiles.last) {
    TileLoader<Traits::kBlockM, Traits::kHeadDim, Traits::kThreads> q_loader(
        q_tile, params.q.row<T>(block.batch, query_first, block.head), params.q.sequence_stride, thread);
    const int key_first = tiles.last * Traits::kBlockN;
    TileLoader<Traits::kBlockN, Traits::kHeadDim, Traits::kThreads> k_loader(
        k_tile, params.k.row<T>(block.batch, key_first, block.kv_head), params.k.sequence_stride, thread);
    TileLoader<Traits::kBlockN, Traits::kHeadDimV, Traits::kThreads> v_loader(
        v_tile, params.v.row<T>(block.batch, key_first, block.kv_head), params.v.sequence_stride, thread);

    // Only these first tiles can reach past the last query or key.
    q_loader.load_cut(params.s_q - query_first);
    commit_copies();
    k_loader.load_cut(params.s_k - key_first);
    commit_copies();
    v_loader.load_cut(params.s_k - key_first);
    commit_copies();
    if (params.scale_log2 < 0.0f) {
      wait_for_copies<2>();
      negate_own_copies<Traits>(q_tile, q_loader.destination);
    }
    // Not 0, so that a masked score of -inf stays -inf when scaled.
    const float scale_log2 = fmaxf(fabsf(params.scale_log2), FLT_MIN);
    const uint32_t q_address = q_tile.ldmatrix_address(lane) + Traits::warp_row(thread) * 128;
    const uint32_t k_address = k_tile.ldmatrix_address_n_by_k(lane);
    const uint32_t v_address = v_tile.ldmatrix_address(lane);

    wait_for_copies<1>();
    __syncthreads();
    int remaining = tiles.last - tiles.first;
#pragma unroll 1
    while (true) {
      // K of this tile is here; V of it is on the way.
      float scores[kRowTiles][Traits::kBlockN / 8][4];
      multiply_query_key<Traits>(scores, q_address, k_address);

      // V is here, and K has been read by all: the next K comes in under softmax and P V.
      wait_for_copies();
      __syncthreads();
      if (remaining > 0) k_loader.load();
      commit_copies();

      const int tile = tiles.first + remaining;
      if (!tiles.is_full(tile)) {
        const unsigned thread = ptx::thread_index();
        apply_mask(scores, mask, query_first + Traits::warp_row(thread), tile * Traits::kBlockN, thread % 32);
      }
      softmax.update(scores, output, scale_log2);
      multiply_power_value<Traits>(output, scores, v_address);
      if (remaining == 0) break;

      // The next K is here, and V has been read by all: the next V comes in under Q K^T.
      --remaining;
      wait_for_copies();
      __syncthreads();
      v_loader.load();
      commit_copies();
    }
  }
  store_output<Traits>(params, output, softmax, typename Traits::OutTile{q_tile.base});
}

}  // namespace llm_kernels

// Name, element type, head dim, kBlockM, kBlockN, warps, blocks per multiprocessor, dynamic shared bytes.
#define FLASH_FORWARD_INSTANCE(NAME, T, D, M, N, WARPS, BLOCKS, SHARED)                                     \
  static_assert(llm_kernels::FlashForwardTraits<llm_kernels::T, D, D, M, N, WARPS>::kSharedBytes == SHARED, \
                "mirrored in Rust");                                                                        \
  extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)                                          \
      NAME(const __grid_constant__ llm_kernels::FlashForwardParams params) {                                \
    llm_kernels::flash_forward<llm_kernels::FlashForwardTraits<llm_kernels::T, D, D, M, N, WARPS>>(params); \
  }

FLASH_FORWARD_INSTANCE(flash_forward_f16_d64, f16, 64, 128, 128, 4, 2, 49152)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d64, bf16, 64, 128, 128, 4, 2, 49152)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d128, f16, 128, 128, 64, 4, 2, 65536)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d128, bf16, 128, 128, 64, 4, 2, 65536)
FLASH_FORWARD_INSTANCE(flash_forward_f16_d256, f16, 256, 64, 32, 4, 2, 65536)
FLASH_FORWARD_INSTANCE(flash_forward_bf16_d256, bf16, 256, 64, 32, 4, 2, 65536)
