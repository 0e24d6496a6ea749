// Barriers and warp-level operations met by the wrong threads.
#include "program.cuh"

// fault <<<1, 64>>>
// | barrier met by the lanes 0x0000ffff of warp 0 only, while 0xffff0000 are elsewhere: all threads of a warp must meet it together
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel barrier_in_half_a_warp, PTX line 36, synchronisation.cu:9
PROGRAM(barrier_in_half_a_warp) {
    if (threadIdx.x % 32 < 16) asm volatile("bar.sync 0;" ::: "memory");
    out[threadIdx.x] = 1;
}
// clean <<<1, 64>>>
PROGRAM(barrier_behind_a_branch) {
    uint32_t value = 1;
    if (threadIdx.x % 32 < 16) value = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = value;
}

// fault <<<1, 64>>>
// | no progress is possible: every thread of the block that has not ended waits
// |   warp 0 (lanes 0xffffffff) waits for a barrier at kernel different_barriers, PTX line 117, synchronisation.cu:28
// |   warp 1 (lanes 0xffffffff) waits for a barrier at kernel different_barriers, PTX line 124, synchronisation.cu:30
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel different_barriers, PTX line 117, synchronisation.cu:28
PROGRAM(different_barriers) {
    if (threadIdx.x < 32) {
        asm volatile("bar.sync 1;" ::: "memory");
    } else {
        asm volatile("bar.sync 2;" ::: "memory");
    }
    out[threadIdx.x] = 1;
}
// clean <<<1, 64>>>
PROGRAM(one_barrier_at_two_places) {
    if (threadIdx.x < 32) {
        asm volatile("bar.sync 1;" ::: "memory");
        out[threadIdx.x] = 1;
    } else {
        asm volatile("bar.sync 1;" ::: "memory");
        out[threadIdx.x] = 2;
    }
}

// fault <<<1, 64>>>
// | barrier 1 for 48 threads: not a multiple of 32
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel barrier_for_48_threads, PTX line 199, program.cuh:42
PROGRAM(barrier_for_48_threads) { barrier_sync(1, 48); }
// clean <<<1, 64>>>
PROGRAM(barrier_for_64_threads) { barrier_sync(1, 64); }

// fault <<<1, 64>>>
// | barrier 16: a block has the barriers 0 to 15
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel barrier_number_16, PTX line 245, program.cuh:42
PROGRAM(barrier_number_16) { barrier_sync(in[16], 64); }
// clean <<<1, 64>>>
PROGRAM(barrier_number_15) { barrier_sync(in[15], 64); }

// fault <<<1, 96>>>
// | barrier 1 met with different thread counts: Some(64) and Some(96)
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel two_ideas_of_how_many_come, PTX line 295, program.cuh:42
PROGRAM(two_ideas_of_how_many_come) { barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }
// clean <<<1, 96>>>
PROGRAM(one_idea_of_how_many_come) { barrier_sync(1, 96); }

// fault <<<1, 96>>>
// | barrier 1 is for 64 threads, 94 have come
// |   by thread (64, 0, 0) of block (0, 0, 0)
// |   at kernel more_threads_than_the_barrier_is_for, PTX line 351, synchronisation.cu:75
PROGRAM(more_threads_than_the_barrier_is_for) {
    if (threadIdx.x < 32) asm volatile("barrier.sync 1, 64;" ::: "memory");
    if (threadIdx.x >= 32 && threadIdx.x % 32 < 31) asm volatile("barrier.sync 1, 64;" ::: "memory");
}
// clean <<<1, 96>>>
PROGRAM(as_many_threads_as_the_barrier_is_for) {
    if (threadIdx.x < 64) asm volatile("barrier.sync 1, 64;" ::: "memory");
}

// fault <<<1, 64>>>
// | barrier 3 met by some threads with a reduction, by others without
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel reduction_and_barrier_mixed, PTX line 419, synchronisation.cu:91
PROGRAM(reduction_and_barrier_mixed) {
    if (threadIdx.x < 32) {
        asm volatile("bar.sync 3;" ::: "memory");
    } else {
        uint32_t count;
        asm volatile("{ .reg .pred p; setp.eq.u32 p, %1, 0; bar.red.popc.u32 %0, 3, p; }" : "=r"(count) : "r"(in[threadIdx.x]) : "memory");
        out[threadIdx.x] = count;
    }
}
// clean <<<1, 64>>>
PROGRAM(reductions_alike) { out[threadIdx.x] = __syncthreads_count(in[threadIdx.x] % 2); }

