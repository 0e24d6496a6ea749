// Races on shared memory.
#include "program.cuh"

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x80: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel read_without_a_barrier, PTX line 74, shared_races.cu:14
// |   not ordered after the store
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel read_without_a_barrier, PTX line 70, shared_races.cu:13
PROGRAM(read_without_a_barrier) {
    __shared__ uint32_t tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// clean <<<1, 64>>>
PROGRAM(read_behind_a_barrier) {
    __shared__ uint32_t tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x0: store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel tile_refilled_without_a_barrier, PTX line 153, shared_races.cu:35
// |   not ordered after the load
// |   by thread (63, 0, 0) of block (0, 0, 0)
// |   at kernel tile_refilled_without_a_barrier, PTX line 150, shared_races.cu:37
PROGRAM(tile_refilled_without_a_barrier) {
    __shared__ uint32_t tile[64];
    uint32_t sum = 0;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = in[64 * round + threadIdx.x];
        __syncthreads();
        sum += tile[63 - threadIdx.x];
    }
    out[threadIdx.x] = sum;
}
// clean <<<1, 64>>>
PROGRAM(tile_refilled_behind_a_barrier) {
    __shared__ uint32_t tile[64];
    uint32_t sum = 0;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = in[64 * round + threadIdx.x];
        __syncthreads();
        sum += tile[63 - threadIdx.x];
        __syncthreads();
    }
    out[threadIdx.x] = sum;
}

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x0: store
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel two_warps_write_one_word, PTX line 278, shared_races.cu:63
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel two_warps_write_one_word, PTX line 278, shared_races.cu:63
PROGRAM(two_warps_write_one_word) {
    __shared__ uint32_t winner;
    if (threadIdx.x % 32 == 0) winner = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = winner;
}
// clean <<<1, 64>>>
PROGRAM(one_warp_writes_a_word) {
    __shared__ uint32_t winner;
    if (threadIdx.x == 0) winner = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = winner;
}
// benign <<<1, 64>>>
// | benign race, the same value by both, on 4 bytes at shared address 0x0: store
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel two_warps_write_the_same, PTX line 355, shared_races.cu:83
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel two_warps_write_the_same, PTX line 355, shared_races.cu:83
PROGRAM(two_warps_write_the_same) {
    __shared__ uint32_t winner;
    if (threadIdx.x % 32 == 0) winner = in[7];
    __syncthreads();
    out[threadIdx.x] = winner;
}

// fault <<<1, 32>>>
// | race on 4 bytes at shared address 0x0: store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_of_one_store_meet, PTX line 397, shared_races.cu:97
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_of_one_store_meet, PTX line 397, shared_races.cu:97
PROGRAM(lanes_of_one_store_meet) {
    __shared__ uint32_t tile[16];
    tile[threadIdx.x / 2] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x / 2];
}
// clean <<<1, 32>>>
PROGRAM(lanes_of_one_store_apart) {
    __shared__ uint32_t tile[16];
    if (threadIdx.x % 2 == 0) tile[threadIdx.x / 2] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x / 2];
}
// benign <<<1, 32>>>
// | benign race, the same value by both, on 4 bytes at shared address 0x0: store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_of_one_store_write_the_same, PTX line 488, shared_races.cu:117
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_of_one_store_write_the_same, PTX line 488, shared_races.cu:117
PROGRAM(lanes_of_one_store_write_the_same) {
    __shared__ uint32_t tile[16];
    tile[threadIdx.x / 2] = in[threadIdx.x / 2];
    __syncwarp();
    out[threadIdx.x] = tile[threadIdx.x / 2];
}

// fault <<<1, 32>>>
// | race on 4 bytes at shared address 0x4: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_without_syncwarp, PTX line 529, shared_races.cu:132
// |   not ordered after the store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_without_syncwarp, PTX line 525, shared_races.cu:131
PROGRAM(lanes_without_syncwarp) {
    __shared__ uint32_t tile[32];
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = static_cast<volatile uint32_t*>(tile)[threadIdx.x ^ 1];
}
// clean <<<1, 32>>>
PROGRAM(lanes_with_syncwarp) {
    __shared__ uint32_t tile[32];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = static_cast<volatile uint32_t*>(tile)[threadIdx.x ^ 1];
}

