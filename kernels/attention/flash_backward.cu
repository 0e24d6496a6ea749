// Exact attention, backward: d_q, d_k, d_v of out = softmax(scale * q k^T, masked) v, recomputed from lse.
//
//   q, d_out, d_q: [b, s_q, h_q, d]   k, v, d_k, d_v: [b, s_k, h_kv, d]   lse: [b, h_q, s_q] f32
//
// Three kernels. statistics: lse in base 2 and delta = sum of out * d_out. main: a block owns kBlockN keys of a kv head
// at a time and visits the tiles of kBlockM queries that see them, in each of its query heads; scores lie transposed,
// keys by queries, so that d_k and d_v stay in registers of the warp that owns the keys. finish: adds up partial sums.
// Accumulation: f32; powers and d_scores are rounded to the element type. No atomics: sums have one order.
// Derivation, workspace and counts: src/attention/flash_backward/README.md
#include <cstddef>
#include <cstdint>

#include "attention/row_statistics.cuh"
#include "common/mask.cuh"
#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/shared_tile.cuh"
#include "common/slab.cuh"
#include "common/staged_store.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/flash_backward/.
struct FlashBackwardParams {
  SequenceTensor q, k, v, d_out, d_k, d_v;
  const float2* statistics;  // [b, h_q, num_query_tiles * kBlockM]: -lse * log2(e) and -delta.
  float* d_q_slabs;          // [num_splits, b, h_q, num_query_tiles] slab tiles of kBlockM rows.
  float* d_k_slabs;          // [num_parts, b, h_kv, num_key_tiles] of kBlockN rows; unused if num_parts is 1.
  float* d_v_slabs;          // Likewise.
  int64_t q_pass_bytes, q_tile_bytes, d_out_pass_bytes, d_out_tile_bytes;
  int32_t s_q, s_k;          // At most 2^29.
  int32_t h_q, h_kv;         // h_q is a multiple of h_kv.
  int32_t num_query_tiles, num_key_tiles;
  int32_t num_splits;        // Blocks that share the key tiles of a head: block i visits tiles i, i + num_splits ...
  int32_t num_parts;         // Blocks that share the query heads of a kv head.
  int32_t heads_per_part;    // num_parts * heads_per_part = h_q / h_kv.
  int32_t b;
  int32_t window_left;       // -1: no limit; else at most 2^29.
  int32_t window_right;      // Likewise; 0 when causal.
  float scale_log2;          // Softmax scale times log2(e), finite.
  float scale;
};

static_assert(sizeof(FlashBackwardParams) == 312 && offsetof(FlashBackwardParams, statistics) == 192 &&
                  offsetof(FlashBackwardParams, s_q) == 256 && offsetof(FlashBackwardParams, scale) == 308,
              "mirrored in Rust");

template <typename T_, int kHeadDim_, int kBlockM_, int kBlockN_, int kKeyWarps_, int kColumnWarps_, int kStages_>
struct FlashBackwardTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kStages = kStages_;
  // Warps share the keys, and where d_k and d_v of 16 keys are too much for one warp, their columns.
  static constexpr int kColumnWarps = kColumnWarps_;
  static constexpr int kWarps = kKeyWarps_ * kColumnWarps_;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kWarpKeys = kBlockN / kKeyWarps_;
  static constexpr int kRowTiles = kWarpKeys / 16;
  static constexpr int kColumns = kHeadDim / kColumnWarps;       // Of d_k and d_v in a warp.
  static constexpr int kScoreQueries = kBlockM / kColumnWarps;   // Queries whose scores a warp computes.
  static constexpr int kQueryColumns = kHeadDim / kWarps;        // Columns of d_q in a warp.
  static_assert(kRowTiles * kKeyWarps_ * 16 == kBlockN, "whole row tiles in every warp");
  static_assert(kBlockM == row_statistics::kRows, "and the columns of a NarrowTile");

  using QTile = SharedTile<kBlockM, kHeadDim>;  // And d_out's.
  using KTile = SharedTile<kBlockN, kHeadDim>;  // And v's.
  using ScoreTile = NarrowTile<kBlockN>;        // Powers or d_scores, [keys][queries].
  static constexpr int kStatisticsBytes = kBlockM * 8;
  static constexpr int kStageBytes = 2 * QTile::kBytes + kStatisticsBytes;
  static __device__ __forceinline__ uint32_t stage_offset(int tile) { return tile % kStages * kStageBytes; }
  static constexpr int kScoreTiles = kColumnWarps == 1 ? 1 : 2;
  static constexpr int kSharedBytes = 2 * KTile::kBytes + kScoreTiles * ScoreTile::kBytes + kStages * kStageBytes +
                                      kThreads * 16;
};

