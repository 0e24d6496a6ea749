// Sequences of various lengths, one after the other in a tensor's position dimension.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// One sequence: its positions begin to begin + length - 1.
struct Sequence {
  int begin;
  int length;
};

// Sequence i is positions offsets[i] to offsets[i + 1] - 1. Without offsets every batch entry is one sequence of
// `longest` positions. Whatever the offsets hold, nothing outside `total` positions is reached, and no sequence is
// longer than `longest`, for which the host has made room.
struct Sequences {
  const int32_t* offsets;
  int32_t total;
  int32_t longest;

  // Read anew at every call: code after a long loop that calls this again costs no register through the loop.
  __device__ __forceinline__ Sequence at(int batch) const {
    if (offsets == nullptr) return {0, longest};
    const int begin = min(max(ptx::ld_global_4(offsets + batch), 0), total);
    const int end = min(max(ptx::ld_global_4(offsets + batch + 1), begin), total);
    return {begin, min(end - begin, longest)};
  }
};

static_assert(sizeof(Sequences) == 16, "mirrored in Rust");

// The number of a sequence's first tile of `rows` positions, where the tiles of all sequences are numbered together. There
// are at most total / rows + b; without offsets b * ceil(longest / rows).
__device__ __forceinline__ int first_tile(const Sequences& sequences, int batch, int rows) {
  if (sequences.offsets == nullptr) return batch * ((sequences.longest + rows - 1) / rows);
  return sequences.at(batch).begin / rows + batch;
}

}  // namespace llm_kernels
