// Attention of the newest queries of each sequence over its cache of keys and values: out = softmax(score(q k^T)) v.
//
//   q: [b, s_q, h_q, d]   k, v: [pages, slots, h_kv, d], 16-bit, or 8-bit with k_scales, v_scales: [pages, slots, h_kv]
//   lengths: [b] i32, keys of each sequence, less new_keys   sinks: [h_q] f32   table: common/key_rows.cuh
//   out: [b, s_q, h_q, d]   lse: [b, h_q, s_q] f32, natural logarithm; with splits one of both, f32, for each split
//
// Block: 16 * row_tiles rows of scores, which are queries of all heads that share keys, and a part of the visible keys;
// visits its tiles of kBlockN keys in order. Warp: 16 rows, and of every tile the slices of 16 keys that are its own.
// Lane: rows lane / 4 (+ 8), columns 2 (lane % 4) (+ 1) of each 16x8. Accumulation: f32; powers are rounded to q's type
// for P V. Memory: q once, every visible row of k and v once for up to 64 rows. The warps' sums are added at the end.
// Derivation: src/attention/decode/README.md
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "attention/decode_finish.cuh"
#include "common/eight_bit.cuh"
#include "common/key_rows.cuh"
#include "common/key_scales.cuh"
#include "common/mask.cuh"
#include "common/mma.cuh"
#include "common/pipeline.cuh"
#include "common/score.cuh"
#include "common/shared_tile.cuh"
#include "common/softmax.cuh"
#include "common/tensor.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/decode/.
struct DecodeParams {
  SequenceTensor q, k, v;
  SequenceTensor k_scales, v_scales;  // Of 8-bit caches: f32, rows of one element.
  SequenceTensor out;                 // Of split 0: f32 if there are several, else of q's type.
  RowTensor lse;                      // Likewise.
  ScoreParams score;                  // Scale, softcap and ALiBi alone.
  PageTable table;
  const int32_t* lengths;
  const float* sinks;                 // [h_q]; null: none.
  int64_t out_split_stride;           // In elements, from a split's part to the next.
  int64_t lse_split_stride;
  int32_t max_length;                 // No sequence counts as longer.
  int32_t s_q, h_q, h_kv, d;
  int32_t row_tiles;                  // 1, 2 or 4.
  int32_t num_row_blocks;             // ceil(s_q * (h_q / h_kv) / (16 * row_tiles)).
  int32_t num_splits;
  int32_t least_tiles;                // Tiles that a split has at least, as long as there are so many.
  int32_t window_left, window_right;  // -1: no limit; 0 to the right when causal.
  int32_t is_e4m3;                    // Of 8-bit caches: else int8.
  int32_t new_keys;                   // What the lengths do not count.
  int32_t padding;
};

static_assert(sizeof(DecodeParams) == 440 && offsetof(DecodeParams, lse) == 192 &&
                  offsetof(DecodeParams, table) == 328 && offsetof(DecodeParams, max_length) == 384,
              "mirrored in Rust");

template <typename T_, int kHeadDim_, bool kEightBit_>
struct DecodeTraits {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kEightBit = kEightBit_;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kRowBytes = kHeadDim * (kEightBit ? 1 : 2);
  // Tiles of 16 KiB, two each of keys and of values.
  static constexpr int kBlockN = kRowBytes <= 128 ? 128 : 16384 / kRowBytes;

  using QTile = SharedTile<16, kHeadDim>;
  using Tile = std::conditional_t<kRowBytes == 64, NarrowTile<kBlockN>, SharedTile<kBlockN, kRowBytes / 2>>;
  using Offsets = RowOffsets<kBlockN>;
  static constexpr int kSliceBytes = 16 * (kRowBytes < 128 ? kRowBytes : 128);  // In each panel of a tile.
  static constexpr int kScaleBytes = kEightBit ? kBlockN * 4 : 0;
  static constexpr int kTilesBytes = 4 * Tile::kBytes;
  // Keys and values, their rows' offsets, their scales, of two tiles each; then one QTile for each row tile.
  static constexpr int kSharedBytes = kTilesBytes + 2 * Offsets::kBytes + 4 * kScaleBytes;
  static_assert(kTilesBytes >= kWarps * 16 * kHeadDim * 4, "the warps' outputs are staged where the tiles were");
  static_assert(2 * Offsets::kBytes >= kWarps * 16 * 16, "and their states where the offsets were");
};

// What a block works on: row r of its rows is query (first + r) / pack of head head + (first + r) % pack. Neighbours share
// keys.
struct DecodeBlock {
  int batch, kv_head, split, first, last, pack;

