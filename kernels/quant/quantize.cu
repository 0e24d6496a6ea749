// Rounds weights to codes of 4 or 8 bits in groups, packed for quant/weight_only; or activations to 8 bits, row by row.
//
//   x: [n, k] f16, bf16 or f32   codes, scales, zeros: as kernels/common/quant/grouped.cuh says
//   or   q: [n, k] i8 or e4m3, scales: [n] f32
//   or   q: [n * k / 2] bytes of two codes of NF4, magnitudes: [n * k / block] f32, and quantised themselves
//
// quantize_groups: a warp has a group of rows g and g + 8 of a tile, and goes over it twice. quantize_rows: a block has a row.
// quantize_blocks and the kernels of magnitudes: see quantize_blocks.cuh.
// Bit for bit what the definition gives: every operation is rounded by itself. Derivation: src/quant/quantize/README.md
#include <cstddef>
#include <cstdint>

#include "common/cache_format.cuh"
#include "common/ptx.cuh"
#include "common/quant/element.cuh"
#include "common/reduce.cuh"
#include "quant/quantize_blocks.cuh"
#include "quant/quantize_nf4.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/quant/quantize/params.rs.
enum QuantizeKind : int32_t { kInt4 = 0, kInt8 = 1, kNf4 = 2 };

struct QuantizeParams {
  const void* x;          // Of type x_type.
  uint8_t* q;
  void* scales;           // Of type scales_type; of rows f32.
  uint8_t* zeros;         // Null: symmetric.
  int64_t x_stride;       // In elements, between rows.
  int64_t q_stride;       // Likewise, of rows.
  int64_t num_groups;     // Of all tiles and 8 rows of each: warps.
  int32_t n, k;
  int32_t num_chunks;     // Of a row, when packed.
  int32_t packed_groups;
  int32_t group_columns;  // Columns of a group, the last ones perhaps added.
  int32_t kind;           // Of rows a CacheFormat.
  int32_t x_type, scales_type;
};

static_assert(sizeof(QuantizeParams) == 88 && offsetof(QuantizeParams, n) == 56 &&
                  offsetof(QuantizeParams, scales_type) == 84,
              "mirrored in Rust");

namespace {

constexpr int kThreads = kQuantizeThreads;

// How a group's weights become codes.
struct GroupScale {
  float scale;  // As it is stored.
  int zero;
  bool valid;   // Scale and weights are finite, and the scale is not 0.

  __device__ __forceinline__ int code(float x, int kind, int largest_code) const {
    if (!valid) return zero;
    const float quotient = __fdiv_rn(x, scale);
    if (kind == kNf4) return nf4_code(quotient);
    // Not so large that an integer overflows.
    const int rounded = __float2int_rn(fminf(fmaxf(quotient, -1024.0f), 1024.0f));
    return max(0, min(rounded + zero, largest_code));
  }
};

__device__ __forceinline__ float rounded_to(float x, int type) {
  return type == kF16 ? f16::unpack(f16::pack(x, 0.0f)).x : bf16::unpack(bf16::pack(x, 0.0f)).x;
}

// Of a group of a row, by all lanes of a warp.
__device__ __forceinline__ GroupScale group_scale(const QuantizeParams& params, int64_t row, int first, int end, unsigned lane) {
  float lowest = 0.0f, highest = 0.0f, probe = 0.0f;
  for (int column = first + lane; column < end; column += 32) {
    const float x = load_element(params.x, row * params.x_stride + column, params.x_type);
    lowest = fminf(lowest, x), highest = fmaxf(highest, x);
    // NaN for a NaN or an infinity.
    probe = __fmaf_rn(x, 0.0f, probe);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    lowest = fminf(lowest, __shfl_xor_sync(kAllLanes, lowest, distance));
    highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, distance));
  }
  probe = warp_sum(probe);
  const float largest = fmaxf(-lowest, highest), steps = params.kind == kInt8 ? 255.0f : 15.0f;
  float scale = largest;
  if (params.kind != kNf4) scale = __fdiv_rn(params.zeros != nullptr ? __fsub_rn(highest, lowest) : __fadd_rn(largest, largest), steps);
  scale = rounded_to(scale, params.scales_type);
  const bool finite = probe == 0.0f && scale * 0.0f == 0.0f;
  GroupScale result = {finite ? scale : __uint_as_float(0x7fc00000u), 0, finite && scale > 0.0f};
  if (params.kind == kNf4) {
    result.zero = 7;
  } else if (params.zeros == nullptr) {
    result.zero = params.kind == kInt8 ? 128 : 8;
  } else if (result.valid) {
    result.zero = min(__float2int_rn(fminf(__fdiv_rn(-lowest, scale), 1024.0f)), static_cast<int>(steps));
  }
  return result;
}