// What a block works on.
struct BackwardCoordinates {
  int batch, kv_head, part, split;

  __device__ __forceinline__ explicit BackwardCoordinates(const FlashBackwardParams& params) {
    batch = ptx::block_index() / params.h_kv;
    kv_head = ptx::block_index() % params.h_kv;
    part = ptx::block_index<1>();
    split = ptx::block_index<2>();
  }
};

// Copies a head's tiles of q, d_out and the statistics, from its last to its first. Only three pointers live as long as
// it: the rest comes from parameters and thread, anew each time.
template <typename Traits>
struct QueryLoader {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  static constexpr int kRowsPerPass = Traits::kThreads / 8;
  static_assert(Traits::kBlockM % kRowsPerPass == 0, "whole passes");

  // This thread's first 16 bytes of the next tile.
  const char* q;
  const char* d_out;
  const char* statistics;

  __device__ __forceinline__ QueryLoader(const FlashBackwardParams& params, int batch, int head, int tile) {
    const unsigned thread = ptx::thread_index();
    const int query = tile * Traits::kBlockM;
    q = reinterpret_cast<const char*>(params.q.row<T>(batch, query + thread / 8, head) + thread % 8 * 8);
    d_out = reinterpret_cast<const char*>(params.d_out.row<T>(batch, query + thread / 8, head) + thread % 8 * 8);
    statistics = reinterpret_cast<const char*>(
        params.statistics + row_offset(batch, head, query, params.h_q, params.num_query_tiles * Traits::kBlockM) +
        thread * 2);
  }

  // Issues the copies of the next tile, `tile`, into the stage at `shared`.
  __device__ __forceinline__ void load(const FlashBackwardParams& params, uint32_t shared, int tile) {
    const unsigned thread = ptx::thread_index();
    const int valid_rows = params.s_q - tile * Traits::kBlockM;
    q = load_rows(q, params.q_pass_bytes, params.q_tile_bytes, shared, valid_rows, thread);
    d_out = load_rows(d_out, params.d_out_pass_bytes, params.d_out_tile_bytes, shared + QTile::kBytes, valid_rows,
                      thread);
    ptx::cp_async_16_if(thread < Traits::kStatisticsBytes / 16, shared + 2 * QTile::kBytes + thread * 16, statistics);
    statistics -= Traits::kStatisticsBytes;
  }

  static __device__ __forceinline__ const char* load_rows(const char* source, int64_t pass_bytes, int64_t tile_bytes,
                                                          uint32_t shared, int valid_rows, unsigned thread) {
    const uint32_t destination = QTile{shared}.chunk_address(thread / 8, thread % 8);
    const char* from = source;
#pragma unroll
    for (int pass = 0; pass < Traits::kBlockM / kRowsPerPass; ++pass, from = ptx::opaque(from + pass_bytes)) {
      const uint32_t source_bytes = pass * kRowsPerPass + static_cast<int>(thread / 8) < valid_rows ? 16 : 0;
#pragma unroll
      for (int panel = 0; panel < QTile::kPanels; ++panel) {
        ptx::cp_async_16_zero_fill(destination + pass * kRowsPerPass * 128 + panel * QTile::kPanelBytes,
                                   from + panel * 128, source_bytes);
      }
    }
    return source - tile_bytes;
  }
};

// Copies the tile of k or v that starts at key `key_first`.
template <typename Traits>
__device__ __forceinline__ void load_keys(typename Traits::KTile tile, const SequenceTensor& tensor, int batch,
                                          int head, int key_first, int s_k, unsigned thread) {
  TileLoader<Traits::kBlockN, Traits::kHeadDim, Traits::kThreads> loader(
      tile, tensor.row<typename Traits::T>(batch, key_first, head), tensor.sequence_stride, thread);
  loader.load_cut(s_k - key_first);
}

