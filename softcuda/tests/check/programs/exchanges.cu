// Threads that exchange places: a transposition, groups of a warp.
#include "program.cuh"
#include <cooperative_groups.h>

// fault <<<1, dim3(16, 16)>>>
// | race on 4 bytes at shared address 0x44: load
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel transposition_without_a_barrier, PTX line 49, exchanges.cu:15
// |   not ordered after the store
// |   by thread (0, 1, 0) of block (0, 0, 0)
// |   at kernel transposition_without_a_barrier, PTX line 44, exchanges.cu:14
PROGRAM(transposition_without_a_barrier) {
    __shared__ uint32_t tile[16][17];
    tile[threadIdx.y][threadIdx.x] = in[16 * threadIdx.y + threadIdx.x];
    out[16 * threadIdx.y + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}
// clean <<<1, dim3(16, 16)>>>
PROGRAM(transposition_with_a_barrier) {
    __shared__ uint32_t tile[16][17];
    tile[threadIdx.y][threadIdx.x] = in[16 * threadIdx.y + threadIdx.x];
    __syncthreads();
    out[16 * threadIdx.y + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

// fault <<<1, 64>>>
// | race on 4 bytes at device address 0x700000004440, 64 bytes into the allocation at 0x700000004400 (16384 bytes): load
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel groups_that_do_not_meet, PTX line 142, exchanges.cu:36
// |   not ordered after the store
// |   by thread (16, 0, 0) of block (0, 0, 0)
// |   at kernel groups_that_do_not_meet, PTX line 124, exchanges.cu:34
PROGRAM(groups_that_do_not_meet) {
    auto tile = cooperative_groups::tiled_partition<16>(cooperative_groups::this_thread_block());
    out[threadIdx.x] = in[threadIdx.x];
    tile.sync();
    out[1024 + threadIdx.x] = out[threadIdx.x ^ 16];
}
// clean <<<1, 64>>>
PROGRAM(groups_that_meet) {
    auto tile = cooperative_groups::tiled_partition<16>(cooperative_groups::this_thread_block());
    out[threadIdx.x] = in[threadIdx.x];
    tile.sync();
    out[1024 + threadIdx.x] = out[threadIdx.x ^ 15];
}
