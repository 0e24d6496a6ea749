// Races on device memory, within a block and between blocks.
#include "program.cuh"
#include <cooperative_groups.h>

// Of this many words of `in` the last ones serve as flags and counters: they start from numbers that are known.
constexpr uint32_t kCounter = 4000;

// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel two_blocks_write_one_word, PTX line 39, global_races.cu:15
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel two_blocks_write_one_word, PTX line 39, global_races.cu:15
PROGRAM(two_blocks_write_one_word) { out[threadIdx.x] = blockIdx.x; }
// clean <<<2, 32>>>
PROGRAM(each_block_writes_its_own) { out[32 * blockIdx.x + threadIdx.x] = blockIdx.x; }
// benign <<<2, 32>>>
// | benign race, the same value by both, on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel two_blocks_write_the_same, PTX line 88, global_races.cu:25
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel two_blocks_write_the_same, PTX line 88, global_races.cu:25
PROGRAM(two_blocks_write_the_same) { out[threadIdx.x] = in[threadIdx.x]; }

// fault <<<2, 64>>>
// | race on 4 bytes at device address 0x700000000300, 256 bytes into the allocation at 0x700000000200 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel smoothing_in_place, PTX line 122, global_races.cu:38
// |   not ordered after the load
// |   by thread (63, 0, 0) of block (0, 0, 0)
// |   at kernel smoothing_in_place, PTX line 117, global_races.cu:36
PROGRAM(smoothing_in_place) {
    uint32_t i = 64 * blockIdx.x + threadIdx.x;
    uint32_t value = in[i] + in[i + 1];
    __syncthreads();
    in[i] = value;
}
// clean <<<2, 64>>>
PROGRAM(smoothing_to_another_place) {
    uint32_t i = 64 * blockIdx.x + threadIdx.x;
    out[i] = in[i] + in[i + 1];
}

// fault <<<2, 64>>>
// | race on 4 bytes at device address 0x700000000300, 256 bytes into the allocation at 0x700000000200 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel sum_of_what_other_blocks_write, PTX line 185, global_races.cu:54
// |   not ordered after the load
// |   by thread (63, 0, 0) of block (0, 0, 0)
// |   at kernel sum_of_what_other_blocks_write, PTX line 194, global_races.cu:56
PROGRAM(sum_of_what_other_blocks_write) {
    in[64 * blockIdx.x + threadIdx.x] = 2 * threadIdx.x;
    __syncthreads();
    out[64 * blockIdx.x + threadIdx.x] = in[127 - 64 * blockIdx.x - threadIdx.x];
}
// clean <<<2, 64>>>
PROGRAM(sum_of_what_the_block_writes) {
    in[64 * blockIdx.x + threadIdx.x] = 2 * threadIdx.x;
    __syncthreads();
    out[64 * blockIdx.x + threadIdx.x] = in[64 * blockIdx.x + 63 - threadIdx.x];
}

// fault <<<1, 64>>>
// | race on 4 bytes at device address 0x700000000280, 128 bytes into the allocation at 0x700000000200 (16384 bytes): load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel block_reads_without_a_barrier, PTX line 264, global_races.cu:74
// |   not ordered after the store
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel block_reads_without_a_barrier, PTX line 260, global_races.cu:73
PROGRAM(block_reads_without_a_barrier) {
    in[threadIdx.x] = 3 * threadIdx.x;
    out[threadIdx.x] = in[threadIdx.x ^ 32];
}
// clean <<<1, 64>>>
PROGRAM(block_reads_behind_a_barrier) {
    in[threadIdx.x] = 3 * threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = in[threadIdx.x ^ 32];
}

// The block that comes last adds up what all have left.
template <bool kRelease, bool kAcquire, bool kBlockOnly = false>
__device__ void last_block(uint32_t* in, uint32_t* out) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        out[blockIdx.x] = 10 * blockIdx.x;
        if (kRelease) __threadfence();
        if (kBlockOnly) __threadfence_block();
        last = atomicAdd(in + kCounter, 1) == kCounter + gridDim.x - 1;
        if (kAcquire) __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x < gridDim.x) out[64 + threadIdx.x] = out[threadIdx.x];
}

// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (3, 0, 0)
// |   at kernel last_block_without_fences, PTX line 362, global_races.cu:95
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel last_block_without_fences, PTX line 335, global_races.cu:88
PROGRAM(last_block_without_fences) { last_block<false, false>(in, out); }
// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (3, 0, 0)
// |   at kernel last_block_without_a_release, PTX line 430, global_races.cu:95
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel last_block_without_a_release, PTX line 401, global_races.cu:88
PROGRAM(last_block_without_a_release) { last_block<false, true>(in, out); }
// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (3, 0, 0)
// |   at kernel last_block_without_an_acquire, PTX line 498, global_races.cu:95
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel last_block_without_an_acquire, PTX line 469, global_races.cu:88
PROGRAM(last_block_without_an_acquire) { last_block<true, false>(in, out); }
// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (3, 0, 0)
// |   at kernel last_block_with_a_fence_of_its_block, PTX line 568, global_races.cu:95
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel last_block_with_a_fence_of_its_block, PTX line 537, global_races.cu:88
PROGRAM(last_block_with_a_fence_of_its_block) { last_block<false, true, true>(in, out); }
// clean <<<4, 32>>>
PROGRAM(last_block_with_fences) { last_block<true, true>(in, out); }