// Writes this warp's rows and columns of d_k or d_v, staged in `tile`; or its block's part of them to a slab.
template <typename Traits>
__device__ __forceinline__ void store_keys(const FlashBackwardParams& params, const SequenceTensor& tensor,
                                           float* slabs, float scale, typename Traits::KTile tile, int key_tile,
                                           const float (&gradient)[Traits::kRowTiles][Traits::kColumns / 8][4]) {
  using T = typename Traits::T;
  const BackwardCoordinates block(params);
  const unsigned thread = ptx::thread_index();
  const int warp_row = thread / 32 / Traits::kColumnWarps * Traits::kWarpKeys;
  const int column = thread / 32 % Traits::kColumnWarps * Traits::kColumns;
  if (params.num_parts == 1) {
    const int key = key_tile * Traits::kBlockN + warp_row;
    T* rows = tensor.row<T>(block.batch, key, block.kv_head) + column;
    store_staged(rows, tensor.sequence_stride, params.s_k - key, scale, gradient,
                 typename Traits::KTile{tile.base + column / 64 * Traits::KTile::kPanelBytes}, warp_row);
  } else {
    const int64_t head = (static_cast<int64_t>(block.part) * params.b + block.batch) * params.h_kv + block.kv_head;
    store_slab<Traits::kHeadDim>(
        slabs + slab_tile(head * params.num_key_tiles + key_tile, Traits::kBlockN, Traits::kHeadDim) +
            slab_offset(warp_row / 16, column / 8, Traits::kHeadDim, thread % 32),
        gradient);
  }
}

