// Rotary position embedding: rotates pairs of elements by the position times the pair's frequency.
//
//   x, out: [b, s, h, d] f32, f16 or bf16   positions: [b, s] i32   inverse_frequencies: [n] f32, 2 n <= d
//
//   pair i is (x[i], x[i + n]), or interleaved (x[2 i], x[2 i + 1]); elements from 2 n on stay
//   (a, b) -> magnitude (a cos t - b sin t, b cos t + a sin t), t = position * inverse_frequencies[i]
//
// Thread: the kUnit pairs of two units, the same for all tokens and heads that it goes through, so that frequencies are
// loaded once and sines are computed once a token. Arithmetic: f32, angles to twice that. Memory: x once, out once.
// Derivation: src/fused/rope/README.md
#include <cstddef>
#include <cstdint>

#include "common/rotation.cuh"
#include "common/rows.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/rope/params.rs.
struct RopeParams {
  RowTensor x;           // Strides of b, s and h.
  RowTensor out;         // Of the same memory as x, if it is rotated in place.
  const int32_t* positions;
  int64_t position_strides[2];
  Rotation rotation;
  uint32_t num_tokens;   // b * s.
  uint32_t s, h, d;
  uint32_t head_groups;  // Threads that share the heads of a token.
  int32_t in_place;
};

static_assert(sizeof(RopeParams) == 152 && offsetof(RopeParams, rotation) == 104 &&
                  offsetof(RopeParams, num_tokens) == 128 && offsetof(RopeParams, in_place) == 148,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;
// Heads whose loads are under way together.
constexpr int kHeads = 2;

template <int kUnit>
__device__ __forceinline__ void rope(const RopeParams& params) {
  const Rotation& rotation = params.rotation;
  const uint32_t units = rotation.num_pairs / kUnit;
  // Thread to (token, group of heads, unit), the unit fastest.
  __shared__ alignas(16) float shared_frequencies[kThreads * kUnit];
  const uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t unit = index % units;
  const uint32_t group = index / units % params.head_groups;
  const uint32_t threads_per_token = units * params.head_groups;
  const uint32_t token_step = gridDim.x * kThreads / threads_per_token;
  uint32_t token = index / threads_per_token;
  // Through shared memory, where they fit: the threads of a block want the same ones.
  const bool fit = rotation.num_pairs <= kThreads * kUnit;
  if (fit) {
    for (uint32_t i = threadIdx.x; i < rotation.num_pairs; i += kThreads) {
      shared_frequencies[Rotation::place(i)] = rotation.inverse_frequencies[i];
    }
    __syncthreads();
  }
  // The grid's last threads may be fewer than a token takes.
  if (token >= token_step) return;

  float frequencies[kUnit];
  if (fit) {
    rotation.load_shared<kUnit>(shared_frequencies, unit, frequencies);
  } else {
    rotation.load<kUnit>(unit, frequencies);
  }
  const uint32_t first = rotation.first<kUnit>(unit), second = rotation.second<kUnit>(unit);
  const uint32_t tail = params.in_place ? 0 : (params.d - 2 * rotation.num_pairs) / kUnit;
  for (; token < params.num_tokens; token += token_step) {
    const uint32_t batch = params.s == params.num_tokens ? 0 : token / params.s;
    const uint32_t position_of_batch = token - batch * params.s;
    const int32_t position =
        ptx::ld_global_4(params.positions + batch * params.position_strides[0] +
                         position_of_batch * params.position_strides[1]);
    float sines[kUnit], cosines[kUnit];
    rotation.angles<kUnit>(position, frequencies, sines, cosines);

    const auto row = [&](const RowTensor& tensor, uint32_t head) {
      const Row start{static_cast<char*>(tensor.data), tensor.type};
      return Row{start.at(batch * tensor.strides[0] + position_of_batch * tensor.strides[1] +
                          head * tensor.strides[2]), tensor.type};
    };
    for (uint32_t head = group; head < params.h; head += kHeads * params.head_groups) {
      Units<kUnit, 2> pairs[kHeads] = {};
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (head + i * params.head_groups >= params.h) continue;
        const Row source = row(params.x, head + i * params.head_groups);
        source.load_at(first, pairs[i], 0);
        source.load_at(second, pairs[i], 1);
      }
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (head + i * params.head_groups >= params.h) continue;
        const Row target = row(params.out, head + i * params.head_groups);
        float values[2][kUnit];
        unpack(params.x.type, pairs[i], values);
        rotation.rotate<kUnit>(values, sines, cosines);
        pack(target.type, values, pairs[i]);
        target.store_at(first, pairs[i], 0);
        target.store_at(second, pairs[i], 1);
        // What is not rotated is copied.
        const Row source = row(params.x, head + i * params.head_groups);
        for (uint32_t rest = unit; rest < tail; rest += units) {
          Units<kUnit> copy = {};
          float copied[1][kUnit];
          source.load_at(2 * rotation.num_pairs + rest * kUnit, copy, 0);
          unpack(source.type, copy, copied);
          pack(target.type, copied, copy);
          target.store_at(2 * rotation.num_pairs + rest * kUnit, copy, 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace llm_kernels

// Name, elements of a unit.
#define ROPE_INSTANCE(NAME, UNIT)                                             \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)         \
      NAME(const __grid_constant__ llm_kernels::RopeParams params) {          \
    llm_kernels::rope<UNIT>(params);                                          \
  }

ROPE_INSTANCE(rope_unit8, 8)
ROPE_INSTANCE(rope_unit4, 4)
ROPE_INSTANCE(rope_unit1, 1)