// All threads leave something: the one that counts must come behind the others' stores.
template <bool kBarrier>
__device__ void last_block_of_many(uint32_t* in, uint32_t* out) {
    __shared__ bool last;
    out[64 * blockIdx.x + threadIdx.x] = in[threadIdx.x];
    __threadfence();
    if (kBarrier) __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(in + kCounter, 1) == kCounter + gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last) {
        uint32_t sum = 0;
        for (int block = 0; block < gridDim.x; ++block) sum += out[64 * block + threadIdx.x];
        out[1024 + threadIdx.x] = sum;
    }
}

// fault <<<4, 64>>>
// | race on 4 bytes at device address 0x700000004404, 4 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (1, 0, 0) of block (3, 0, 0)
// |   at kernel last_block_that_counts_too_early, PTX line 725, global_races.cu:147
// |   not ordered after the store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel last_block_that_counts_too_early, PTX line 675, global_races.cu:137
PROGRAM(last_block_that_counts_too_early) { last_block_of_many<false>(in, out); }
// clean <<<4, 64>>>
PROGRAM(last_block_that_counts_behind_a_barrier) { last_block_of_many<true>(in, out); }

// Decoupled look-back: each block waits for the flag of the one before it.
template <bool kFences>
__device__ void look_back(uint32_t* in, uint32_t* out) {
    volatile uint32_t* flags = in + kCounter;
    if (threadIdx.x == 0) {
        uint32_t before = 0;
        if (blockIdx.x > 0) {
            while (flags[blockIdx.x - 1] != 1) {
            }
            if (kFences) __threadfence();
            before = out[blockIdx.x - 1];
        }
        out[blockIdx.x] = before + in[blockIdx.x];
        if (kFences) __threadfence();
        flags[blockIdx.x] = 1;
    }
}

// fault <<<6, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel look_back_without_fences, PTX line 954, global_races.cu:173
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel look_back_without_fences, PTX line 963, global_races.cu:175
PROGRAM(look_back_without_fences) { look_back<false>(in, out); }
// clean <<<6, 32>>>
PROGRAM(look_back_with_fences) { look_back<true>(in, out); }

// A lock whose first value is known.
template <bool kFences>
__device__ void locked(uint32_t* in, uint32_t* out) {
    if (threadIdx.x != 0) return;
    while (atomicCAS(in + kCounter, kCounter, 1) != kCounter) {
    }
    if (kFences) __threadfence();
    in[0] += blockIdx.x + 1;
    if (kFences) __threadfence();
    atomicExch(in + kCounter, kCounter);
}

// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000000200, 0 bytes into the allocation at 0x700000000200 (16384 bytes): load
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel lock_without_fences, PTX line 1075, global_races.cu:199
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel lock_without_fences, PTX line 1078, global_races.cu:199
PROGRAM(lock_without_fences) { locked<false>(in, out); }
// clean <<<4, 32>>>
PROGRAM(lock_with_fences) { locked<true>(in, out); }

// fault <<<4, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel words_behind_the_lock_of_nobody, PTX line 1168, global_races.cu:225
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel words_behind_the_lock_of_nobody, PTX line 1168, global_races.cu:225
PROGRAM(words_behind_the_lock_of_nobody) {
    if (threadIdx.x == 0) {
        uint32_t ticket = atomicAdd(in + kCounter, 1);
        out[0] = ticket;
    }
}
// clean <<<4, 32>>>
PROGRAM(words_by_ticket) {
    if (threadIdx.x == 0) {
        uint32_t ticket = atomicAdd(in + kCounter, 1) - kCounter;
        out[ticket] = blockIdx.x;
    }
}

