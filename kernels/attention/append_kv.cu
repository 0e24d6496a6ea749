// Writes new keys and values at their positions into a cache, keys rotated, both in the cache's element type; and rotates
// the queries of the same tokens.
//
//   q, q_out: [b, s_q, h_q, d]   k, v: [b, s_q, h_kv, d]   f16, bf16 or f32; or [total, h, d], with offsets of the sequences
//   k_cache, v_cache: [pages, slots, h_kv, d], 16-bit, or 8-bit with k_scales, v_scales: [pages, slots, h_kv] f32
//   positions: i32, of every token, or of the first one of each sequence   inverse_frequencies: [n] f32, 2 n <= d
//   table: common/key_rows.cuh
//
// Thread: the same one or more pairs of units (common/rotation.cuh) of a row, for all tokens and heads that it goes
// through; a team of neighbouring threads, a power of two up to a warp, has a row. Teams next to each other have tokens
// next to each other. Arithmetic: f32. Memory: each row once in, once out. A token whose position or page does not exist
// is written nowhere.
// Derivation: src/attention/append_kv/README.md
#include <cstddef>
#include <cstdint>

#include "common/cache_format.cuh"
#include "common/elements.cuh"
#include "common/key_rows.cuh"
#include "common/rotation.cuh"
#include "common/sequences.cuh"
#include "common/tensor.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/attention/append_kv/params.rs.
struct AppendParams {
  SequenceTensor q, q_out;            // Null: no queries. Of the same memory, if they are rotated in place.
  SequenceTensor k, v;
  SequenceTensor k_cache, v_cache;
  SequenceTensor k_scales, v_scales;  // Of 8-bit caches: f32, rows of one element.
  PageTable table;
  Rotation rotation;                  // Without pairs: none.
  Sequences sequences;                // Without offsets: b sequences of s_q tokens.
  const int32_t* positions;
  int64_t position_strides[2];
  int32_t first_positions;            // Positions are [b], each sequence's first token's.
  int32_t capacity;                   // Positions are below.
  uint32_t num_tokens;
  uint32_t b, s_q, h_q, h_kv, d;
  uint32_t team_shift;                // A team has 2^team_shift threads.
  uint32_t token_step;                // Tokens that the grid works on at once.
  uint32_t head_groups;               // Teams that share the heads of a token.
  uint32_t k_shift, v_shift;          // h_q and h_q + h_kv, modulo head_groups.
  int32_t in_place;
  ElementType type;                   // Of q, k and v.
  ElementType q_out_type;
  CacheFormat format;
  int32_t padding;
};

