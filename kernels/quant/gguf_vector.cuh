// Products of packed blocks with few vectors. See src/quant/gguf/README.md.
//
// Neighbouring rows are one run of bytes. A warp copies 32 to 128 units of it at a time, a unit being the one or more blocks that
// make it a multiple of 4 bytes, and lane l takes units l, l + 32, ...: at units of an odd number of words (or of 2 or 4 words, loaded
// together) this has no bank conflicts. Where a lane comes to another row, it leaves its sum behind.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/quant/formats.cuh"
#include "quant/gguf_vector_dot.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf/params.rs.
struct VectorParams {
  const char* w;         // [n, k] packed; a multiple of 16.
  const void* x;         // [m, k]: int8 if quantised, else of type x_type.
  const uint2* x_scales; // [m, k / 32] if quantised: scale, then sums of the first 16 and of all 32 integers, 16 bits each.
  const void* bias;      // [n] of type bias_type; null for none.
  void* y;               // [m, n] of type y_type.
  int64_t x_stride;      // In elements, between rows.
  int64_t y_stride;
  int32_t n, m;
  int32_t blocks_per_row;
  int32_t units_per_row;  // If whole units make a row, else blocks_per_row: each block is a unit by itself.
  int32_t rows_per_warp;  // Rows of w; a multiple of 8, so that each warp's bytes start at a multiple of 16. At most 32.
  int32_t vectors_per_block;  // Blocks along y share out m.
  int32_t num_slots;      // Of a row of activations.
  uint32_t inverse;       // floor(2^16 / units_per_row) + 1
  int32_t step_rows, step_units;  // 32 units, in rows and units.
  int32_t x_type, bias_type, y_type;
  int32_t rotation;       // log2(32 / gcd(32, units_per_row))
};

static_assert(sizeof(VectorParams) == 112 && offsetof(VectorParams, n) == 56 && offsetof(VectorParams, rotation) == 108,
              "mirrored in Rust");

// How a format is cut up; a block is a unit by itself where rows are not whole units.
template <typename Format, bool kWhole>
struct VectorTile {
  static constexpr int kWeights = Format::kWeights;
  // Of 32 weights 4 blocks (2 of Q5_1); of 256 weights 1 or 2.
  static constexpr int kWholeBlocks = kWeights == 32 ? (Format::kBytes == 24 ? 2 : 4) : Format::kBytes % 4 == 0 ? 1 : 2;
  static constexpr int kBlocks = kWhole ? kWholeBlocks : 1;
  static constexpr int kUnitBytes = kBlocks * Format::kBytes;
  static constexpr int kAlignment = kUnitBytes % 16 == 0 ? 16 : kUnitBytes % 8 == 0 ? 8 : 4;
  // Units of a lane in a chunk, 32 apart.
  static constexpr int kRepeats = kWeights != 32 || Format::kBytes > 24 ? 1 : Format::kBytes == 24 ? 4 : 2;
  static constexpr int kChunkBytes = kRepeats * 32 * kUnitBytes;
  static constexpr int kStageBytes = kRepeats * 32 * kWholeBlocks * Format::kBytes;
  static constexpr int kWarps = kStageBytes > 8192 ? 2 : 4;
  static constexpr int kThreads = 32 * kWarps;
};

// Vectors in shared memory, in slots: a slot has the activations of a unit and then what else is to be known of each group
// of 32. Lane l of a warp needs slot (first + l) mod units_per_row. Slots lie an odd number of 16 bytes apart, so 8
// neighbouring lanes meet different banks while their slots are neighbours; for those that come round, the first 7 slots
// follow once more behind the last, unless there are at most 8 or a multiple of 8.
template <typename Format, typename Element, bool kWhole>
struct VectorSlots {
  static constexpr bool kQuantised = sizeof(Element) == 1;
  static constexpr int kGroups = VectorTile<Format, kWhole>::kBlocks * Format::kWeights / 32;
  static constexpr int kActivationBytes = kGroups * 32 * sizeof(Element);
  // Of a group: its scale; for formats with an offset what integer sums start at, else with minimums its sums.
  static constexpr int kHalves = Format::kHalves;
  static constexpr bool kSums = Format::kOffset != 0 || Format::kHasMinimum;
  static constexpr bool kFloatSums = Format::kHasMinimum && Format::kWeights == 32;
  // Groups whose factors lie in 16 bytes.
  static constexpr int kTogether = kGroups == 1 || (kSums && kHalves == 2) ? 1 : kSums ? 2 : 4;
  static constexpr int kFactorBytes = kQuantised ? (kGroups + kTogether - 1) / kTogether * 16 : 0;
  static constexpr int kPitch = ((kActivationBytes + kFactorBytes) / 16 | 1) * 16;