__device__ inline void store_release(uint32_t* to, uint32_t value) { asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory"); }
__device__ inline uint32_t load_acquire(uint32_t* from) {
    uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}
__device__ inline uint32_t load_relaxed(uint32_t* from) {
    uint32_t value;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel message_read_without_acquire, PTX line 1254, global_races.cu:263
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel message_read_without_acquire, PTX line 1261, global_races.cu:258
PROGRAM(message_read_without_acquire) {
    if (threadIdx.x > 0) return;
    if (blockIdx.x == 0) {
        out[0] = 5;
        store_release(in + kCounter, 1);
    } else {
        while (load_relaxed(in + kCounter) != 1) {
        }
        out[1] = out[0];
    }
}
// clean <<<2, 32>>>
PROGRAM(message_read_with_acquire) {
    if (threadIdx.x > 0) return;
    if (blockIdx.x == 0) {
        out[0] = 5;
        store_release(in + kCounter, 1);
    } else {
        while (load_acquire(in + kCounter) != 1) {
        }
        out[1] = out[0];
    }
}

// A release covers what its own thread knows of: other lanes' stores only behind a __syncwarp.
// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000004414, 20 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel message_of_other_lanes, PTX line 1379, global_races.cu:294
// |   not ordered after the store
// |   by thread (5, 0, 0) of block (0, 0, 0)
// |   at kernel message_of_other_lanes, PTX line 1392, global_races.cu:289
PROGRAM(message_of_other_lanes) {
    if (blockIdx.x == 0) {
        out[threadIdx.x] = in[threadIdx.x];
        if (threadIdx.x == 0) store_release(in + kCounter, 1);
    } else if (threadIdx.x == 0) {
        while (load_acquire(in + kCounter) != 1) {
        }
        out[64] = out[0] + out[5];
    }
}
// clean <<<2, 32>>>
PROGRAM(message_of_other_lanes_behind_syncwarp) {
    if (blockIdx.x == 0) {
        out[threadIdx.x] = in[threadIdx.x];
        __syncwarp();
        if (threadIdx.x == 0) store_release(in + kCounter, 1);
    } else if (threadIdx.x == 0) {
        while (load_acquire(in + kCounter) != 1) {
        }
        out[64] = out[0] + out[5];
    }
}

// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000004080, 16000 bytes into the allocation at 0x700000000200 (16384 bytes): load
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel plain_flag, PTX line 1516, global_races.cu:239
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel plain_flag, PTX line 1528, global_races.cu:320
PROGRAM(plain_flag) {
    if (threadIdx.x > 0) return;
    if (blockIdx.x == 0) {
        in[kCounter] = 1;
    } else {
        while (load_acquire(in + kCounter) != 1) {
        }
    }
}
// clean <<<2, 32>>>
PROGRAM(volatile_flag) {
    if (threadIdx.x > 0) return;
    if (blockIdx.x == 0) {
        static_cast<volatile uint32_t*>(in)[kCounter] = 1;
    } else {
        while (load_acquire(in + kCounter) != 1) {
        }
    }
}

// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000004080, 16000 bytes into the allocation at 0x700000000200 (16384 bytes): atomic
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel atomics_for_the_block_between_blocks, PTX line 1601, sm_60_atomic_functions.hpp:312
// |   not ordered after the atomic
// |   by thread (31, 0, 0) of block (0, 0, 0)
// |   at kernel atomics_for_the_block_between_blocks, PTX line 1601, sm_60_atomic_functions.hpp:312
PROGRAM(atomics_for_the_block_between_blocks) { atomicAdd_block(in + kCounter, 1); }
// clean <<<2, 32>>>
PROGRAM(atomics_for_the_block_within_blocks) { atomicAdd_block(in + kCounter + blockIdx.x, 1); }

// fault <<<2, 32>>>
// | race on 4 bytes at device address 0x700000000200, 0 bytes into the allocation at 0x700000000200 (16384 bytes): store
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel atomic_and_plain_store, PTX line 1657, global_races.cu:359
// |   not ordered after the atomic
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel atomic_and_plain_store, PTX line 1663, device_atomic_functions.hpp:112
PROGRAM(atomic_and_plain_store) {
    if (blockIdx.x == 0) {
        atomicAdd(in + threadIdx.x, 1);
    } else {
        in[threadIdx.x] = 5;
    }
}
// clean <<<2, 32>>>
PROGRAM(atomic_and_atomic_store) {
    if (blockIdx.x == 0) {
        atomicAdd(in + threadIdx.x, 1);
    } else {
        atomicExch(in + threadIdx.x, 5);
    }
}

template <bool kSync>
__device__ void exchange(uint32_t* in, uint32_t* out) {
    uint32_t i = 64 * blockIdx.x + threadIdx.x;
    in[i] += 7;
    if (kSync) cooperative_groups::this_grid().sync();
    out[i] = in[255 - i];
}

// fault <<<4, 64>>>
// | race on 4 bytes at device address 0x700000000400, 512 bytes into the allocation at 0x700000000200 (16384 bytes): store
// |   by thread (0, 0, 0) of block (2, 0, 0)
// |   at kernel grid_without_a_barrier, PTX line 1736, global_races.cu:374
// |   not ordered after the load
// |   by thread (63, 0, 0) of block (1, 0, 0)
// |   at kernel grid_without_a_barrier, PTX line 1742, global_races.cu:376
PROGRAM(grid_without_a_barrier) { exchange<false>(in, out); }
// clean <<<4, 64>>>
PROGRAM(grid_with_a_barrier) { exchange<true>(in, out); }
