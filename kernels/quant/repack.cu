// Packs weights of checkpoints for quant/weight_only.
//
//   GPTQ: qweight [k / c, n] words of c codes along k   qzeros [groups, n / c] along n   scales [groups, n]
//   AWQ:  qweight [k, n / 8], qzeros [groups, n / 8] words of 8 codes along n, even ones first   scales [groups, n]
//   NF4:  [n, k / 2] bytes of two codes, the first one above   largest magnitudes [n * k / 64] f32, or quantised themselves
//   to: codes, scales, zeros as kernels/common/quant/grouped.cuh says
//
// repack_codes: a thread makes the 16 bytes of a lane of a chunk. repack_factors: a thread makes a scale and a zero-point.
// Bit for bit, but for scales whose type differs: rounded to nearest even. Derivation: src/quant/repack/README.md
#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/repack/params.rs.
enum RepackSource : int32_t { kGptq = 0, kAwq = 1, kNf4 = 2 };

struct RepackParams {
  const void* codes;          // Of the source.
  const uint32_t* zeros;      // Null for none.
  const void* scales;         // Of type scales_type; or largest magnitudes, or their 8-bit codes.
  const float* table;         // [256], what 8-bit codes of magnitudes stand for; null where those are not quantised.
  const float* magnitudes;    // Of each 256 of them.
  const int32_t* columns;     // [k]: which column of the source comes to column l; null for l.
  uint4* packed_codes;
  uint16_t* packed_scales;
  uint8_t* packed_zeros;
  int32_t n, k;
  int32_t num_tiles, num_chunks, packed_groups;
  int32_t groups;             // Of the source, in a row.
  int32_t bits;
  int32_t source;
  int32_t zero_offset;        // Added to a stored zero-point.
  int32_t scales_type, packed_type;
  float magnitude_offset;     // Added to a magnitude that was quantised.
};

static_assert(sizeof(RepackParams) == 120 && offsetof(RepackParams, n) == 72 &&
                  offsetof(RepackParams, magnitude_offset) == 116,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;

// Which 4 bits of a word of AWQ have column i of 8.
__device__ __forceinline__ int awq_shift(int i) { return (i % 2 * 4 + i / 2) * 4; }

__device__ __forceinline__ uint32_t code(const RepackParams& params, int row, int column) {
  const uint32_t* words = static_cast<const uint32_t*>(params.codes);
  if (params.source == kGptq) {
    const int count = 32 / params.bits;
    const uint32_t word = words[static_cast<int64_t>(column / count) * params.n + row];
    return word >> column % count * params.bits & ((1u << params.bits) - 1);
  }
  if (params.source == kAwq) {
    return words[static_cast<int64_t>(column) * (params.n / 8) + row / 8] >> awq_shift(row % 8) & 15;
  }
  const uint8_t* bytes = static_cast<const uint8_t*>(params.codes);
  return bytes[(static_cast<int64_t>(row) * params.k + column) / 2] >> (column % 2 == 0 ? 4 : 0) & 15;
}

__device__ __forceinline__ void repack_codes(const RepackParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kThreads + ptx::thread_index();
  // 16 bytes of a lane: all of its 4-bit codes of a chunk, or half of its 8-bit ones.
  const int parts = params.bits / 4, codes_per_word = 32 / params.bits;
  const int64_t chunk_of_all = item / (32 * parts);
  if (chunk_of_all >= static_cast<int64_t>(params.num_tiles) * params.num_chunks) return;
  const int rest = static_cast<int>(item - chunk_of_all * (32 * parts));
  const int lane = rest % 32, part = rest / 32;
  const int tile = static_cast<int>(chunk_of_all / params.num_chunks);
  const int chunk = static_cast<int>(chunk_of_all - static_cast<int64_t>(tile) * params.num_chunks);
  uint32_t words[4];
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    uint32_t word = 0;
    // 4 bits: word w is product w. 8 bits: words 2 p and 2 p + 1 are those of product 2 part + p.
    const int product = parts == 1 ? w : part * 2 + w / 2;
    for (int i = 0; i < codes_per_word; ++i) {
      const int element = parts == 1 ? i / 2 : w % 2 * 2 + i % 2, half = parts == 1 ? i % 2 : i / 2;
      const int row = tile * 16 + element % 2 * 8 + lane / 4;
      const int column = chunk * 64 + product / 2 * 32 + lane % 4 * 8 + product % 2 * 4 + element / 2 * 2 + half;
      uint32_t q = 0;
      if (row < params.n && column < params.k) {
        // Whoever changes indices on the device gets a wrong result, not an access outside.
        const int from = params.columns == nullptr ? column : max(0, min(params.columns[column], params.k - 1));
        q = code(params, row, from);
        if (parts == 2) q ^= 0x80;
      }
      word |= q << (parts == 1 ? half * 16 + element * 4 : i * 8);
    }
    words[w] = word;
  }
  params.packed_codes[item] = {words[0], words[1], words[2], words[3]};
}

// The scale of a row and a group.
__device__ __forceinline__ float scale(const RepackParams& params, int row, int group) {
  if (params.source != kNf4) {
    return load_element(params.scales, static_cast<int64_t>(group) * params.n + row, params.scales_type);
  }
  const int64_t block = static_cast<int64_t>(row) * params.groups + group;
  if (params.table == nullptr) return static_cast<const float*>(params.scales)[block];
  const float fraction = params.table[static_cast<const uint8_t*>(params.scales)[block]];
  // Not fused: as it was dequantised when the weights were quantised.
  return __fadd_rn(__fmul_rn(fraction, params.magnitudes[block / 256]), params.magnitude_offset);
}

__device__ __forceinline__ int zero(const RepackParams& params, int row, int group) {
  const int count = 32 / params.bits;
  const uint32_t word = params.zeros[static_cast<int64_t>(group) * (params.n / count) + row / count];
  const uint32_t shifted = word >> (params.source == kAwq ? awq_shift(row % 8) : row % count * params.bits);
  return static_cast<int>(shifted) + params.zero_offset & (1 << params.bits) - 1;
}

__device__ __forceinline__ void repack_factors(const RepackParams& params) {
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * kThreads + ptx::thread_index();
  const int64_t tile = item / 16 / params.packed_groups;
  if (tile >= params.num_tiles) return;
  const int group = static_cast<int>(item / 16 - tile * params.packed_groups), place = item % 16;
  const int row = static_cast<int>(tile) * 16 + place % 2 * 8 + place / 2;
  const bool exists = row < params.n && group < params.groups;
  store_element(params.packed_scales, item, exists ? scale(params, row, group) : 0.0f, params.packed_type);
  if (params.packed_zeros != nullptr) params.packed_zeros[item] = exists ? zero(params, row, group) : 0;
}

}  // namespace
}  // namespace llm_kernels

extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)
    repack_codes(const __grid_constant__ llm_kernels::RepackParams params) {
  llm_kernels::repack_codes(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)
    repack_factors(const __grid_constant__ llm_kernels::RepackParams params) {
  llm_kernels::repack_factors(params);
}