template <bool kSync>
__device__ void reduce(uint32_t* in, uint32_t* out) {
    __shared__ uint32_t partial[64];
    partial[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 32) {
        partial[threadIdx.x] += partial[threadIdx.x + 32];
        for (int distance = 16; distance > 0; distance /= 2) {
            if (kSync) __syncwarp();
            uint32_t other = partial[threadIdx.x + distance];
            if (kSync) __syncwarp();
            partial[threadIdx.x] += other;
        }
        if (threadIdx.x == 0) out[0] = partial[0];
    }
}

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x4: store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel warp_reduction_without_syncwarp, PTX line 630, shared_races.cu:153
// |   not ordered after the load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel warp_reduction_without_syncwarp, PTX line 627, shared_races.cu:151
PROGRAM(warp_reduction_without_syncwarp) { reduce<false>(in, out); }
// clean <<<1, 64>>>
PROGRAM(warp_reduction_with_syncwarp) { reduce<true>(in, out); }

// fault <<<1, 32>>>
// | race on 4 bytes at shared address 0x7c: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel syncwarp_of_half_the_lanes, PTX line 787, shared_races.cu:181
// |   not ordered after the store
// |   by thread (31, 0, 0) of block (0, 0, 0)
// |   at kernel syncwarp_of_half_the_lanes, PTX line 774, shared_races.cu:179
PROGRAM(syncwarp_of_half_the_lanes) {
    __shared__ uint32_t tile[32];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncwarp(0x0000ffff << (threadIdx.x / 16 * 16));
    out[threadIdx.x] = tile[31 - threadIdx.x];
}
// clean <<<1, 32>>>
PROGRAM(syncwarp_of_the_lanes_that_meet) {
    __shared__ uint32_t tile[32];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncwarp(0x0000ffff << (threadIdx.x / 16 * 16));
    out[threadIdx.x] = tile[threadIdx.x ^ 15];
}

// fault <<<1, 64>>>
// | race on 2 bytes at shared address 0x40: store
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel word_and_its_neighbour_bytes, PTX line 876, shared_races.cu:203
// |   not ordered after the store
// |   by thread (16, 0, 0) of block (0, 0, 0)
// |   at kernel word_and_its_neighbour_bytes, PTX line 867, shared_races.cu:201
PROGRAM(word_and_its_neighbour_bytes) {
    __shared__ uint32_t tile[32];
    if (threadIdx.x < 32) {
        tile[threadIdx.x] = in[threadIdx.x];
    } else {
        reinterpret_cast<uint16_t*>(tile)[threadIdx.x] = 1;
    }
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x % 32];
}
// clean <<<1, 64>>>
PROGRAM(neighbouring_half_words) {
    __shared__ uint32_t tile[32];
    reinterpret_cast<uint16_t*>(tile)[threadIdx.x % 32 * 2 + threadIdx.x / 32] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x % 32];
}

// fault <<<1, 96>>>
// | race on 4 bytes at shared address 0x0: load
// |   by thread (64, 0, 0) of block (0, 0, 0)
// |   at kernel named_barrier_without_the_reader, PTX line 989, shared_races.cu:230
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel named_barrier_without_the_reader, PTX line 969, shared_races.cu:226
PROGRAM(named_barrier_without_the_reader) {
    __shared__ uint32_t tile[64];
    if (threadIdx.x < 64) {
        tile[threadIdx.x] = in[threadIdx.x];
        barrier_sync(1, 64);
        out[threadIdx.x] = tile[threadIdx.x ^ 32];
    } else {
        out[threadIdx.x] = tile[threadIdx.x - 64];
    }
}
// clean <<<1, 96>>>
PROGRAM(named_barrier_with_the_reader) {
    __shared__ uint32_t tile[64];
    if (threadIdx.x < 64) tile[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x < 32) {
        barrier_arrive(1, 96);
    } else {
        barrier_sync(1, 96);
        out[threadIdx.x] = tile[threadIdx.x - 32];
    }
}

// Two warps produce, two consume; each side tells the other with a barrier of its own.
template <bool kWaitsForSpace>
__device__ void handed_over(uint32_t* in, uint32_t* out) {
    __shared__ uint32_t tile[64];
    if (threadIdx.x < 64) {
        for (int round = 0; round < 4; ++round) {
            if (kWaitsForSpace) barrier_sync(2, 128);
            tile[threadIdx.x] = in[64 * round + threadIdx.x];
            barrier_arrive(1, 128);
        }
    } else {
        uint32_t sum = 0;
        if (kWaitsForSpace) barrier_arrive(2, 128);
        for (int round = 0; round < 4; ++round) {
            barrier_sync(1, 128);
            sum += tile[127 - threadIdx.x];
            if (kWaitsForSpace && round < 3) barrier_arrive(2, 128);
        }
        out[threadIdx.x - 64] = sum;
    }
}

