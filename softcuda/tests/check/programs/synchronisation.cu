// Barriers and warp-level operations met by the wrong threads.
#include "program.cuh"

// fault <<<1, 64>>>
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
PROGRAM(barrier_for_48_threads) { barrier_sync(1, 48); }
// clean <<<1, 64>>>
PROGRAM(barrier_for_64_threads) { barrier_sync(1, 64); }

// fault <<<1, 64>>>
PROGRAM(barrier_number_16) { barrier_sync(in[16], 64); }
// clean <<<1, 64>>>
PROGRAM(barrier_number_15) { barrier_sync(in[15], 64); }

// fault <<<1, 96>>>
PROGRAM(two_ideas_of_how_many_come) { barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }
// clean <<<1, 96>>>
PROGRAM(one_idea_of_how_many_come) { barrier_sync(1, 96); }

// fault <<<1, 96>>>
PROGRAM(more_threads_than_the_barrier_is_for) {
    if (threadIdx.x < 32) asm volatile("barrier.sync 1, 64;" ::: "memory");
    if (threadIdx.x >= 32 && threadIdx.x % 32 < 31) asm volatile("barrier.sync 1, 64;" ::: "memory");
}
// clean <<<1, 96>>>
PROGRAM(as_many_threads_as_the_barrier_is_for) {
    if (threadIdx.x < 64) asm volatile("barrier.sync 1, 64;" ::: "memory");
}

// fault <<<1, 64>>>
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
PROGRAM(mask_without_oneself) { out[threadIdx.x] = __ballot_sync(0x0000ffff, in[threadIdx.x] % 2); }
// clean <<<1, 32>>>
PROGRAM(mask_with_oneself) {
    if (threadIdx.x < 16) out[threadIdx.x] = __ballot_sync(0x0000ffff, in[threadIdx.x] % 2);
}

// fault <<<1, 32>>>
PROGRAM(masks_that_differ) {
    out[threadIdx.x] = __reduce_add_sync(threadIdx.x < 8 ? 0x000000ff : 0x0000ffff << (threadIdx.x / 16 * 16), in[threadIdx.x]);
}
// clean <<<1, 32>>>
PROGRAM(masks_of_groups) {
    out[threadIdx.x] = __reduce_add_sync(0x0000ffff << (threadIdx.x / 16 * 16), in[threadIdx.x]);
}

// fault <<<1, 32>>>
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