  __device__ __forceinline__ explicit DecodeBlock(const DecodeParams& params) {
    pack = params.h_q / params.h_kv;
    unsigned rest = ptx::block_index();
    first = rest % params.num_row_blocks * (params.row_tiles * 16);
    last = min(first + params.row_tiles * 16, params.s_q * pack) - 1;
    rest /= params.num_row_blocks;
    split = rest % params.num_splits;
    rest /= params.num_splits;
    kv_head = rest % params.h_kv;
    batch = rest / params.h_kv;
  }

  // Rows past the last count as the last.
  __device__ __forceinline__ int query_of(int row) const { return min(first + row, last) / static_cast<unsigned>(pack); }
  __device__ __forceinline__ int head_of(int row) const {
    return kv_head * pack + min(first + row, last) % static_cast<unsigned>(pack);
  }
};

// scores = q k^T for a slice of 16 keys; `query(depth)` is q's columns 16 depth to 16 depth + 15. Element: of an 8-bit
// cache.
template <typename Traits, typename Element, typename Query>
__device__ __forceinline__ void multiply_query_key(float (&scores)[1][2][4], uint32_t k_address, Query query) {
  using T = typename Traits::T;
  using Tile = typename Traits::Tile;
  if constexpr (Traits::kEightBit) {
#pragma unroll
    for (int depth = 0; depth < Traits::kHeadDim / 32; ++depth) {
      multiply_by_transpose_of<T, Element>(scores[0][0], scores[0][1], query(2 * depth), query(2 * depth + 1),
                                           Tile::block_address(k_address, 0, depth));
    }
  } else {
#pragma unroll
    for (int depth = 0; depth < Traits::kHeadDim / 16; ++depth) {
      FragmentB k;
      k.load_n_by_k(Tile::block_address(k_address, 0, depth));
      mma<T>(scores[0][0], scores[0][1], query(depth), k);
    }
  }
}

// output += powers v for a slice of 16 keys. Of an 8-bit cache the columns are parted as multiply_of has them.
template <typename Traits, typename Element>
__device__ __forceinline__ void multiply_power_value(float (&output)[1][Traits::kHeadDim / 8][4],
                                                     const float (&powers)[1][2][4], uint32_t v_address) {
  using T = typename Traits::T;
  using Tile = typename Traits::Tile;
  FragmentA p[1][1];
  p[0][0].template convert<T>(powers[0][0], powers[0][1]);
  if constexpr (Traits::kEightBit) {
#pragma unroll
    for (int j = 0; j < Traits::kHeadDim / 8; j += 4) {
      multiply_of<T, Element>(output[0][j], output[0][j + 1], output[0][j + 2], output[0][j + 3], p[0][0],
                              Tile::block_address(v_address, 0, j / 4));
    }
  } else {
    multiply<T, Tile>(output, p, v_address);
  }
}

