// Asynchronous copies: what must be waited for, and by whom.
#include "program.cuh"

// fault <<<1, 32>>>
// | shared load of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel read_before_the_wait, PTX line 75, asynchronous.cu:12
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
// | shared load of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel wait_without_a_commit, PTX line 172, asynchronous.cu:31
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
// | shared load of 4 bytes at shared address 0x80, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel wait_that_leaves_one_group_too_many, PTX line 281, asynchronous.cu:52
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
// | shared store of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel store_to_where_a_copy_goes, PTX line 390, asynchronous.cu:73
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
// | global store of 4 bytes at 0x700000000200 overwrites the source of a cp.async in flight
// |   issued at kernel source_overwritten_in_flight, PTX line 477, program.cuh:21
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel source_overwritten_in_flight, PTX line 486, asynchronous.cu:94
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
// | cp.async write of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel two_copies_to_one_place, PTX line 581, program.cuh:21
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
// | ldmatrix of 16 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel matrix_of_a_copy_in_flight, PTX line 718, program.cuh:38
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
// | race on 4 bytes at shared address 0x4: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel copy_of_another_thread_without_a_barrier, PTX line 856, asynchronous.cu:163
// |   not ordered after the cp.async write
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel copy_of_another_thread_without_a_barrier, PTX line 841, program.cuh:21
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
// | race on 4 bytes at shared address 0x80: load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel barrier_before_the_wait, PTX line 966, asynchronous.cu:188
// |   not ordered after the cp.async write
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel barrier_before_the_wait, PTX line 949, program.cuh:21
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

// Two copies are in flight while a tile is added up. The stage that a copy fills was read in the round before if there are
// three, with a barrier in between; if there are two it is the one that others still read.
template <int kStages>
__device__ void pipeline(uint32_t* in, uint32_t* out) {
    __shared__ uint32_t stages[kStages][128];
    for (int stage = 0; stage < 2; ++stage) {
        copy_async(stages[stage] + threadIdx.x, in + 128 * stage + threadIdx.x);
        commit();
    }
    uint32_t sum = 0;
    for (int round = 0; round < 8; ++round) {
        wait<1>();
        __syncthreads();
        sum += stages[round % kStages][threadIdx.x ^ 33];
        if (round + 2 < 8) copy_async(stages[(round + 2) % kStages] + threadIdx.x, in + 128 * (round + 2) + threadIdx.x);
        commit();
    }
    out[threadIdx.x] = sum;
}

// fault <<<1, 128>>>
// | race on 4 bytes at shared address 0x0: cp.async write
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel pipeline_of_two_stages, PTX line 1097, program.cuh:21
// |   not ordered after the load
// |   by thread (33, 0, 0) of block (0, 0, 0)
// |   at kernel pipeline_of_two_stages, PTX line 1090, asynchronous.cu:213
PROGRAM(pipeline_of_two_stages) { pipeline<2>(in, out); }
// clean <<<1, 128>>>
PROGRAM(pipeline_of_three_stages) { pipeline<3>(in, out); }

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
// | race on 4 bytes at shared address 0x0: store
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel one_buffer_with_one_barrier, PTX line 1476, asynchronous.cu:237
// |   not ordered after the load
// |   by thread (127, 0, 0) of block (0, 0, 0)
// |   at kernel one_buffer_with_one_barrier, PTX line 1473, asynchronous.cu:239
PROGRAM(one_buffer_with_one_barrier) { buffered<1>(in, out); }
// clean <<<1, 128>>>
PROGRAM(two_buffers_with_one_barrier) { buffered<2>(in, out); }
