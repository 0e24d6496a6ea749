// The kernel around gguf_vector.cuh: copies, rows, sums.
#pragma once

#include "common/reduce.cuh"
#include "quant/gguf_vector.cuh"

namespace llm_kernels {

// The place of a block in a tile: a row, and a block of it.
struct BlockPlace {
  int row, column;

  __device__ __forceinline__ BlockPlace(int block, const VectorParams& params)
      : row(__umulhi(2 * block, params.inverse)), column(block - row * params.blocks_per_row) {}
};

// Fills the slots with `vectors` rows of x from `first` on.
template <typename Format, typename Element>
__device__ __forceinline__ void load_vectors(const VectorParams& params, char* slots, char* scales, int first,
                                             int vectors, unsigned thread) {
  using Slots = VectorSlots<Format, Element>;
  constexpr int kThreads = VectorTile<Format>::kThreads;
  constexpr int kChunks = Slots::kSlotBytes / 16, kGroups = Slots::kGroups;
  const int num_slots = params.blocks_per_row + 32 * Slots::kBlocks - 1;
  for (int v = 0; v < vectors; ++v) {
    const int64_t row = (first + v) * params.x_stride;
    for (int item = thread; item < num_slots * kChunks; item += kThreads) {
      const int slot = item / kChunks, chunk = item % kChunks;
      const int64_t from = row + BlockPlace(slot, params).column * Format::kWeights + chunk * (16 / sizeof(Element));
      char* to = slots + Slots::offset(slot) + chunk * 16;
      if constexpr (Slots::kQuantised) {
        ptx::cp_async_16(ptx::shared_address(to), static_cast<const char*>(params.x) + from);
      } else {
        *reinterpret_cast<float4*>(to) = load_four(params.x, from, params.x_type);
      }
    }
    if constexpr (Slots::kQuantised) {
      const uint2* from = params.x_scales + static_cast<int64_t>(first + v) * params.blocks_per_row * kGroups;
      for (int item = thread; item < num_slots * kGroups; item += kThreads) {
        const int slot = item / kGroups, group = item % kGroups;
        *reinterpret_cast<uint2*>(scales + Slots::scale_offset(slot) + group * 8) =
            from[BlockPlace(slot, params).column * kGroups + group];
      }
      scales += Slots::scale_bytes(params.blocks_per_row);
    }
    slots += Slots::bytes(params.blocks_per_row);
  }
}

// Issues the copies of a chunk of which `valid` bytes exist; the others become zero.
template <typename Format>
__device__ __forceinline__ void load_chunk(uint32_t stage, const char* source, int64_t valid, unsigned lane) {
  constexpr int kBytes = VectorTile<Format>::kChunkBytes;
  source += lane * 16;
  stage += lane * 16;
  const bool whole = valid >= kBytes;
#pragma unroll
  for (int at = 0; at < kBytes; at += 512) {
    if (at + 512 > kBytes && at + static_cast<int>(lane) * 16 >= kBytes) break;
    if (whole) {
      ptx::cp_async_16(stage + at, source + at);
    } else {
      const int left = static_cast<int>(valid) - at - static_cast<int>(lane) * 16;
      ptx::cp_async_16_zero_fill(stage + at, left > 0 ? source + at : source - lane * 16, max(0, min(left, 16)));
    }
  }
}

// Adds the products of one block to the sums of each vector.
template <typename Format, typename Element, typename Block>
__device__ __forceinline__ void multiply_block(float (&sums)[VectorSlots<Format, Element>::kMaxVectors], Block block,
                                               const char* slots, const char* scales, int slot, int vectors, int slots_bytes,
                                               int scales_bytes) {
  using Slots = VectorSlots<Format, Element>;
  constexpr int kUnrolled = Slots::kQuantised && Slots::kGroups == 8 ? 4 : 1;
  const auto header = Format::header(block);
  const char* x = slots + Slots::offset(slot);
  const char* scale = scales + Slots::scale_offset(slot);
  // Unrolled as far as groups share words.
#pragma unroll 1
  for (int half = 0; half < Slots::kGroups; half += kUnrolled) {
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) {
      const int group = half + i;
      const auto weights = Format::decode(block, header, group);
      const char* from = x + group * 32 * sizeof(Element);
      if constexpr (Slots::kQuantised) {
#pragma unroll
        for (int v = 0; v < Slots::kMaxVectors; ++v) {
          if (v >= vectors) break;
          const uint2 factors = *reinterpret_cast<const uint2*>(scale + group * 8 + v * scales_bytes);
          accumulate<Format>(sums[v], header, weights, group, from + v * slots_bytes, factors);
        }
      } else {
#pragma unroll
        for (int part = 0; part < 32; part += 8) {
          float values[8];
#pragma unroll
          for (int w = 0; w < 8; ++w) values[w] = dequantised_weight<Format>(header, weights, group, part + w);
#pragma unroll
          for (int v = 0; v < Slots::kMaxVectors; ++v) {
            if (v >= vectors) break;
            accumulate(sums[v], values, from + v * slots_bytes + part * 4);
          }
        }
      }
    }
  }
}

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
      for (int i = 0; i < 8; ++i) sum += of_row[(4 * (i + item) + part) % 32];
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
  extern __shared__ __align__(16) char shared[];
  __shared__ int2 rows_of_warp[Tile::kWarps];
  const unsigned thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32;
  const int first_row = ptx::block_index() * params.rows_per_tile;
  const int num_rows = min(params.rows_per_tile, params.n - first_row);
  const int first_vector = ptx::block_index<1>() * params.vectors_per_block;
  const int vectors = min(params.vectors_per_block, params.m - first_vector);
  const int slots_bytes = Slots::bytes(params.blocks_per_row), scales_bytes = Slots::scale_bytes(params.blocks_per_row);
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
  auto load = [&](int i) {
    const int64_t at = static_cast<int64_t>(i) * Tile::kChunkBytes;
    if (i < end) {
      load_chunk<Format>(stages + i % 2 * Tile::kChunkBytes, params.w + tile + at, tile_bytes - at, lane);
    }
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
  int current = 0;  // The row, of the warp's, that the sums are of.
  auto leave = [&] {
#pragma unroll
    for (int v = 0; v < Slots::kMaxVectors; ++v) {
      if (v >= vectors) break;
      own[(current * vectors + v) * 32] = sums[v];
      sums[v] = 0.0f;
    }
  };
  for (; chunk < end; ++chunk) {
    load(chunk + 1);
    ptx::cp_async_wait_group<1>();
    __syncwarp();
    const char* unit = shared + warp * (Tile::kStages * Tile::kChunkBytes) + chunk % 2 * Tile::kChunkBytes + lane * Tile::kUnitBytes;
    const int left = num_blocks - chunk * Tile::kChunkBlocks - static_cast<int>(lane) * Tile::kBlocks;
    const int slot = place.column + static_cast<int>(lane) * Tile::kBlocks;
    auto block = [&](auto packed, int i) {
      if (i >= left) return;
      // The second block of a unit is of another row only where rows have an odd number of blocks.
      if (i == 0 || params.blocks_per_row % 2 != 0) {
        const int row = place.row - warp_row + BlockPlace(slot + i, params).row;
        if (row != current) {
          leave();
          current = row;
        }
      }
      multiply_block<Format, Element>(sums, packed, slots, scales, slot + i, vectors, slots_bytes, scales_bytes);
    };
    block(PackedBlock<Tile::kAlignment, 0>{unit}, 0);
    if constexpr (Tile::kBlocks == 2) block(PackedBlock<4, 2>{unit + Format::kBytes - 2}, 1);
    place.row += step.row;
    place.column += step.column;
    if (place.column >= params.blocks_per_row) place.column -= params.blocks_per_row, ++place.row;
    // The next copies go where this chunk was.
    __syncwarp();
  }
  leave();
  __syncthreads();
  store_rows<Format>(params, partials, rows_of_warp, first_row, num_rows, first_vector, vectors, thread);
}

}  // namespace llm_kernels