template <typename Traits>
__device__ __forceinline__ void decode(const DecodeParams& params) {
  using T = typename Traits::T;
  using Tile = typename Traits::Tile;
  constexpr int kBlockN = Traits::kBlockN, kElementBytes = Traits::kEightBit ? 1 : 2;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t k_tiles = ptx::shared_address(shared_memory);
  const uint32_t v_tiles = k_tiles + 2 * Tile::kBytes;
  const uint32_t offsets = k_tiles + Traits::kTilesBytes;
  const uint32_t scales = offsets + 2 * Traits::Offsets::kBytes;
  const uint32_t q_tiles = k_tiles + Traits::kSharedBytes;

  const unsigned thread = ptx::thread_index();
  const unsigned lane = thread % 32, warp = thread / 32;
  const DecodeBlock block(params);
  const int given = min(ptx::ld_global_4(params.lengths + block.batch), params.max_length) + params.new_keys;
  const int length = min(max(given, 0), params.max_length);
  const KeyMask mask(params.s_q, length, params.window_left, params.window_right);
  const int first_query = block.query_of(0), last_query = block.query_of(block.last - block.first);
  const KeyTiles<kBlockN> tiles(mask, first_query, last_query);
  // The splits share out the tiles that are visible now, whatever the host knew of the lengths.
  const int num_tiles = max(0, tiles.last - tiles.first + 1);
  const int tiles_a_split = max(params.least_tiles, (num_tiles + params.num_splits - 1) / params.num_splits);
  const int first_tile = tiles.first + min(block.split * tiles_a_split, num_tiles);
  const int end_tile = tiles.first + min((block.split + 1) * tiles_a_split, num_tiles);
  if (block.split > 0 && first_tile == end_tile) {
    if (block.first + static_cast<int>(thread) <= block.last) {
      float* lse = &params.lse.at(block.batch, block.head_of(thread), block.query_of(thread));
      lse[block.split * params.lse_split_stride] = -CUDART_INF_F;
    }
    return;
  }

  const int begin = mask.begin(first_query), end = min(mask.end(last_query), end_tile * kBlockN);
  const char* k_data = static_cast<const char*>(params.k.data) + block.kv_head * params.k.head_stride * kElementBytes;
  const char* v_data = static_cast<const char*>(params.v.data) + block.kv_head * params.v.head_stride * kElementBytes;
  // One thread knows where a row of a tile lies: it asks the table two tiles ahead, and tells the others one ahead.
  const auto find = [&](int tile) {
    return thread < kBlockN ? key_place(params.table, block.batch, tile * kBlockN + thread, begin, end) : KeyPlace{-1, 0};
  };
  const auto tell = [&](int tile, KeyPlace place) {
    if (thread >= kBlockN) return;
    const int64_t key = place.exists() ? place.offset(params.k) * kElementBytes : 0;
    const int64_t value = place.exists() ? place.offset(params.v) * kElementBytes : 0;
    const typename Traits::Offsets rows{offsets + tile % 2 * Traits::Offsets::kBytes};
    rows.store(thread, key, value, place.exists());
  };
  const auto copy = [&](int tile, KeyPlace place) {
    const int stage = tile % 2, row_bytes = params.d * kElementBytes;
    const typename Traits::Offsets rows{offsets + stage * Traits::Offsets::kBytes};
    copy_rows<Tile, kBlockN, Traits::kRowBytes, Traits::kThreads>(Tile{k_tiles + stage * Tile::kBytes}, k_data, rows, 0,
                                                                  row_bytes, thread);
    copy_rows<Tile, kBlockN, Traits::kRowBytes, Traits::kThreads>(Tile{v_tiles + stage * Tile::kBytes}, v_data, rows,
                                                                  rows.kValues, row_bytes, thread);
    if (Traits::kEightBit && thread < kBlockN) {
      const uint32_t to = scales + stage * 2 * Traits::kScaleBytes + thread * 4, bytes = place.exists() ? 4 : 0;
      const KeyPlace from = place.exists() ? place : KeyPlace{0, 0};
      const auto head = [&](const SequenceTensor& of) { return of.row<float>(from.page, from.slot, block.kv_head); };
      ptx::cp_async_4_zero_fill(to, head(params.k_scales), bytes);
      ptx::cp_async_4_zero_fill(to + Traits::kScaleBytes, head(params.v_scales), bytes);
    }
  };

  for (int i = 0; i < params.row_tiles; ++i) {
    const typename Traits::QTile tile{q_tiles + i * Traits::QTile::kBytes};
    load_rows<16, Traits::kHeadDim, Traits::kThreads>(tile, thread, params.d, [&](int row) -> const T* {
      if (block.first + i * 16 + row > block.last) return nullptr;
      return params.q.row<T>(block.batch, block.query_of(i * 16 + row), block.head_of(i * 16 + row));
    });
  }
  commit_copies();
  KeyPlace place = find(first_tile), next = find(first_tile + 1);
  tell(first_tile, place);
  tell(first_tile + 1, next);
  __syncthreads();
  if (first_tile < end_tile) copy(first_tile, place);
  commit_copies();
  place = next;
  next = find(first_tile + 2);

  wait_for_copies<1>();
  __syncthreads();
  if constexpr (Traits::kEightBit) {
    for (int i = 0; i < params.row_tiles; ++i) {
      part_columns(typename Traits::QTile{q_tiles + i * Traits::QTile::kBytes}, thread, Traits::kThreads);
    }
    __syncthreads();
  }
  const int row_tile = warp % params.row_tiles;
  // As many columns of q as there are registers for stay in them.
  constexpr int kHeld = Traits::kHeadDim <= 128 ? Traits::kHeadDim / 16 : 0;
  FragmentA held[kHeld + 1];
  const uint32_t q_address =
      typename Traits::QTile{q_tiles + row_tile * Traits::QTile::kBytes}.ldmatrix_address(lane);
#pragma unroll
  for (int depth = 0; depth < kHeld; ++depth) held[depth].load(Traits::QTile::block_address(q_address, 0, depth));
  const auto query = [&](int depth) {
    FragmentA q = held[depth < kHeld ? depth : 0];
    if (depth >= kHeld) q.load(Traits::QTile::block_address(q_address, 0, depth));
    return q;
  };
  ScoreRows<1> rows;
  rows.batch = block.batch;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    rows.query[0][h] = block.query_of(row_tile * 16 + h * 8 + lane / 4);
    rows.head[0][h] = block.head_of(row_tile * 16 + h * 8 + lane / 4);
  }
  const bool plain = params.score.only_scales();

  float output[1][Traits::kHeadDim / 8][4] = {};
  OnlineSoftmax<1> softmax;
  ValueUnit value_unit;