template <typename Traits>
__device__ __forceinline__ void flash_backward(const FlashBackwardParams& params) {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  using KTile = typename Traits::KTile;
  using ScoreTile = typename Traits::ScoreTile;
  constexpr int kRowTiles = Traits::kRowTiles;
  constexpr int kScoreTiles = Traits::kScoreQueries / 8;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const KTile k_tile{ptx::shared_address(shared_memory)};
  const KTile v_tile{k_tile.base + KTile::kBytes};
  const uint32_t stages = v_tile.base + KTile::kBytes;
  const ScoreTile d_score_tile{stages + Traits::kStages * Traits::kStageBytes};
  const ScoreTile power_tile{d_score_tile.base + ScoreTile::kBytes};  // Only where warps share columns.
  const uint32_t addresses = d_score_tile.base + Traits::kScoreTiles * ScoreTile::kBytes;

#pragma unroll 1
  for (int key_tile = ptx::block_index<2>(); key_tile < params.num_key_tiles; key_tile += params.num_splits) {
    // All that follows from thread and block is computed anew for every key tile: kept from before, it would cost
    // registers all through the loop over the queries.
    const unsigned thread = ptx::thread_index();
    const unsigned lane = thread % 32;
    const unsigned warp = thread / 32;
    const BackwardCoordinates block(params);
    const KeyMask mask(params.s_q, params.s_k, params.window_left, params.window_right);
    const int key_first = key_tile * Traits::kBlockN;
    const QueryTiles<Traits::kBlockM> tiles(mask, key_first, Traits::kBlockN);
    // Query tiles up to this one have a partial sum of d_q in this block's slab, of the key tiles before: the last that
    // a key tile visits grows with the key.
    const int visited_last =
        key_tile < params.num_splits
            ? -1
            : QueryTiles<Traits::kBlockM>(mask, key_first - params.num_splits * Traits::kBlockN, Traits::kBlockN).last;
    float d_k[kRowTiles][Traits::kColumns / 8][4] = {};
    float d_v[kRowTiles][Traits::kColumns / 8][4] = {};

    const int warp_row = warp / Traits::kColumnWarps * Traits::kWarpKeys;
    const int column_warp = warp % Traits::kColumnWarps;
    const uint32_t k_address = k_tile.ldmatrix_address(lane) + warp_row * 128;
    const uint32_t q_address = QTile{stages}.ldmatrix_address_n_by_k(lane) + column_warp * Traits::kScoreQueries * 128;
    const uint32_t q_by_column = QTile::block_address(QTile{stages}.ldmatrix_address(lane), 0,
                                                      column_warp * (Traits::kColumns / 16));
    // What is used only now and then waits in shared memory, as registers are short in the loop: where this lane stores
    // d_scores and loads them, and where it loads k's columns of this warp.
    const uint32_t d_score_store = d_score_tile.chunk_address(warp_row + lane / 4, column_warp * kScoreTiles) +
                                   lane % 4 * 4;
    const uint32_t k_by_column = KTile::block_address(k_tile.ldmatrix_address(lane), 0,
                                                      warp * (Traits::kQueryColumns / 16));
    ptx::st_shared_16(addresses + thread * 16,
                      {d_score_store, d_score_tile.ldmatrix_address_n_by_k(lane), k_by_column, 0});

    // All have read what the key tile before has staged in K and V.
    __syncthreads();
    const int num_heads = tiles.first <= tiles.last ? params.heads_per_part : 0;
    if (num_heads > 0) {
      load_keys<Traits>(k_tile, params.k, block.batch, block.kv_head, key_first, params.s_k, thread);
      load_keys<Traits>(v_tile, params.v, block.batch, block.kv_head, key_first, params.s_k, thread);
    }
#pragma unroll 1
    for (int head_of_part = 0; head_of_part < num_heads; ++head_of_part) {
      const BackwardCoordinates block(params);
      const unsigned thread = ptx::thread_index();
      const int head = (block.kv_head * params.num_parts + block.part) * params.heads_per_part + head_of_part;
      QueryLoader<Traits> loader(params, block.batch, head, tiles.last);
      // The stage may be the one of the last tile before.
      __syncthreads();
      loader.load(params, stages + Traits::stage_offset(tiles.last), tiles.last);
      commit_copies();
      float* d_q = params.d_q_slabs +
                   slab_tile(((static_cast<int64_t>(block.split) * params.b + block.batch) * params.h_q + head) *
                                params.num_query_tiles + tiles.last, Traits::kBlockM, Traits::kHeadDim) +
                   slab_offset(0, thread / 32 * (Traits::kQueryColumns / 8), Traits::kHeadDim, thread % 32);
#pragma unroll 1
      for (int tile = tiles.last; tile >= tiles.first; --tile) {
        wait_for_copies();
        __syncthreads();
        // The tile is here. What the stage before held has been read by all.
        const auto load_next = [&] {
          if (tile > tiles.first) {
            loader.load(params, stages + Traits::stage_offset(tile - 1), tile - 1);
          }
          commit_copies();
        };
        const uint32_t stage = Traits::stage_offset(tile);
        if (Traits::kStages > 1) load_next();

        // Powers, then d_scores: transposed, rows are keys.
        float powers[kRowTiles][kScoreTiles][4], d_scores[kRowTiles][kScoreTiles][4];
        float initial[kScoreTiles][4] = {};
        multiply_by_transpose<T, KTile, QTile, Traits::kHeadDim / 16>(powers, k_address, q_address + stage, initial);
        const uint32_t statistics = stages + 2 * QTile::kBytes + stage + column_warp * Traits::kScoreQueries * 8 +
                                    lane % 4 * 16;
#pragma unroll
        for (int j = 0; j < kScoreTiles; ++j) {
          const uint4 pair = ptx::ld_shared_16(statistics + j * 64);
          const float lse[2] = {__uint_as_float(pair.x), __uint_as_float(pair.z)};
          const float delta[2] = {__uint_as_float(pair.y), __uint_as_float(pair.w)};
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            initial[j][e] = delta[e % 2];
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i) {
              powers[i][j][e] = ptx::ex2_approx_ftz(__fmaf_rn(powers[i][j][e], params.scale_log2, lse[e % 2]));
            }
          }
        }
        if (!tiles.is_full(tile)) {
          const unsigned thread = ptx::thread_index();
          apply_mask_to_powers(powers, mask, key_first + warp_row,
                               tile * Traits::kBlockM + column_warp * Traits::kScoreQueries, thread % 32);
        }
        multiply_by_transpose<T, KTile, QTile, Traits::kHeadDim / 16, KTile::kBytes, QTile::kBytes>(
            d_scores, k_address, q_address + stage, initial);
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
          for (int j = 0; j < kScoreTiles; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) d_scores[i][j][e] *= powers[i][j][e];
          }
        }

        // Rounded, they are operands of the products with d_out and q as they are, where a warp has all queries of its
        // keys. The product with k needs every key: it goes through shared memory.
        FragmentA p[kRowTiles][kScoreTiles / 2], d_s[kRowTiles][kScoreTiles / 2];
        convert<T>(p, powers);
        convert<T>(d_s, d_scores);
        const uint4 own = ptx::ld_shared_16(addresses + ptx::thread_index() * 16);
        store_fragments<ScoreTile>(own.x, d_s);
        float partial[Traits::kBlockM / 16][Traits::kQueryColumns / 8][4];
        const auto multiply_keys = [&] {
#pragma unroll
          for (int depth = 0; depth < Traits::kBlockN / 16; ++depth) {
            FragmentA a[Traits::kBlockM / 16][1];
#pragma unroll
            for (int i = 0; i < Traits::kBlockM / 16; ++i) {
              a[i][0].load_k_by_m(ScoreTile::block_address(own.y, depth, i));
            }
            multiply<T, KTile>(partial, a, KTile::block_address(own.z, depth, 0));
          }
          store_slab<Traits::kHeadDim>(d_q, partial);
        };
        if constexpr (Traits::kColumnWarps == 1) {
          load_slab<Traits::kHeadDim>(partial, d_q, tile <= visited_last);
          multiply<T, QTile, QTile::kBytes>(d_v, p, q_by_column + stage);
          __syncthreads();
          multiply_keys();
          multiply<T, QTile>(d_k, d_s, q_by_column + stage);
        } else {
          store_fragments<ScoreTile>(own.x + ScoreTile::kBytes, p);
          __syncthreads();
          FragmentA all[kRowTiles][Traits::kBlockM / 16];
          load_fragments(all, power_tile, warp_row, lane);
          multiply<T, QTile, QTile::kBytes>(d_v, all, q_by_column + stage);
          load_fragments(all, d_score_tile, warp_row, lane);
          multiply<T, QTile>(d_k, all, q_by_column + stage);
          if (Traits::kStages == 1) __syncthreads();
          if (Traits::kStages == 1) load_next();
          load_slab<Traits::kHeadDim>(partial, d_q, tile <= visited_last);
          multiply_keys();
        }

        d_q -= slab_tile(1, Traits::kBlockM, Traits::kHeadDim);
      }
    }
    wait_for_copies();
    __syncthreads();

    store_keys<Traits>(params, params.d_k, params.d_k_slabs, params.scale, k_tile, key_tile, d_k);
    store_keys<Traits>(params, params.d_v, params.d_v_slabs, 1.0f, v_tile, key_tile, d_v);
  }
}

}  // namespace llm_kernels

