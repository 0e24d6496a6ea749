// Sums in global memory to which blocks add one after the other, in an order that is the same in every run.
//
// Each sum has a counter of the blocks that have added to it. Block number n waits until it is n, loads the sum, adds,
// stores, and counts up. One thread waits before a barrier, and counts up behind one: barriers order what the block's other
// threads do. Waiting ends: a block takes its work by a ticket, in an order in which nobody waits for a later one, so that
// what it waits for has been begun by a block that runs.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/ptx/sleep.cuh"

namespace llm_kernels {

// The next number of a counter that begins at 0.
__device__ __forceinline__ unsigned take_ticket(uint32_t* counter) { return atomicAdd(counter, 1u); }

// Waits until `turn` blocks have added. What they have stored is visible then.
//
// Each of those before takes its time, some microseconds. So it sleeps the longer the more there are, and looks often only
// when it is next.
__device__ __forceinline__ void wait_for_turn(const uint32_t* counter, int turn) {
  constexpr int kNanosecondsEach = 250, kMost = 4000;
  while (true) {
    const int before = turn - static_cast<int>(ptx::ld_acquire_gpu(counter));
    if (before <= 0) return;
    ptx::nanosleep(min(before, kMost) * kNanosecondsEach);
  }
}

// Lets the next block add.
__device__ __forceinline__ void pass_turn(uint32_t* counter) { ptx::red_release_gpu_add(counter, 1); }

}  // namespace llm_kernels
