// Asynchronous copies: what must be waited for, and by whom.
#include "program.cuh"

// fault <<<1, 32>>>
PROGRAM(read_before_the_wait) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    out[threadIdx.x] = tile[threadIdx.x];
}
// clean <<<1, 32>>>
PROGRAM(read_after_the_wait) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}

// fault <<<1, 32>>>
PROGRAM(wait_without_a_commit) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}
// clean <<<1, 32>>>
PROGRAM(wait_for_all_without_a_commit) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    asm volatile("cp.async.wait_all;" ::: "memory");
    out[threadIdx.x] = tile[threadIdx.x];
}

// fault <<<1, 32>>>
PROGRAM(wait_that_leaves_one_group_too_many) {
    __shared__ uint32_t tile[2][32];
    for (int stage = 0; stage < 2; ++stage) {
        copy_async(tile[stage] + threadIdx.x, in + 32 * stage + threadIdx.x);
        commit();
    }
    wait<1>();
    out[threadIdx.x] = tile[1][threadIdx.x];
}
// clean <<<1, 32>>>
PROGRAM(wait_that_leaves_the_newer_group) {
    __shared__ uint32_t tile[2][32];
    for (int stage = 0; stage < 2; ++stage) {
        copy_async(tile[stage] + threadIdx.x, in + 32 * stage + threadIdx.x);
        commit();
    }
    wait<1>();
    out[threadIdx.x] = tile[0][threadIdx.x];
}

// fault <<<1, 32>>>
PROGRAM(store_to_where_a_copy_goes) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    static_cast<volatile uint32_t*>(tile)[threadIdx.x] = 0;
    wait<0>();
}
// clean <<<1, 32>>>
PROGRAM(store_to_where_a_copy_went) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    static_cast<volatile uint32_t*>(tile)[threadIdx.x] = 0;
}

// fault <<<1, 32>>>
PROGRAM(source_overwritten_in_flight) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    in[threadIdx.x] = 7;
    wait<0>();
}
// clean <<<1, 32>>>
PROGRAM(source_overwritten_after_the_wait) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    in[threadIdx.x] = 7;
}

// fault <<<1, 32>>>
PROGRAM(two_copies_to_one_place) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    copy_async(tile + threadIdx.x, in + 32 + threadIdx.x);
    commit();
    wait<0>();
}
// clean <<<1, 32>>>
PROGRAM(one_copy_after_the_other) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    copy_async(tile + threadIdx.x, in + 32 + threadIdx.x);
    commit();
    wait<0>();
}

// fault <<<1, 32>>>
PROGRAM(matrix_of_a_copy_in_flight) {
    __shared__ uint4 rows[8];
    if (threadIdx.x < 8) copy_async_wide(&rows[threadIdx.x].x, in + 4 * threadIdx.x);
    commit();
    __syncwarp();
    out[threadIdx.x] = load_matrix(&rows[threadIdx.x % 8].x);
    wait<0>();
}
// clean <<<1, 32>>>
PROGRAM(matrix_of_a_copy_that_arrived) {
    __shared__ uint4 rows[8];
    if (threadIdx.x < 8) copy_async_wide(&rows[threadIdx.x].x, in + 4 * threadIdx.x);
    commit();
    wait<0>();
    __syncwarp();
    out[threadIdx.x] = load_matrix(&rows[threadIdx.x % 8].x);
}

// A wait covers the copies of the thread that waits; what others have copied takes a barrier behind their waits.
// fault <<<1, 64>>>
PROGRAM(copy_of_another_thread_without_a_barrier) {
    __shared__ uint32_t tile[64];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}
// clean <<<1, 64>>>
PROGRAM(copy_of_another_thread_with_a_barrier) {
    __shared__ uint32_t tile[64];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// fault <<<1, 64>>>
PROGRAM(barrier_before_the_wait) {
    __shared__ uint32_t tile[64];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    __syncthreads();
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}
// clean <<<1, 64>>>
PROGRAM(wait_before_the_barrier) {
    __shared__ uint32_t tile[64];
    copy_async(tile + threadIdx.x, in + threadIdx.x);
    commit();
    wait<0>();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 32];
}

// The stage that a copy fills is the one that was read in the round before: others may still read it.
template <bool kBarrier>
__device__ void pipeline(uint32_t* in, uint32_t* out) {
    __shared__ uint32_t stages[3][128];
    for (int stage = 0; stage < 2; ++stage) {
        copy_async(stages[stage] + threadIdx.x, in + 128 * stage + threadIdx.x);
        commit();
    }
    uint32_t sum = 0;
    for (int round = 0; round < 8; ++round) {
        wait<1>();
        if (kBarrier || round == 0) __syncthreads();
        sum += stages[round % 3][threadIdx.x ^ (kBarrier ? 33 : 0)];
        if (round + 2 < 8) copy_async(stages[(round + 2) % 3] + (threadIdx.x ^ (kBarrier ? 0 : round & 32)), in + 128 * (round + 2) + threadIdx.x);
        commit();
    }
    out[threadIdx.x] = sum;
}

// fault <<<1, 128>>>
PROGRAM(pipeline_without_barriers) { pipeline<false>(in, out); }
// clean <<<1, 128>>>
PROGRAM(pipeline_of_three_stages) { pipeline<true>(in, out); }

// Double buffering with loads and stores of the threads themselves: one barrier a round is enough for two buffers.
template <int kBuffers>
__device__ void buffered(uint32_t* in, uint32_t* out) {
    __shared__ uint32_t buffers[kBuffers][128];
    uint32_t sum = 0;
    for (int round = 0; round < 6; ++round) {
        buffers[round % kBuffers][threadIdx.x] = in[128 * round + threadIdx.x];
        __syncthreads();
        sum += buffers[round % kBuffers][127 - threadIdx.x];
    }
    out[threadIdx.x] = sum;
}

// fault <<<1, 128>>>
PROGRAM(one_buffer_with_one_barrier) { buffered<1>(in, out); }
// clean <<<1, 128>>>
PROGRAM(two_buffers_with_one_barrier) { buffered<2>(in, out); }