// Name, element type, head dim, kBlockM, kBlockN, warps over keys and over columns, stages, blocks per multiprocessor,
// dynamic shared bytes.
#define FLASH_BACKWARD_INSTANCE(NAME, T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES, BLOCKS, SHARED)                    \
  using NAME##_traits = llm_kernels::FlashBackwardTraits<llm_kernels::T, D, M, N, KEY_WARPS, COLUMN_WARPS, STAGES>;   \
  static_assert(NAME##_traits::kSharedBytes == SHARED, "mirrored in Rust");                                           \
  extern "C" __global__ void __launch_bounds__(KEY_WARPS * COLUMN_WARPS * 32, BLOCKS)                                 \
      NAME(const __grid_constant__ llm_kernels::FlashBackwardParams params) {                                         \
    llm_kernels::flash_backward<NAME##_traits>(params);                                                               \
  }

FLASH_BACKWARD_INSTANCE(flash_backward_f16_d64, f16, 64, 32, 128, 4, 1, 2, 2, 59904)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d128, f16, 128, 32, 64, 4, 1, 2, 2, 72192)
FLASH_BACKWARD_INSTANCE(flash_backward_f16_d256, f16, 256, 32, 32, 2, 2, 1, 2, 71936)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d64, bf16, 64, 32, 128, 4, 1, 2, 2, 59904)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d128, bf16, 128, 32, 64, 4, 1, 2, 2, 72192)
FLASH_BACKWARD_INSTANCE(flash_backward_bf16_d256, bf16, 256, 32, 32, 2, 2, 1, 2, 71936)

// Name, element type, threads.
#define FLASH_BACKWARD_END(KERNEL, NAME, T, PARAMS, THREADS)                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ llm_kernels::PARAMS params) {    \
    llm_kernels::KERNEL<llm_kernels::T>(params);                                                                      \
  }

FLASH_BACKWARD_END(row_statistics::statistics, flash_backward_statistics_f16, f16, row_statistics::Params, 128)
FLASH_BACKWARD_END(row_statistics::statistics, flash_backward_statistics_bf16, bf16, row_statistics::Params, 128)
FLASH_BACKWARD_END(sum_slabs, flash_backward_finish_f16, f16, SlabSumParams, 128)
FLASH_BACKWARD_END(sum_slabs, flash_backward_finish_bf16, bf16, SlabSumParams, 128)