#pragma unroll 1
  for (int tile = first_tile; tile < end_tile; ++tile) {
    // This tile is here, and the one before has been read by all: the next takes its place.
    wait_for_copies();
    __syncthreads();
    if (tile + 1 < end_tile) copy(tile + 1, place);
    commit_copies();
    place = next;
    tell(tile + 2, place);
    next = find(tile + 3);

    const int stage = tile % 2;
    const uint32_t k_address = Tile{k_tiles + stage * Tile::kBytes}.ldmatrix_address_n_by_k(lane);
    const uint32_t v_address = Tile{v_tiles + stage * Tile::kBytes}.ldmatrix_address(lane);
#pragma unroll 1
    for (int slice = warp / params.row_tiles; slice < kBlockN / 16; slice += Traits::kWarps / params.row_tiles) {
      const int key_first = tile * kBlockN + slice * 16;
      if (key_first >= end || key_first + 16 <= begin) continue;
      const uint32_t k_slice = k_address + slice * Traits::kSliceBytes;
      const uint32_t v_slice = v_address + slice * Traits::kSliceBytes;
      float scores[1][2][4] = {};
      // E4M3 stands for 16 bits as well, where it makes no difference.
      if (!Traits::kEightBit || params.is_e4m3) {
        multiply_query_key<Traits, E4M3>(scores, k_slice, query);
      } else {
        multiply_query_key<Traits, Int8>(scores, k_slice, query);
      }
      const float unit = params.is_e4m3 ? E4M3::unit<T>() : Int8::unit<T>();
      const uint32_t slice_scales = scales + stage * 2 * Traits::kScaleBytes + slice * 64;
      if constexpr (Traits::kEightBit) ColumnScales(slice_scales, lane, unit).apply(scores);
      if (!plain) scale_scores(scores, params.score, lane);
      if (params.score.alibi_slopes != nullptr) {
        add_alibi(scores, params.score, rows, key_first, mask.diagonal, lane);
      }
      if (!tiles.is_full(tile)) apply_mask(scores, mask, key_first, lane, [&](int i, int h) { return rows.query[i][h]; });
      softmax.update(scores, output, plain ? params.score.scale_log2 : 1.0f);
      if constexpr (Traits::kEightBit) {
        ColumnScales value_scales(slice_scales + Traits::kScaleBytes, lane, unit);
        value_unit.follow(value_scales.largest(), output);
        value_scales.multiply(value_unit.inverse);
        value_scales.apply(scores);
      }
      if (!Traits::kEightBit || params.is_e4m3) {
        multiply_power_value<Traits, E4M3>(output, scores, v_slice);
      } else {
        multiply_power_value<Traits, Int8>(output, scores, v_slice);
      }
    }
  }
  __syncthreads();
  finish<Traits>(params, block, k_tiles, offsets, output, softmax, Traits::kEightBit ? value_unit.unit : 1.0f, thread);
}

}  // namespace llm_kernels

// Name, element type of q, largest head dim, whether the cache has 8 bits, shared bytes without q.
#define DECODE_INSTANCE(NAME, T, D, EIGHT_BIT, SHARED)                                                             \
  static_assert(llm_kernels::DecodeTraits<llm_kernels::T, D, EIGHT_BIT>::kSharedBytes == SHARED, "mirrored in Rust"); \
  extern "C" __global__ void __launch_bounds__(128, 2)                                                             \
      NAME(const __grid_constant__ llm_kernels::DecodeParams params) {                                             \
    llm_kernels::decode<llm_kernels::DecodeTraits<llm_kernels::T, D, EIGHT_BIT>>(params);                           \
  }

DECODE_INSTANCE(decode_f16_d64, f16, 64, false, 69632)
DECODE_INSTANCE(decode_f16_d128, f16, 128, false, 67584)
DECODE_INSTANCE(decode_f16_d256, f16, 256, false, 66560)
DECODE_INSTANCE(decode_bf16_d64, bf16, 64, false, 69632)
DECODE_INSTANCE(decode_bf16_d128, bf16, 128, false, 67584)
DECODE_INSTANCE(decode_bf16_d256, bf16, 256, false, 66560)
DECODE_INSTANCE(decode_f16_d64_8bit, f16, 64, true, 38912)
DECODE_INSTANCE(decode_f16_d128_8bit, f16, 128, true, 71680)
DECODE_INSTANCE(decode_f16_d256_8bit, f16, 256, true, 68608)
DECODE_INSTANCE(decode_bf16_d64_8bit, bf16, 64, true, 38912)
DECODE_INSTANCE(decode_bf16_d128_8bit, bf16, 128, true, 71680)
DECODE_INSTANCE(decode_bf16_d256_8bit, bf16, 256, true, 68608)
