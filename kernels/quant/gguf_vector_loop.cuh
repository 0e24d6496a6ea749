// The kernel around gguf_vector.cuh: chunks, rows, sums.
#pragma once

#include "quant/gguf_vector_load.cuh"

namespace llm_kernels {

// From what lanes leave of a row to the next row's: one for each unit, or 32 and one of padding, for the banks.
__device__ __forceinline__ int row_pitch(int units_per_row) { return units_per_row < 32 ? units_per_row : 33; }

// Adds up what lanes have left of each row, and stores the results. Lane: a row.
template <int kVectors>
__device__ __forceinline__ void store_rows(const VectorParams& params, const float* partials, int table, int first_row,
                                           int num_rows, int first_vector, int vectors, int lane) {
  if (lane >= num_rows) return;
  const int entries = params.units_per_row, column = first_row + lane;
  float bias = 0.0f;
  if (params.bias != nullptr) bias = load_element(params.bias, column, params.bias_type);
#pragma unroll 1
  for (int v = 0; v < vectors; ++v) {
    const float* of_row = partials + v * table + lane * row_pitch(entries);
    float sum = 0.0f;
    if (entries >= 32) {
#pragma unroll 8
      for (int i = 0; i < 32; ++i) sum += of_row[i];
    } else {
      // Rows of the same bank start at different entries.
      for (int i = 0, entry = lane >> params.rotation; i < entries; ++i) {
        sum += of_row[entry];
        entry = entry + 1 == entries ? 0 : entry + 1;
      }
    }
    store_element(params.y, (first_vector + v) * params.y_stride + column, sum + bias, params.y_type);
  }
}

// sums += what this lane's unit gives.
template <typename Format, typename Element, int kVectors, bool kWhole>
__device__ __forceinline__ void multiply_unit(float (&sums)[kVectors], const char* unit, const char* slot, int vectors,
                                              int slots_bytes) {
  using Tile = VectorTile<Format, kWhole>;
  using Slots = VectorSlots<Format, Element, kWhole>;
  uint4 kept = {};
  auto multiply = [&](auto packed, int index) {
    multiply_block<Format, Slots, kVectors>(sums, packed, index, slot, kept, vectors, slots_bytes);
  };
  if constexpr (Tile::kBlocks < Tile::kWholeBlocks) {
    multiply(PackedBlockAnywhere{unit}, 0);
  } else if constexpr (Format::kWeights == 32) {
    constexpr int kWords = Tile::kUnitBytes / 4;
    uint32_t words[kWords];
    PackedBlock<Tile::kAlignment, 0>{unit}.words(0, words);
    multiply(LoadedBlock<kWords, 0>{words}, 0);
    multiply(LoadedBlock<kWords, Format::kBytes>{words}, 1);
    if constexpr (Tile::kBlocks == 4) {
      multiply(LoadedBlock<kWords, 2 * Format::kBytes>{words}, 2);
      multiply(LoadedBlock<kWords, 3 * Format::kBytes>{words}, 3);
    }
  } else {
    multiply(PackedBlock<Tile::kAlignment, 0>{unit}, 0);
    if constexpr (Tile::kBlocks == 2) multiply(PackedBlock<4, 2>{unit + Format::kBytes - 2}, 1);
  }
}

template <typename Format, typename Element, int kVectors, bool kWhole>
__device__ __forceinline__ void multiply_rows(const VectorParams& params, char* shared) {
  using Tile = VectorTile<Format, kWhole>;
  using Slots = VectorSlots<Format, Element, kWhole>;
  const int thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int first_vector = ptx::block_index<1>() * params.vectors_per_block;
  const int vectors = kVectors == 1 ? 1 : min(params.vectors_per_block, params.m - first_vector);
  const int slots_bytes = params.num_slots * Slots::kPitch;
  char* slots = shared + Tile::kWarps * 2 * Tile::kStageBytes;

  // This warp's rows, one run of units.
  const int first_row = (ptx::block_index() * Tile::kWarps + warp) * params.rows_per_warp;
  const int num_rows = max(0, min(params.rows_per_warp, params.n - first_row));
  const int units_per_row = params.units_per_row;
  int units_left = num_rows * units_per_row;
  const int64_t first_block = static_cast<int64_t>(first_row) * params.blocks_per_row;
  const char* source = params.w + first_block * Format::kBytes + lane * 16;
  char* stage = shared + warp * (2 * Tile::kStageBytes);
  const uint32_t to = ptx::shared_address(stage) + lane * 16;
  int bytes_left = units_left * Tile::kUnitBytes;
  if (bytes_left > 0) load_chunk<Tile::kChunkBytes>(to, source, bytes_left, lane);
  load_vectors<Format, Element, kWhole>(params, slots, first_vector, vectors, thread);
  ptx::cp_async_commit_group();
  ptx::cp_async_wait_group<0>();
  __syncthreads();

  // What lanes leave: of units one after the other, or 32 of each row.
  const int table = params.rows_per_warp * row_pitch(units_per_row) + 31 & ~31, next_place = units_per_row < 32 ? 32 : 33;
  float* partials = reinterpret_cast<float*>(slots + vectors * slots_bytes) + warp * vectors * table;
  float* own = partials + lane;
  float sums[kVectors] = {};
  auto leave = [&] {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (v > 0 && v >= vectors) break;
      own[v * table] = sums[v];
      sums[v] = 0.0f;
    }
    own += next_place;
  };

