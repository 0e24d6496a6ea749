// The kernel around gguf_vector.cuh: chunks, rows, sums.
#pragma once

#include "common/reduce.cuh"
#include "quant/gguf_vector_load.cuh"

namespace llm_kernels {

// Adds up what the lanes of all warps have left of each row, and stores the results.
template <typename Format>
__device__ __forceinline__ void store_rows(const VectorParams& params, const float* partials,
                                           const int2 (&rows_of_warp)[VectorTile<Format>::kWarps], int first_row,
                                           int num_rows, int first_vector, int vectors, unsigned thread) {
  // 4 lanes a row: each step of 8 rows reads 4 neighbouring words of each, further on by row, from all banks.
  const unsigned part = thread % 4;
  for (int item = thread / 4; item < (num_rows * vectors + 7) / 8 * 8; item += VectorTile<Format>::kThreads / 4) {
    const int v = item / num_rows, row = item - v * num_rows;
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < VectorTile<Format>::kWarps; ++warp) {
      const int2 rows = rows_of_warp[warp];
      if (v >= vectors || row < rows.x || row > rows.y) continue;
      const float* of_row = partials + ((warp * params.rows_per_warp + row - rows.x) * vectors + v) * 32;
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += of_row[(4 * (i + item) + part) & 31];
    }
    sum = quad_sum(sum);
    if (part == 0 && v < vectors) {
      const int column = first_row + row;
      if (params.bias != nullptr) sum += load_element(params.bias, column, params.bias_type);
      store_element(params.y, (first_vector + v) * params.y_stride + column, sum, params.y_type);
    }
  }
}