// fault <<<1, 128>>>
// | race on 4 bytes at shared address 0xfc: load
// |   by thread (64, 0, 0) of block (0, 0, 0)
// |   at kernel producer_that_waits_for_nobody, PTX line 1126, shared_races.cu:282
// |   not ordered after the store
// |   by thread (63, 0, 0) of block (0, 0, 0)
// |   at kernel producer_that_waits_for_nobody, PTX line 1107, shared_races.cu:279
PROGRAM(producer_that_waits_for_nobody) {
    __shared__ uint32_t tile[64];
    if (threadIdx.x < 64) {
        tile[threadIdx.x] = in[threadIdx.x];
        barrier_arrive(1, 128);
        tile[threadIdx.x] = in[64 + threadIdx.x];
    } else {
        barrier_sync(1, 128);
        out[threadIdx.x - 64] = tile[127 - threadIdx.x];
    }
}
// clean <<<1, 128>>>
PROGRAM(producer_and_consumer) { handed_over<true>(in, out); }

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x0: store
// |   by thread (3, 0, 0) of block (0, 0, 0)
// |   at kernel histogram_without_atomics, PTX line 1330, shared_races.cu:299
// |   not ordered after the load
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel histogram_without_atomics, PTX line 1328, shared_races.cu:299
PROGRAM(histogram_without_atomics) {
    __shared__ uint32_t bins[8];
    if (threadIdx.x < 8) bins[threadIdx.x] = 0;
    __syncthreads();
    bins[in[threadIdx.x] % 32 / 4] += 1;
    __syncthreads();
    if (threadIdx.x < 8) out[threadIdx.x] = bins[threadIdx.x];
}
// clean <<<1, 64>>>
PROGRAM(histogram_with_atomics) {
    __shared__ uint32_t bins[8];
    if (threadIdx.x < 8) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(bins + in[threadIdx.x] % 32 / 4, 1);
    __syncthreads();
    if (threadIdx.x < 8) out[threadIdx.x] = bins[threadIdx.x];
}

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x0: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel atomic_and_plain_read, PTX line 1441, shared_races.cu:325
// |   not ordered after the atomic
// |   by thread (63, 0, 0) of block (0, 0, 0)
// |   at kernel atomic_and_plain_read, PTX line 1439, device_atomic_functions.hpp:112
PROGRAM(atomic_and_plain_read) {
    __shared__ uint32_t count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1);
    out[threadIdx.x] = count;
}
// clean <<<1, 64>>>
PROGRAM(atomic_and_plain_read_behind_a_barrier) {
    __shared__ uint32_t count;
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1);
    __syncthreads();
    out[threadIdx.x] = count;
}

// fault <<<1, 64>>>
// | race on 4 bytes at shared address 0x0: load
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel flag_in_shared_memory_without_fences, PTX line 1541, shared_races.cu:355
// |   not ordered after the store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel flag_in_shared_memory_without_fences, PTX line 1550, shared_races.cu:350
PROGRAM(flag_in_shared_memory_without_fences) {
    __shared__ uint32_t value;
    __shared__ volatile uint32_t ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        value = in[7];
        ready = 1;
    } else if (threadIdx.x == 32) {
        while (ready == 0) {
        }
        out[0] = value;
    }
}
// clean <<<1, 64>>>
PROGRAM(flag_in_shared_memory_with_fences) {
    __shared__ uint32_t value;
    __shared__ volatile uint32_t ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        value = in[7];
        __threadfence_block();
        ready = 1;
    } else if (threadIdx.x == 32) {
        while (ready == 0) {
        }
        __threadfence_block();
        out[0] = value;
    }
}

// fault <<<1, 32>>>
// | race on 4 bytes at shared address 0x4: ldmatrix
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel matrix_of_other_lanes_stores, PTX line 1666, program.cuh:38
// |   not ordered after the store
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel matrix_of_other_lanes_stores, PTX line 1656, shared_races.cu:385
PROGRAM(matrix_of_other_lanes_stores) {
    __shared__ uint32_t rows[8][4];
    rows[threadIdx.x / 4][threadIdx.x % 4] = in[threadIdx.x];
    out[threadIdx.x] = load_matrix(rows[threadIdx.x % 8]);
}
// clean <<<1, 32>>>
PROGRAM(matrix_of_other_lanes_stores_behind_syncwarp) {
    __shared__ uint32_t rows[8][4];
    rows[threadIdx.x / 4][threadIdx.x % 4] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = load_matrix(rows[threadIdx.x % 8]);
}
