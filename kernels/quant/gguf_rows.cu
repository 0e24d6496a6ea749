// Dequantises rows of a packed matrix: all of them, or those that ids name (an embedding).
//
//   w: [n, k] in a block format of ggml   ids: [rows] i32, or none for rows 0 to n - 1   out: [rows, k] f16, bf16 or f32
//
// Every weight is what the format defines, bit for bit in f32, times a scale, then rounded to out's type. Block: one or more rows, or a
// part of one, of at most kThreads groups of 32 weights. Thread: decodes a group; then neighbouring elements go to
// neighbouring threads. Memory: every packed byte once, out once. An id outside [0, n) gives a row of NaN.
// Derivation: src/quant/gguf_rows/README.md
#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/quant/formats.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/gguf_rows/params.rs.
struct RowsParams {
  const char* w;      // A multiple of 16.
  const int32_t* ids; // Null for all rows.
  void* out;
  int64_t w_bytes;    // All rows of w.
  int64_t out_stride; // In elements, between rows.
  int64_t num_rows;   // Of out.
  int32_t n;
  int32_t blocks_per_row;
  int32_t rows_per_tile; // More than 1 only if parts_per_row is 1.
  int32_t parts_per_row; // Thread blocks that share a row.
  int32_t out_type;
  int32_t stage_bytes;   // Shared memory for the packed bytes of a row or part.
  float scale;
  int32_t padding;
};

static_assert(sizeof(RowsParams) == 80 && offsetof(RowsParams, n) == 48 && offsetof(RowsParams, scale) == 72,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
// A column of padding: the threads of a warp write 32 weights each without bank conflicts.
constexpr int kPitch = 33;

template <typename Format>
__device__ __forceinline__ void dequantise_rows(const RowsParams& params) {
  constexpr int kGroups = Format::kWeights / 32;
  constexpr int kPartBlocks = kThreads / kGroups;
  extern __shared__ __align__(16) char stages[];  // [rows_per_tile][stage_bytes]
  __shared__ float values[kThreads * kPitch];
  const int thread = ptx::thread_index();
  const int64_t tile = ptx::block_index();
  const int64_t first_row = tile / params.parts_per_row * params.rows_per_tile;
  const int first_block = static_cast<int>(tile % params.parts_per_row) * kPartBlocks;
  const int num_rows = static_cast<int>(min(static_cast<int64_t>(params.rows_per_tile), params.num_rows - first_row));
  const int num_blocks = min(params.blocks_per_row - first_block, kPartBlocks);

  auto row_of = [&](int row) {
    return params.ids == nullptr ? first_row + row : static_cast<int64_t>(params.ids[first_row + row]);
  };
  auto start_of = [&](int64_t row) {
    return (row * params.blocks_per_row + first_block) * static_cast<int64_t>(Format::kBytes);
  };
  for (int r = 0; r < num_rows; ++r) {
    const int64_t row = row_of(r);
    if (row < 0 || row >= params.n) continue;
    // From the multiple of 16 at or before the first byte, to the end of the word that the last one is in.
    const int64_t start = start_of(row), aligned = start & ~int64_t{15};
    for (int64_t at = aligned + thread * 16; at < start + num_blocks * Format::kBytes + 2; at += kThreads * 16) {
      const uint32_t bytes = static_cast<uint32_t>(max(int64_t{0}, min(params.w_bytes - at, int64_t{16})));
      ptx::cp_async_16_zero_fill(ptx::shared_address(stages + r * params.stage_bytes + (at - aligned)), bytes > 0 ? params.w + at : params.w,
                                 bytes);
    }
  }
  ptx::cp_async_commit_group();
  ptx::cp_async_wait_group<0>();
  __syncthreads();

  const int groups_per_row = num_blocks * kGroups;
  const int r = thread / groups_per_row, group_of_row = thread - r * groups_per_row;
  if (r < num_rows) {
    float* to = values + thread * kPitch;
    const int64_t row = row_of(r);
    if (row < 0 || row >= params.n) {
      for (int i = 0; i < 32; ++i) to[i] = CUDART_NAN_F;
    } else {
      const PackedBlockAnywhere block = {stages + r * params.stage_bytes + (start_of(row) & 15) +
                                         group_of_row / kGroups * Format::kBytes};
      const int group = group_of_row % kGroups;
      const auto header = Format::header(block);
      const auto weights = Format::decode(block, header, group);
#pragma unroll
      for (int i = 0; i < 32; ++i) to[i] = __fmul_rn(params.scale, dequantised_weight<Format>(header, weights, group, i));
    }
  }
  __syncthreads();
  const int row_weights = groups_per_row * 32;
  for (int out_row = 0; out_row < num_rows; ++out_row) {
    const int64_t to = (first_row + out_row) * params.out_stride + static_cast<int64_t>(first_block) * Format::kWeights;
    for (int i = thread; i < row_weights; i += kThreads) {
      const int weight = out_row * row_weights + i;
      store_element(params.out, to + i, values[weight / 32 * kPitch + weight % 32], params.out_type);
    }
  }
}

}  // namespace
}  // namespace llm_kernels

#define ROWS_INSTANCE(NAME, FORMAT)                                                               \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)                             \
      NAME(const __grid_constant__ llm_kernels::RowsParams params) {                              \
    llm_kernels::dequantise_rows<llm_kernels::FORMAT>(params);                                    \
  }

ROWS_INSTANCE(gguf_rows_q4_0, Q4_0)
ROWS_INSTANCE(gguf_rows_q4_1, Q4_1)
ROWS_INSTANCE(gguf_rows_q5_0, Q5_0)
ROWS_INSTANCE(gguf_rows_q5_1, Q5_1)
ROWS_INSTANCE(gguf_rows_q8_0, Q8_0)
ROWS_INSTANCE(gguf_rows_q2_k, Q2_K)
ROWS_INSTANCE(gguf_rows_q3_k, Q3_K)
ROWS_INSTANCE(gguf_rows_q4_k, Q4_K)
ROWS_INSTANCE(gguf_rows_q5_k, Q5_K)
ROWS_INSTANCE(gguf_rows_q6_k, Q6_K)
ROWS_INSTANCE(gguf_rows_iq4_nl, IQ4_NL)
ROWS_INSTANCE(gguf_rows_iq4_xs, IQ4_XS)