  // Lanes find neighbouring slots in groups of 8, or of 1 where slots don't follow once more.
  const int neighbour = params.num_slots == units_per_row ? 0 : lane % 8;
  const int origin = lane - neighbour;
  int row = origin * params.inverse >> 16;
  int slot = origin - row * units_per_row;
  const int wrapped = units_per_row - neighbour;  // From this slot on, this lane is in the next row.
  int current = row + (slot >= wrapped);          // The row that the sums are of.
  slots += neighbour * Slots::kPitch;
  units_left -= lane;
  const bool any = units_left > 0;
  const char* unit = stage + lane * Tile::kUnitBytes;
  int offset = 0;  // Of this chunk's stage.
  while (bytes_left > 0) {
    bytes_left -= Tile::kChunkBytes;
    source += Tile::kChunkBytes;
    offset ^= Tile::kStageBytes;
    if (bytes_left > 0) load_chunk<Tile::kChunkBytes>(to + offset, source, bytes_left, lane);
    ptx::cp_async_commit_group();
    ptx::cp_async_wait_group<1>();
    __syncwarp();
    const char* packed = unit + (offset ^ Tile::kStageBytes);
#pragma unroll 1
    for (int i = 0; i < Tile::kRepeats; ++i, packed += 32 * Tile::kUnitBytes) {
      if (units_left > 0) {
        const int row_of_unit = row + (slot >= wrapped);
        if (row_of_unit != current) {
          leave();
          current = row_of_unit;
        }
        multiply_unit<Format, Element, kVectors, kWhole>(sums, packed, slots + slot * Slots::kPitch, vectors,
                                                         slots_bytes);
      }
      units_left -= 32;
      slot += params.step_units;
      row += params.step_rows;
      if (slot >= units_per_row) slot -= units_per_row, ++row;
    }
    // The next copies go where this chunk was.
    __syncwarp();
  }
  if (any) leave();
  __syncwarp();
  store_rows<kVectors>(params, partials, table, first_row, num_rows, first_vector, vectors, lane);
}

template <typename Format, typename Element, int kVectors>
__device__ __forceinline__ void multiply_vectors(const VectorParams& params) {
  extern __shared__ __align__(128) char shared[];
  if constexpr (VectorTile<Format, true>::kWholeBlocks > 1) {
    if (params.units_per_row == params.blocks_per_row) return multiply_rows<Format, Element, kVectors, false>(params, shared);
  }
  multiply_rows<Format, Element, kVectors, true>(params, shared);
}

}  // namespace llm_kernels
