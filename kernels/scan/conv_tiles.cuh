// The convolution's parts that forward and backward share: tiles of positions, and rows of a few elements a channel.
#pragma once

#include <cstdint>

#include "common/elements.cuh"
#include "common/sequences.cuh"

namespace llm_kernels {

// Some positions of one sequence: first to first + count - 1, of `length`.
struct ConvTile {
  int batch;
  int begin;   // Where the sequence begins in its tensor.
  int length;  // Of the sequence.
  int first;
  int count;
  bool exists;
  bool is_last;
};

// Tile `tile` of all sequences', which are numbered together: those of sequence i begin with number
// offsets[i] / positions + i, so that every sequence, an empty one too, has one. Some numbers stand for no tile.
__device__ __forceinline__ ConvTile conv_tile(const Sequences& sequences, int b, int positions, int tile) {
  int batch, local;
  if (sequences.offsets == nullptr) {
    const int each = max((sequences.longest + positions - 1) / positions, 1);
    batch = tile / each, local = tile % each;
  } else {
    // The last sequence whose first tile is not behind this one.
    int low = 0, high = b - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (sequences.at(middle).begin / positions + middle <= tile) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    batch = low, local = tile - (sequences.at(low).begin / positions + low);
  }
  const Sequence sequence = sequences.at(batch);
  const int first = local * positions;
  const int count = min(sequence.length - first, positions);
  return {batch,
          sequence.begin,
          sequence.length,
          first,
          max(count, 0),
          batch < b && local >= 0 && (count > 0 || local == 0),
          first + positions >= sequence.length};
}

// A number that the compiler knows.
template <int kNumber>
struct Count {
  static constexpr int kValue = kNumber;
};

// kEach neighbouring elements of each of kUnit neighbouring channels, in registers: values[e][channel].
template <int kUnit, int kEach>
__device__ __forceinline__ void load_each(const Row& row, int64_t channel, float (&values)[kEach][kUnit]) {
  Units<kUnit, kEach> units;
#pragma unroll
  for (int i = 0; i < kEach; ++i) row.load_at(channel * kEach + i * kUnit, units, i);
  float flat[kEach][kUnit];
  unpack(row.type, units, flat);
#pragma unroll
  for (int i = 0; i < kEach * kUnit; ++i) values[i % kEach][i / kEach] = flat[i / kUnit][i % kUnit];
}

template <int kUnit, int kEach>
__device__ __forceinline__ void store_each(const Row& row, int64_t channel, const float (&values)[kEach][kUnit]) {
  float flat[kEach][kUnit];
#pragma unroll
  for (int i = 0; i < kEach * kUnit; ++i) flat[i / kUnit][i % kUnit] = values[i % kEach][i / kEach];
  Units<kUnit, kEach> units;
  pack(row.type, flat, units);
#pragma unroll
  for (int i = 0; i < kEach; ++i) row.store_at(channel * kEach + i * kUnit, units, i);
}

}  // namespace llm_kernels