static_assert(sizeof(AppendParams) == 416 && offsetof(AppendParams, rotation) == 280 &&
                  offsetof(AppendParams, positions) == 320 && offsetof(AppendParams, capacity) == 348 &&
                  offsetof(AppendParams, format) == 408,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
constexpr uint32_t kMostPairs = 128;

// A token: where it is in the new tensors, and its place in the sequence and in the cache.
struct Token {
  int outer, inner;  // Indices of the new tensors' first two dimensions.
  int position;      // 0, where its own is out of range.
  bool exists;       // It belongs to a sequence.
  KeyPlace place;

  __device__ __forceinline__ Token(const AppendParams& params, uint32_t token) {
    int batch, index;  // In its sequence.
    outer = 0, inner = token, exists = token < params.num_tokens;
    if (params.sequences.offsets == nullptr) {
      batch = outer = token / params.s_q;
      index = inner = token - batch * params.s_q;
    } else {
      // The last sequence that begins here or before.
      uint32_t low = 0;
      for (uint32_t high = params.b; high - low > 1;) {
        const uint32_t middle = (low + high) / 2;
        const bool here = ptx::ld_global_4(params.sequences.offsets + middle) <= static_cast<int>(token);
        (here ? low : high) = middle;
      }
      batch = low;
      const Sequence sequence = params.sequences.at(batch);
      index = static_cast<int>(token) - sequence.begin;
      exists = exists && index >= 0 && index < sequence.length;
    }
    position = 0;
    place = {-1, 0};
    if (!exists) return;
    const bool first = params.first_positions != 0;
    const int64_t at = first ? batch * params.position_strides[0]
                             : outer * params.position_strides[0] + inner * params.position_strides[1];
    const uint32_t given = ptx::ld_global_4(params.positions + at);
    const int own = static_cast<int>(given + (first ? index : 0));
    place = new_key_place(params.table, batch, own, params.capacity);
    // An angle of any size would do for the queries, but sines are good for those of real positions.
    if (own >= 0 && own < params.capacity) position = own;
  }
};

// A tensor's heads of a token that a team goes through: the row of its first one, and the bytes to the next.
struct HeadRows {
  char* row;
  int64_t step;

  __device__ __forceinline__ HeadRows(const SequenceTensor& tensor, int outer, int inner, uint32_t head, uint32_t groups,
                                      int shift)
      : row(static_cast<char*>(tensor.data) + (tensor.offset(outer, inner, head) << shift)),
        step(tensor.head_stride * groups << shift) {}
};

__device__ __forceinline__ int shift_of(ElementType type) { return type == ElementType::kF32 ? 2 : 1; }

// A thread's part of a row: pairs of units, first those that are rotated, then the rest. kSlots: pairs of units.
template <int kUnit, int kSlots>
struct Slots {
  uint32_t first[kSlots], second[kSlots];  // Elements of the row, d or more where there is none.
  bool rotates[kSlots];
  float sines[kSlots][kUnit], cosines[kSlots][kUnit];

  // Heads `head`, `head + groups` ... below `count` of a token. Elements from `end` on stay as they are. kCache: to the
  // cache, whose scales are those of `scales`; else to f32, f16 or bf16. kHeads: heads whose loads are under way together.
  template <bool kRotated, bool kCache, int kHeads>
  __device__ __forceinline__ void move(const AppendParams& params, HeadRows from, HeadRows to, HeadRows scales,
                                       ElementType type, uint32_t head, uint32_t count, uint32_t end) const {
    const uint32_t groups = params.head_groups;
    const int from_shift = shift_of(params.type);
    const bool eight_bit = kCache && params.format >= CacheFormat::kI8;
    const int to_shift = eight_bit ? 0 : shift_of(type);
    for (; head < count; head += kHeads * groups) {
      Units<kUnit, 2> units[kHeads][kSlots] = {};
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (i > 0 && head + i * groups >= count) break;
        const char* row = from.row + i * from.step;
#pragma unroll
        for (int j = 0; j < kSlots; ++j) {
          if (first[j] < end) load(row + (first[j] << from_shift), params.type, units[i][j], 0);
          if (second[j] < end) load(row + (second[j] << from_shift), params.type, units[i][j], 1);
        }
      }
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (i > 0 && head + i * groups >= count) break;
        float values[kSlots][2][kUnit];
#pragma unroll
        for (int j = 0; j < kSlots; ++j) {
          unpack(params.type, units[i][j], values[j]);
          if (kRotated && rotates[j]) params.rotation.template rotate<kUnit>(values[j], sines[j], cosines[j]);
        }
        char* row = to.row + i * to.step;
        if (eight_bit) {
          quantise(params, values, row, scales.row + i * scales.step);
          continue;
        }
#pragma unroll
        for (int j = 0; j < kSlots; ++j) {
          pack(type, values[j], units[i][j]);
          if (first[j] < end) store(row + (first[j] << to_shift), type, units[i][j], 0);
          if (second[j] < end) store(row + (second[j] << to_shift), type, units[i][j], 1);
        }
      }
      from.row += kHeads * from.step, to.row += kHeads * to.step, scales.row += kHeads * scales.step;
    }
  }

  // A row of 8 bits and its scale, by all threads of a team.
  __device__ __forceinline__ void quantise(const AppendParams& params, const float (&values)[kSlots][2][kUnit], char* row,
                                           char* scale_row) const {
    uint32_t magnitude = 0;
#pragma unroll
    for (int j = 0; j < kSlots; ++j) {
#pragma unroll
      for (int e = 0; e < 2 * kUnit; ++e) {
        magnitude = max(magnitude, __float_as_uint(values[j][e / kUnit][e % kUnit]) & 0x7fffffffu);
      }
    }
    const RowScale scale(magnitude, 1u << params.team_shift, params.format);
#pragma unroll
    for (int j = 0; j < kSlots; ++j) {
      if (first[j] < params.d) scale.store<kUnit>(row + first[j], values[j][0], params.format);
      if (second[j] < params.d) scale.store<kUnit>(row + second[j], values[j][1], params.format);
    }
    if ((threadIdx.x & ((1u << params.team_shift) - 1)) == 0) {
      ptx::st_global_4(scale_row, __float_as_uint(scale.scale));
    }
  }

  static __device__ __forceinline__ void load(const char* from, ElementType type, Units<kUnit, 2>& units, int i) {
    Row{const_cast<char*>(from), type}.load_at(0, units, i);
  }
  static __device__ __forceinline__ void store(char* to, ElementType type, const Units<kUnit, 2>& units, int i) {
    Row{to, type}.store_at(0, units, i);
  }
};