__device__ __forceinline__ void quantize_groups(const QuantizeParams& params) {
  const unsigned thread = ptx::thread_index(), lane = thread % 32;
  const int64_t item = static_cast<int64_t>(ptx::block_index()) * (kThreads / 32) + thread / 32;
  if (item >= params.num_groups) return;
  const int g = item % 8;
  const int64_t tile_group = item / 8, tile = tile_group / params.packed_groups;
  const int group = static_cast<int>(tile_group - tile * params.packed_groups);
  const int first = group * params.group_columns, columns_end = min(first + params.group_columns, params.num_chunks * 64);
  const int end = min(columns_end, params.k);
  const int largest_code = params.kind == kInt8 ? 255 : 15;

  GroupScale scales[2] = {};
  const int64_t first_row = tile * 16 + g;
#pragma unroll
  for (int upper = 0; upper < 2; ++upper) {
    const int64_t row = first_row + upper * 8;
    if (row >= params.n || first >= params.k) continue;
    scales[upper] = group_scale(params, row, first, end, lane);
  }
  if (lane < 2) {
    const int64_t to = (tile_group * 8 + g) * 2 + lane;
    const bool exists = first_row + lane * 8 < params.n && first < params.k;
    const float scale = lane == 0 ? scales[0].scale : scales[1].scale;
    const int zero = lane == 0 ? scales[0].zero : scales[1].zero;
    store_element(params.scales, to, exists ? scale : 0.0f, params.scales_type);
    if (params.zeros != nullptr) params.zeros[to] = static_cast<uint8_t>(exists ? zero : 0);
  }
  for (int column = first + lane; column < columns_end; column += 32) {
    int codes[2] = {};
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const int64_t row = first_row + upper * 8;
      if (row >= params.n || column >= params.k) continue;
      codes[upper] = scales[upper].code(load_element(params.x, row * params.x_stride + column, params.x_type), params.kind,
                                        largest_code);
      // Of 8 bits: less 128.
      if (params.kind == kInt8) codes[upper] ^= 0x80;
    }
    const int64_t chunk = tile * params.num_chunks + column / 64;
    const int owner = g * 4 + column % 32 / 8, product = column % 64 / 32 * 2 + column % 8 / 4;
    if (params.kind == kInt8) {
      const int64_t to = chunk * 1024 + product / 2 * 512 + owner * 16 + (product % 2 * 2 + column % 4 / 2) * 4 + column % 2 * 2;
      *reinterpret_cast<uint16_t*>(params.q + to) = static_cast<uint16_t>(codes[0] | codes[1] << 8);
    } else {
      params.q[chunk * 512 + owner * 16 + product * 4 + column % 2 * 2 + column % 4 / 2] =
          static_cast<uint8_t>(codes[0] | codes[1] << 4);
    }
  }
}

__device__ __forceinline__ void quantize_rows(const QuantizeParams& params) {
  __shared__ uint32_t magnitudes[kThreads / 32];
  const int thread = ptx::thread_index();
  const int64_t row = ptx::block_index();
  const auto format = static_cast<CacheFormat>(params.kind);
  auto load = [&](int column, float (&x)[4]) {
    const float4 four = load_four(params.x, row * params.x_stride + column, params.x_type);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  };
  uint32_t magnitude = 0;
  for (int column = thread * 4; column < params.k; column += kThreads * 4) {
    float x[4];
    load(column, x);
#pragma unroll
    for (int i = 0; i < 4; ++i) magnitude = max(magnitude, __float_as_uint(x[i]) & 0x7fffffffu);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    magnitude = max(magnitude, __shfl_xor_sync(kAllLanes, magnitude, distance));
  }
  if (thread % 32 == 0) magnitudes[thread / 32] = magnitude;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) magnitude = max(magnitude, magnitudes[warp]);
  const RowScale scale(magnitude, 1, format);
  if (thread == 0) static_cast<float*>(params.scales)[row] = scale.scale;
  char* to = reinterpret_cast<char*>(params.q) + row * params.q_stride;
  for (int column = thread * 4; column < params.k; column += kThreads * 4) {
    float x[4];
    load(column, x);
    scale.store<4>(to + column, x, format);
  }
}

}  // namespace
}  // namespace llm_kernels

extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)
    quantize_groups(const __grid_constant__ llm_kernels::QuantizeParams params) {
  llm_kernels::quantize_groups(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)
    quantize_rows(const __grid_constant__ llm_kernels::QuantizeParams params) {
  llm_kernels::quantize_rows(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantizeThreads)
    quantize_blocks(const __grid_constant__ llm_kernels::QuantizeBlocksParams params) {
  llm_kernels::quantize_blocks(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantizeThreads)
    quantize_block_sums(const __grid_constant__ llm_kernels::QuantizeBlocksParams params) {
  llm_kernels::add_magnitudes(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantizeThreads)
    quantize_block_offset(const __grid_constant__ llm_kernels::QuantizeBlocksParams params) {
  llm_kernels::add_sums(params);
}

extern "C" __global__ void __launch_bounds__(llm_kernels::kQuantizeThreads)
    quantize_block_magnitudes(const __grid_constant__ llm_kernels::QuantizeBlocksParams params) {
  llm_kernels::quantize_magnitudes(params);
}
