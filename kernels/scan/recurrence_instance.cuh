// Instances of the linear recurrence.
#pragma once

#include "scan/recurrence_engine.cuh"

// Name, element type, most key channels, steps of a tile, what has a decay, dynamic shared bytes.
#define RECURRENCE_INSTANCE(NAME, T, KEYS, TILE, DECAY, SHARED)                                                        \
  static_assert(llm_kernels::RecurrenceTraits<llm_kernels::T, KEYS, TILE, llm_kernels::DecayOf::DECAY>::kSharedBytes == \
                    SHARED, "mirrored in Rust");                                                                       \
  extern "C" __global__ void __launch_bounds__(160, KEYS == 256 ? 1 : 2)                                               \
      NAME(const __grid_constant__ llm_kernels::LinearRecurrenceParams params) {                                       \
    llm_kernels::linear_recurrence<                                                                                    \
        llm_kernels::RecurrenceTraits<llm_kernels::T, KEYS, TILE, llm_kernels::DecayOf::DECAY>>(params);               \
  }