template <int kUnit, int kSlots, int kHeads>
__device__ __forceinline__ void append(const AppendParams& params) {
  const Rotation& rotation = params.rotation;
  __shared__ alignas(16) float shared_frequencies[kMostPairs];
  for (uint32_t i = threadIdx.x; i < rotation.num_pairs; i += kThreads) {
    shared_frequencies[Rotation::place(i)] = rotation.inverse_frequencies[i];
  }
  __syncthreads();

  const uint32_t team = 1u << params.team_shift, lane = threadIdx.x & (team - 1), groups = params.head_groups;
  const uint32_t index = (blockIdx.x * kThreads + threadIdx.x) >> params.team_shift;
  const uint32_t group = index / params.token_step;
  if (group >= groups) return;

  Slots<kUnit, kSlots> slots;
  float frequencies[kSlots][kUnit] = {};
#pragma unroll
  for (int j = 0; j < kSlots; ++j) {
    const uint32_t slot = lane + j * team;
    slots.rotates[j] = slot < rotation.num_pairs / kUnit;
    slots.first[j] = slots.rotates[j] ? rotation.first<kUnit>(slot) : 2 * slot * kUnit;
    slots.second[j] = slots.rotates[j] ? rotation.second<kUnit>(slot) : (2 * slot + 1) * kUnit;
    if (slots.rotates[j]) rotation.load_shared<kUnit>(shared_frequencies, slot, frequencies[j]);
  }
  // All heads are numbered together, those of q first, then of k, then of v: these are the team's first ones of each.
  const auto first_of = [&](uint32_t shift) { return group < shift ? group + groups - shift : group - shift; };
  const uint32_t q_head = group, k_head = first_of(params.k_shift), v_head = first_of(params.v_shift);
  const int shift = shift_of(params.type);
  const int cache_shift = params.format >= CacheFormat::kI8 ? 0 : 1;

  for (uint32_t at = index - group * params.token_step; at < params.num_tokens; at += params.token_step) {
    const Token token(params, at);
    if (q_head < params.h_q || k_head < params.h_kv) {
#pragma unroll
      for (int j = 0; j < kSlots; ++j) {
        rotation.angles<kUnit>(token.position, frequencies[j], slots.sines[j], slots.cosines[j]);
      }
    }
    const auto new_rows = [&](const SequenceTensor& tensor, uint32_t head, int shift) {
      return HeadRows(tensor, token.outer, token.inner, head, groups, shift);
    };
    const auto cache_rows = [&](const SequenceTensor& tensor, uint32_t head, int shift) {
      return HeadRows(tensor, token.place.page, token.place.slot, head, groups, shift);
    };
    if (token.exists) {
      const HeadRows to = new_rows(params.q_out, q_head, shift_of(params.q_out_type));
      const uint32_t end = params.in_place ? 2 * rotation.num_pairs : params.d;
      slots.template move<true, false, kHeads>(params, new_rows(params.q, q_head, shift), to, to, params.q_out_type,
                                               q_head, params.h_q, end);
    }
    if (token.place.exists()) {
      const ElementType type = static_cast<ElementType>(params.format);
      slots.template move<true, true, kHeads>(params, new_rows(params.k, k_head, shift),
                                              cache_rows(params.k_cache, k_head, cache_shift),
                                              cache_rows(params.k_scales, k_head, 2), type, k_head, params.h_kv, params.d);
      slots.template move<false, true, kHeads>(params, new_rows(params.v, v_head, shift),
                                               cache_rows(params.v_cache, v_head, cache_shift),
                                               cache_rows(params.v_scales, v_head, 2), type, v_head, params.h_kv, params.d);
    }
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit, pairs of units of a thread, heads at once.
#define APPEND_INSTANCE(NAME, UNIT, SLOTS, HEADS)                             \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)         \
      NAME(const __grid_constant__ llm_kernels::AppendParams params) {        \
    llm_kernels::append<UNIT, SLOTS, HEADS>(params);                          \
  }

APPEND_INSTANCE(append_kv_unit8, 8, 1, 2)
APPEND_INSTANCE(append_kv_unit4, 4, 1, 2)
APPEND_INSTANCE(append_kv_unit1, 1, 4, 1)