  struct Factors {
    float scale;
    int sums[2];
  };

  // The 16 bytes with those of a group.
  static __device__ __forceinline__ uint4 load_factors(const char* slot, int group) {
    const char* from = slot + kActivationBytes + group / kTogether * 16;
    // All of them: of the 4 or 8 bytes that one group needs, lanes would meet in banks.
    if constexpr (kTogether > 1) return ptx::ld_shared_16(ptx::shared_address(from));
    return *reinterpret_cast<const uint4*>(from);
  }

  static __device__ __forceinline__ Factors factors(const uint4& all, int group) {
    const bool even = group % 2 == 0;
    if constexpr (kTogether == 1) return {__uint_as_float(all.x), {static_cast<int>(all.y), static_cast<int>(all.z)}};
    if constexpr (kTogether == 2) return {__uint_as_float(even ? all.x : all.z), {static_cast<int>(even ? all.y : all.w)}};
    const uint32_t lower = even ? all.x : all.y, upper = even ? all.z : all.w;
    return {__uint_as_float(group % 4 < 2 ? lower : upper), {}};
  }

  // `sums`: of the first 16 integers and of all 32, 16 bits each. Group `group` of a block.
  static __device__ __forceinline__ void set_factors(char* slot, int group, uint2 scale_and_sums, int group_of_block) {
    const int total = static_cast<int>(scale_and_sums.y) >> 16, first = static_cast<int16_t>(scale_and_sums.y);
    int sums[2] = {kHalves == 2 ? first : total, total - first};
    if constexpr (Format::kOffset != 0) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sums[half] *= -(Format::kOffset << Format::shift(group_of_block, kHalves == 2 ? half : 1));
      }
    }
    // Where all minimums are 1, as it is multiplied.
    if constexpr (kFloatSums) sums[0] = __float_as_int(static_cast<float>(sums[0]));
    char* to = slot + kActivationBytes + group * (16 / kTogether);
    const uint32_t words[4] = {scale_and_sums.x, static_cast<uint32_t>(sums[0]), static_cast<uint32_t>(sums[1])};
    if constexpr (kTogether == 1) *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], 0};
    if constexpr (kTogether == 2) *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
    if constexpr (kTogether == 4) *reinterpret_cast<uint32_t*>(to) = words[0];
  }
};

// Adds the products of block `index` of a unit to the sums of each vector, whose slots of this unit start at `slot`. `kept`
// are the factors of the first vector that were loaded last.
template <typename Format, typename Slots, int kVectors, typename Block>
__device__ __forceinline__ void multiply_block(float (&sums)[kVectors], Block block, int index, const char* slot,
                                               uint4& kept, int vectors, int slots_bytes) {
  constexpr int kGroups = Format::kWeights / 32;
  const auto header = Format::header(block);
  // Code of reasonable size: all groups for one vector, some for more.
  constexpr int kUnrolled = !Slots::kQuantised ? 1 : kVectors > 1 && kGroups == 8 ? 4 : kGroups;
#pragma unroll kUnrolled
  for (int group = 0; group < kGroups; ++group) {
    const int group_of_unit = index * kGroups + group;
    const char* x = slot + group_of_unit * 32 * (Slots::kQuantised ? 1 : 4);
    if constexpr (Slots::kQuantised) {
      const auto weights = decode_for_dot<Format>(block, header, group);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (v > 0 && v >= vectors) break;
        uint4 factors = kept;
        if (v > 0 || group_of_unit % Slots::kTogether == 0) {
          factors = Slots::load_factors(slot + v * slots_bytes, group_of_unit);
          if (v == 0) kept = factors;
        }
        accumulate<Format>(sums[v], header, weights, group, x + v * slots_bytes, Slots::factors(factors, group_of_unit));
      }
    } else {
      const auto weights = Format::decode(block, header, group);
#pragma unroll
      for (int part = 0; part < 32; part += 8) {
        float values[8];
#pragma unroll
        for (int w = 0; w < 8; ++w) values[w] = dequantised_weight<Format>(header, weights, group, part + w);
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          if (v > 0 && v >= vectors) break;
          accumulate(sums[v], values, x + v * slots_bytes + part * 4);
        }
      }
    }
  }
}

}  // namespace llm_kernels