template <typename Format, typename Element>
__device__ __forceinline__ void multiply_vectors(const VectorParams& params) {
  using Tile = VectorTile<Format>;
  using Slots = VectorSlots<Format, Element>;
  extern __shared__ __align__(128) char shared[];
  __shared__ int2 rows_of_warp[Tile::kWarps];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int first_row = ptx::block_index() * params.rows_per_tile;
  const int num_rows = min(params.rows_per_tile, params.n - first_row);
  const int first_vector = ptx::block_index<1>() * params.vectors_per_block;
  const int vectors = min(params.vectors_per_block, params.m - first_vector);
  const int slots_bytes = Slots::bytes(params.num_slots), scales_bytes = Slots::scale_bytes(params.num_slots);
  char* slots = shared + Tile::kStageBytes;
  char* scales = slots + vectors * slots_bytes;
  float* partials = reinterpret_cast<float*>(scales + vectors * scales_bytes);

  // This warp's chunks of the tile's blocks.
  const int num_blocks = num_rows * params.blocks_per_row;
  const int num_chunks = (num_blocks + Tile::kChunkBlocks - 1) / Tile::kChunkBlocks;
  int chunk = num_chunks * warp / Tile::kWarps;
  const int end = num_chunks * (warp + 1) / Tile::kWarps;
  const int64_t tile = static_cast<int64_t>(first_row) * params.blocks_per_row * Format::kBytes;
  const int64_t tile_bytes = static_cast<int64_t>(num_blocks) * Format::kBytes;
  const uint32_t stages = ptx::shared_address(shared) + warp * (Tile::kStages * Tile::kChunkBytes);
  const char* source = params.w + tile + static_cast<int64_t>(chunk) * Tile::kChunkBytes;
  int64_t valid = tile_bytes - static_cast<int64_t>(chunk) * Tile::kChunkBytes;
  auto load = [&](int i) {
    if (i < end) load_chunk<Format>(stages + i % 2 * Tile::kChunkBytes, source, valid, lane);
    source += Tile::kChunkBytes;
    valid -= Tile::kChunkBytes;
    ptx::cp_async_commit_group();
  };
  load(chunk);
  load_vectors<Format, Element>(params, slots, scales, first_vector, vectors, thread);
  ptx::cp_async_commit_group();

  float* own = partials + warp * params.rows_per_warp * vectors * 32;
  for (int i = lane; i < params.rows_per_warp * vectors * 8; i += 32) reinterpret_cast<float4*>(own)[i] = {};
  BlockPlace place(chunk * Tile::kChunkBlocks, params);
  const BlockPlace step(Tile::kChunkBlocks, params);
  if (lane == 0) {
    const int last_block = min(end * Tile::kChunkBlocks, num_blocks) - 1;
    rows_of_warp[warp] = {place.row, chunk < end ? BlockPlace(last_block, params).row : -1};
  }
  const int warp_row = place.row;
  ptx::cp_async_wait_group<0>();
  __syncthreads();

  own += lane;
  float sums[Slots::kMaxVectors] = {};
  // Units may lie across rows.
  const bool ragged = params.blocks_per_row % Tile::kBlocks != 0;
  int current = 0;  // The row, of the warp's, that the sums are of.
  auto leave = [&] {
#pragma unroll
    for (int v = 0; v < Slots::kMaxVectors; ++v) {
      if (v > 0 && v >= vectors) break;
      own[(current * vectors + v) * 32] = sums[v];
      sums[v] = 0.0f;
    }
  };
  // Where this lane's unit of small blocks is, while units don't lie across rows.
  const BlockPlace start(place.column + static_cast<int>(lane) * Tile::kBlocks, params);
  int row = start.row, column = start.column;
  for (; chunk < end; ++chunk) {
    load(chunk + 1);
    ptx::cp_async_wait_group<1>();
    __syncwarp();
    const char* unit = shared + (warp * Tile::kStages + chunk % 2) * Tile::kChunkBytes + lane * Tile::kUnitBytes;
    const int left = num_blocks - chunk * Tile::kChunkBlocks - static_cast<int>(lane) * Tile::kBlocks;
    const int first = place.column + static_cast<int>(lane) * Tile::kBlocks;
    const char *x, *entries;
    auto find = [&](int row_of_block, int slot) {
      x = slots + Slots::offset(slot);
      entries = scales + Slots::scale_offset(slot);
      if (row_of_block != current) {
        leave();
        current = row_of_block;
      }
    };
    auto find_block = [&](int i) {
      const int rounds = BlockPlace(first + i, params).row;
      find(place.row - warp_row + rounds, first + i - rounds * params.wrap);
    };
    auto multiply = [&](auto packed) {
      multiply_block<Format, Element>(sums, packed, x, entries, vectors, slots_bytes, scales_bytes);
      x += Slots::kSlotBytes;
      entries += Slots::kGroups * Slots::kEntryBytes;
    };
    if constexpr (Tile::kSmall) {
      if (ragged) {
#pragma unroll 1
        for (int i = 0; i < min(left, Tile::kBlocks); ++i) {
          find_block(i);
          multiply(PackedBlockAnywhere{unit + i * Format::kBytes});
        }
      } else if (left > 0) {
        find(row, params.wrap != 0 ? column : first);
        constexpr int kWords = Tile::kUnitBytes / 4;
        uint32_t words[kWords];
        PackedBlock<Tile::kAlignment, 0>{unit}.words(0, words);
        multiply(LoadedBlock<kWords, 0>{words});
        multiply(LoadedBlock<kWords, Format::kBytes>{words});
        if constexpr (Tile::kBlocks == 4) {
          multiply(LoadedBlock<kWords, 2 * Format::kBytes>{words});
          multiply(LoadedBlock<kWords, 3 * Format::kBytes>{words});
        }
      }
      column += step.column, row += step.row;
      if (column >= params.blocks_per_row) column -= params.blocks_per_row, ++row;
    } else {
      if (left > 0) {
        find_block(0);
        multiply(PackedBlock<Tile::kAlignment, 0>{unit});
      }
      if constexpr (Tile::kBlocks == 2) {
        if (left > 1) {
          if (ragged) find_block(1);
          multiply(PackedBlock<4, 2>{unit + Format::kBytes - 2});
        }
      }
    }
    if (!Tile::kSmall || ragged || params.wrap == 0) {
      place.row += step.row;
      place.column += step.column;
      if (place.column >= params.blocks_per_row) place.column -= params.blocks_per_row, ++place.row;
    }
    // The next copies go where this chunk was.
    __syncwarp();
  }
  leave();
  __syncthreads();
  store_rows<Format>(params, partials, rows_of_warp, first_row, num_rows, first_vector, vectors, thread);
}

}  // namespace llm_kernels
