// How the backward pass copies tiles to shared memory.
#pragma once

#include <cstdint>

#include "attention/backward_block.cuh"
#include "common/pipeline.cuh"
#include "common/tensor.cuh"

namespace llm_kernels {

// Copies a head's tiles of q, d_out and the statistics, from its last to its first. Only three pointers live as long as
// it: the rest comes from parameters and thread, anew each time.
template <typename Traits>
struct QueryLoader {
  using T = typename Traits::T;
  using QTile = typename Traits::QTile;
  static constexpr int kRowsPerPass = Traits::kThreads / 8;
  static constexpr int kChunk = 16 / sizeof(T);
  static_assert(Traits::kBlockM % kRowsPerPass == 0, "whole passes");

  // This thread's first 16 bytes of the next tile.
  const char* q;
  const char* d_out;
  const char* statistics;

  // The tile is number `slot` of all.
  __device__ __forceinline__ QueryLoader(const FlashBackwardParams& params, int batch, int head, int position,
                                         int64_t slot) {
    const unsigned thread = ptx::thread_index();
    const int row = position + thread / 8;
    q = reinterpret_cast<const char*>(params.q.row<T>(batch, row, head) + thread % 8 * kChunk);
    d_out = reinterpret_cast<const char*>(params.d_out.row<T>(batch, row, head) + thread % 8 * kChunk);
    statistics = reinterpret_cast<const char*>(params.statistics + slot * Traits::kBlockM + thread * 2);
  }

  // Issues the copies of the next tile into the stage at `shared`. Only its first `valid_rows` rows exist, if kCut.
  template <bool kCut>
  __device__ __forceinline__ void load(const FlashBackwardParams& params, uint32_t shared, int valid_rows) {
    const unsigned thread = ptx::thread_index();
    q = load_rows<kCut>(q, params.q_pass_bytes, params.q_tile_bytes, shared, valid_rows, params.d, thread);
    d_out = load_rows<kCut>(d_out, params.d_out_pass_bytes, params.d_out_tile_bytes, shared + QTile::kBytes, valid_rows,
                            params.value_d, thread);
    ptx::cp_async_16_if(thread < Traits::kStatisticsBytes / 16, shared + 2 * QTile::kBytes + thread * 16, statistics);
    statistics -= Traits::kStatisticsBytes;
  }

  template <bool kCut>
  static __device__ __forceinline__ const char* load_rows(const char* source, int64_t pass_bytes, int64_t tile_bytes,
                                                          uint32_t shared, int valid_rows, int columns,
                                                          unsigned thread) {
    const uint32_t destination = QTile{shared}.chunk_address(thread / 8, thread % 8);
    const char* from = source;
#pragma unroll
    for (int pass = 0; pass < Traits::kBlockM / kRowsPerPass; ++pass, from = ptx::opaque(from + pass_bytes)) {
      const bool row_exists = !kCut || pass * kRowsPerPass + static_cast<int>(thread / 8) < valid_rows;
#pragma unroll
      for (int panel = 0; panel < QTile::kPanels; ++panel) {
        const uint32_t to = destination + pass * kRowsPerPass * 128 + panel * QTile::kPanelBytes;
        if constexpr (kCut || Traits::kFeatures) {
          const bool exists = !Traits::kFeatures || (panel * 8 + static_cast<int>(thread % 8)) * kChunk < columns;
          ptx::cp_async_16_zero_fill(to, from + panel * 128, row_exists && exists ? 16 : 0);
        } else {
          ptx::cp_async_16(to, from + panel * 128);
        }
      }
    }
    return source - tile_bytes;
  }
};

// Copies the tile of k or v that starts at `position`, of which the first `valid_rows` rows and `columns` columns exist.
template <typename Traits>
__device__ __forceinline__ void load_keys(typename Traits::KTile tile, const SequenceTensor& tensor, int batch,
                                          int head, int position, int valid_rows, int columns, unsigned thread) {
  TileLoader<Traits::kBlockN, Traits::kHeadDim * Traits::kWidth, Traits::kThreads, Traits::kFeatures> loader(
      tile, tensor.row<typename Traits::T>(batch, position, head), tensor.sequence_stride, thread, columns);
  loader.load_cut(valid_rows);
}

}  // namespace llm_kernels