// fault <<<1, 32>>>
// | no progress is possible: every thread of the block that has not ended waits
// |   warp 0 (lanes 0x0000ffff) waits for the lanes 0xffffffff at kernel mask_with_lanes_that_have_ended, PTX line 493, sm_30_intrinsics.hpp:409
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel mask_with_lanes_that_have_ended, PTX line 493, sm_30_intrinsics.hpp:409
PROGRAM(mask_with_lanes_that_have_ended) {
    if (threadIdx.x >= 16) return;
    out[threadIdx.x] = __shfl_xor_sync(0xffffffff, in[threadIdx.x], 1);
}
// clean <<<1, 32>>>
PROGRAM(mask_without_lanes_that_have_ended) {
    if (threadIdx.x >= 16) return;
    out[threadIdx.x] = __shfl_xor_sync(0x0000ffff, in[threadIdx.x], 1);
}

// fault <<<1, 32>>>
// | the member mask does not name the lane that executes it
// |   by thread (16, 0, 0) of block (0, 0, 0)
// |   at kernel mask_without_oneself, PTX line 573, sm_30_intrinsics.hpp:134
PROGRAM(mask_without_oneself) { out[threadIdx.x] = __ballot_sync(0x0000ffff, in[threadIdx.x] % 2); }
// clean <<<1, 32>>>
PROGRAM(mask_with_oneself) {
    if (threadIdx.x < 16) out[threadIdx.x] = __ballot_sync(0x0000ffff, in[threadIdx.x] % 2);
}

// fault <<<1, 32>>>
// | the member masks differ: 0x0000ffff names lane 0, which names 0x000000ff
// |   by thread (8, 0, 0) of block (0, 0, 0)
// |   at kernel masks_that_differ, PTX line 647, sm_80_rt.hpp:103
PROGRAM(masks_that_differ) {
    out[threadIdx.x] = __reduce_add_sync(threadIdx.x < 8 ? 0x000000ff : 0x0000ffff << (threadIdx.x / 16 * 16), in[threadIdx.x]);
}
// clean <<<1, 32>>>
PROGRAM(masks_of_groups) {
    out[threadIdx.x] = __reduce_add_sync(0x0000ffff << (threadIdx.x / 16 * 16), in[threadIdx.x]);
}

// fault <<<1, 32>>>
// | no progress is possible: every thread of the block that has not ended waits
// |   warp 0 (lanes 0x0000000f) waits for the lanes 0xffffffff at kernel lanes_that_never_come, PTX line 724, sm_30_intrinsics.hpp:134
// |   warp 0 (lanes 0xfffffff0) waits for the lanes 0xffffffff at kernel lanes_that_never_come, PTX line 732, sm_30_intrinsics.hpp:110
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel lanes_that_never_come, PTX line 732, sm_30_intrinsics.hpp:110
PROGRAM(lanes_that_never_come) {
    if (threadIdx.x < 4) {
        out[threadIdx.x] = __ballot_sync(0xffffffff, in[threadIdx.x]);
    } else {
        __syncwarp();
        out[threadIdx.x] = 2;
    }
}
// clean <<<1, 32>>>
PROGRAM(lanes_that_come_later) {
    uint32_t value = in[threadIdx.x];
    if (threadIdx.x < 4) value = in[value + 100];
    out[threadIdx.x] = __ballot_sync(0xffffffff, value);
}

// fault <<<1, 32>>>
// | ldmatrix by the lanes 0x3fffffff only: all 32 must take part
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel matrix_under_divergence, PTX line 842, program.cuh:38
PROGRAM(matrix_under_divergence) {
    __shared__ uint4 rows[8];
    if (threadIdx.x < 8) rows[threadIdx.x] = make_uint4(1, 2, 3, 4);
    __syncwarp();
    if (in[threadIdx.x] < 30) out[threadIdx.x] = load_matrix(&rows[threadIdx.x % 8].x);
}
// clean <<<1, 32>>>
PROGRAM(matrix_by_all_lanes) {
    __shared__ uint4 rows[8];
    if (threadIdx.x < 8) rows[threadIdx.x] = make_uint4(1, 2, 3, 4);
    __syncwarp();
    uint32_t value = load_matrix(&rows[threadIdx.x % 8].x);
    if (in[threadIdx.x] < 30) out[threadIdx.x] = value;
}
