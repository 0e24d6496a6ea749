// One token of the selective scan, see selective_scan.cu.
//
//   u, delta, z, out: [b, dim]   A: [dim, n]   B, C: [b, groups, n]   D, delta_bias: [dim]
//   state: [b, dim, n], in place
//
//   h = exp(delta A) h + delta B u,  delta = softplus(delta + delta_bias),  out = (sum over n of C h + D u) silu(z)
//
// kTogether neighbouring lanes own as many states of a channel of a sequence as lanes of the scan do, and kGroups such
// groups of lanes its channel, each kStates of a lane's; neighbouring lanes move neighbouring 16 bytes of them.
// Accumulation: f32, in the order of the scan: the same bits. Memory: the state once in, once out.
// Derivation: src/scan/selective_step/README.md
#include <cstddef>
#include <cstdint>

#include "fused/activation.cuh"
#include "scan/selective_tile.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/scan/selective_step/params.rs. Sequences are the positions of the tensors.
struct SelectiveStepParams {
  SequenceTensor u;
  SequenceTensor delta;
  SequenceTensor z;         // Null data: no gate.
  SequenceTensor out;
  SequenceTensor B;
  SequenceTensor C;
  const float* A;
  const float* D;           // Null: 0.
  const float* delta_bias;  // Null: 0.
  float* state;
  uint32_t num_channels;    // b * dim
  uint32_t dim;
  int32_t d_state;
  int32_t channels_of_group;
  ElementType type;         // Of u, delta, z, out, B and C.
  int32_t softplus;
};

static_assert(sizeof(SelectiveStepParams) == 248 && offsetof(SelectiveStepParams, A) == 192 &&
                  offsetof(SelectiveStepParams, num_channels) == 224 && offsetof(SelectiveStepParams, softplus) == 244,
              "mirrored in Rust");

namespace {

constexpr int kThreads = 128;

template <int kGroups, int kStates>
__device__ __forceinline__ void selective_step(const SelectiveStepParams& params) {
  constexpr int kLanes = kTogether * kGroups;
  const uint32_t index = (blockIdx.x * kThreads + threadIdx.x) / kLanes;
  // Warps stay together: lanes past the last channel work for it too, without its state, and store nothing.
  const bool exists = index < params.num_channels;
  const uint32_t pair = exists ? index : params.num_channels - 1;
  const int batch = pair / params.dim, channel = pair % params.dim;
  const ChannelStates<kTogether, kStates> own = {static_cast<int>(threadIdx.x % kTogether)};
  const int lane = threadIdx.x % kLanes;
  // Of the lane's group, and how many there are from there on.
  const int first_state = lane / kTogether * (kTogether * kStates), num_states = params.d_state - first_state;
  const ElementType type = params.type;
  const auto number = [&](const SequenceTensor& tensor) {
    Units<1> unit;
    PositionRows(tensor, type, 0, batch, 0, channel).load(0, 0, unit, 0);
    float value[1][1];
    unpack(type, unit, value);
    return value[0][0];
  };
  float* state = params.state + static_cast<int64_t>(pair) * params.d_state + first_state;
  float A[kStates] = {}, h[kStates] = {};
  own.load(exists ? state : nullptr, num_states, 1.0f, h);
  own.load(params.A + static_cast<int64_t>(channel) * params.d_state + first_state, num_states, CUDART_L2E_F, A);
  const auto coefficients = [&](const SequenceTensor& tensor, float(&values)[kStates / kScanUnit][kScanUnit]) {
    Units<kScanUnit, kStates / kScanUnit> units = {};
    const PositionRows rows(tensor, type, 0, batch, channel / params.channels_of_group, first_state);
#pragma unroll
    for (int i = 0; i < kStates / kScanUnit; ++i) {
      if (own.state(i * kScanUnit) < num_states) rows.load(0, own.state(i * kScanUnit), units, i);
    }
    unpack(type, units, values);
  };
  float B[kStates / kScanUnit][kScanUnit], C[kStates / kScanUnit][kScanUnit];
  coefficients(params.B, B);
  coefficients(params.C, C);

  const float u = number(params.u);
  float delta = number(params.delta) + (params.delta_bias == nullptr ? 0.0f : params.delta_bias[channel]);
  if (params.softplus) delta = softplus(delta);
  const float delta_u = delta * u;
#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    h[i] = __fmaf_rn(ptx::ex2_approx_ftz(delta * A[i]), h[i], delta_u * B[i / kScanUnit][i % kScanUnit]);
  }
  // The order of the scan's sums: those of a lane one after the other, each group from where the one before ended, then
  // over lanes.
  float sum = 0.0f;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) sum = __fmaf_rn(C[i / kScanUnit][i % kScanUnit], h[i], sum);
    if (kGroups > 1) sum = __shfl_sync(kAllLanes, sum, group * kTogether + own.lane, kLanes);
  }
  sum += __shfl_xor_sync(kAllLanes, sum, 2);
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  if (!exists) return;
  own.store(state, num_states, h);
  if (lane > 0) return;
  float result[1][1] = {{__fmaf_rn(params.D == nullptr ? 0.0f : params.D[channel], u, sum)}};
  if (params.z.data != nullptr) result[0][0] *= activate<Activation::kSilu>(number(params.z));
  Units<1> unit;
  pack(type, result, unit);
  PositionRows(params.out, type, 0, batch, 0, channel).store(0, 0, unit, 0);
}

}  // namespace
}  // namespace llm_kernels

// Name, groups of lanes of a channel, states of a lane.
#define SELECTIVE_STEP_INSTANCE(NAME, GROUPS, STATES)                               \
  extern "C" __global__ void __launch_bounds__(llm_kernels::kThreads)               \
      NAME(const __grid_constant__ llm_kernels::SelectiveStepParams params) {       \
    llm_kernels::selective_step<GROUPS, STATES>(params);                            \
  }

SELECTIVE_STEP_INSTANCE(selective_step_16, 1, 4)
SELECTIVE_STEP_INSTANCE(selective_step_64, 1, 16)
SELECTIVE_STEP_INSTANCE(selective_step_256, 4, 16)
