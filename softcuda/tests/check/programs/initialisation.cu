// Reads of bytes that have never been written.
#include "program.cuh"

// fault <<<1, 32>>>
// | load of 4 bytes at shared address 0x0: byte 0 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel shared_memory_never_written, PTX line 50, initialisation.cu:10
PROGRAM(shared_memory_never_written) {
    __shared__ uint32_t tile[32];
    out[threadIdx.x] = static_cast<volatile uint32_t*>(tile)[threadIdx.x];
}
// clean <<<1, 32>>>
PROGRAM(shared_memory_written) {
    __shared__ uint32_t tile[32];
    volatile uint32_t* mine = tile + threadIdx.x;
    *mine = in[threadIdx.x];
    out[threadIdx.x] = *mine;
}

// fault <<<1, 64>>>
// | load of 4 bytes at shared address 0x84: byte 0 of them has never been written
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel second_half_of_a_tile_not_filled, PTX line 131, initialisation.cu:28
PROGRAM(second_half_of_a_tile_not_filled) {
    __shared__ uint32_t tile[64];
    if (threadIdx.x < 32) tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}
// clean <<<1, 64>>>
PROGRAM(both_halves_of_a_tile_filled) {
    __shared__ uint32_t tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// fault <<<1, 32>>>
// | load of 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): byte 0 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel output_read_before_it_is_written, PTX line 200, initialisation.cu:42
PROGRAM(output_read_before_it_is_written) { out[threadIdx.x] += in[threadIdx.x]; }
// clean <<<1, 32>>>
PROGRAM(output_read_after_it_is_written) {
    volatile uint32_t* mine = out + threadIdx.x;
    *mine = 0;
    *mine += in[threadIdx.x];
}

// fault <<<1, 32>>>
// | load of 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): byte 3 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel fourth_byte_of_a_word, PTX line 265, initialisation.cu:57
PROGRAM(fourth_byte_of_a_word) {
    volatile uint8_t* bytes = reinterpret_cast<uint8_t*>(out + threadIdx.x);
    for (int i = 0; i < 3; ++i) bytes[i] = in[i];
    out[64 + threadIdx.x] = *static_cast<volatile uint32_t*>(out + threadIdx.x);
}
// clean <<<1, 32>>>
PROGRAM(all_bytes_of_a_word) {
    volatile uint8_t* bytes = reinterpret_cast<uint8_t*>(out + threadIdx.x);
    for (int i = 0; i < 4; ++i) bytes[i] = in[i];
    out[64 + threadIdx.x] = *static_cast<volatile uint32_t*>(out + threadIdx.x);
}

// A wide load reads what lies between the members, too: that is reported, whatever becomes of the value.
// fault <<<1, 32>>>
// | load of 16 bytes at shared address 0x10: byte 12 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel padding_read_by_a_wide_load, PTX line 341, initialisation.cu:76
PROGRAM(padding_read_by_a_wide_load) {
    __shared__ uint4 records[32];
    volatile uint32_t* members = reinterpret_cast<uint32_t*>(records + threadIdx.x);
    for (int i = 0; i < 3; ++i) members[i] = in[i];
    __syncwarp();
    uint4 record = records[threadIdx.x ^ 1];
    out[threadIdx.x] = record.x + record.y + record.z;
}
// clean <<<1, 32>>>
PROGRAM(members_read_one_by_one) {
    __shared__ uint4 records[32];
    volatile uint32_t* members = reinterpret_cast<uint32_t*>(records + threadIdx.x);
    for (int i = 0; i < 3; ++i) members[i] = in[i];
    __syncwarp();
    members = reinterpret_cast<uint32_t*>(records + (threadIdx.x ^ 1));
    out[threadIdx.x] = members[0] + members[1] + members[2];
}

// fault <<<1, 32>>>
// | local load of 4 bytes at 0x1c: byte 0 of them has never been written
// |   by thread (7, 0, 0) of block (0, 0, 0)
// |   at kernel local_array_partly_filled, PTX line 444, initialisation.cu:96
PROGRAM(local_array_partly_filled) {
    volatile uint32_t window[8];
    for (int i = 0; i < 7; ++i) window[i] = in[i];
    out[threadIdx.x] = window[in[threadIdx.x] % 8];
}
// clean <<<1, 32>>>
PROGRAM(local_array_filled) {
    volatile uint32_t window[8];
    for (int i = 0; i < 8; ++i) window[i] = in[i];
    out[threadIdx.x] = window[in[threadIdx.x] % 8];
}

// fault <<<1, 32>>>
// | atomic of 4 bytes at device address 0x700000004400, 0 bytes into the allocation at 0x700000004400 (16384 bytes): byte 0 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel counter_never_set_to_zero, PTX line 525, device_atomic_functions.hpp:112
PROGRAM(counter_never_set_to_zero) { atomicAdd(out + threadIdx.x % 4, 1); }
// clean <<<1, 32>>>
PROGRAM(counter_set_to_zero) {
    if (threadIdx.x < 4) out[threadIdx.x] = 0;
    __syncwarp();
    atomicAdd(out + threadIdx.x % 4, 1);
}

// fault <<<1, 32>>>
// | cp.async read of 4 bytes at device address 0x700000005400, 4096 bytes into the allocation at 0x700000004400 (16384 bytes): byte 0 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel copy_of_what_was_never_written, PTX line 600, program.cuh:21
PROGRAM(copy_of_what_was_never_written) {
    __shared__ uint32_t tile[32];
    copy_async(tile + threadIdx.x, out + 1024 + threadIdx.x);
    commit();
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x];
}
// What a copy fills with zeros has been written, its source is not looked at.
// clean <<<1, 32>>>
PROGRAM(copy_that_fills_with_zeros) {
    __shared__ uint4 tile[32];
    copy_async_wide(&tile[threadIdx.x].x, out + 1024 + 4 * threadIdx.x, 0);
    commit();
    wait<0>();
    out[threadIdx.x] = tile[threadIdx.x].w;
}

// fault <<<1, 32>>>
// | cp.async read of 16 bytes at device address 0x700000004410, 16 bytes into the allocation at 0x700000004400 (16384 bytes): byte 8 of them has never been written
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel end_of_a_copy_whose_source_ends, PTX line 725, program.cuh:26
PROGRAM(end_of_a_copy_whose_source_ends) {
    __shared__ uint4 tile[32];
    if (threadIdx.x < 6) out[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    if (threadIdx.x < 2) copy_async_wide(&tile[threadIdx.x].x, out + 4 * threadIdx.x);
    commit();
    wait<0>();
    if (threadIdx.x < 2) out[64 + threadIdx.x] = tile[threadIdx.x].w;
}
// clean <<<1, 32>>>
PROGRAM(copy_shortened_to_its_source) {
    __shared__ uint4 tile[32];
    if (threadIdx.x < 6) out[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    if (threadIdx.x < 2) copy_async_wide(&tile[threadIdx.x].x, out + 4 * threadIdx.x, threadIdx.x == 0 ? 16 : 8);
    commit();
    wait<0>();
    if (threadIdx.x < 2) out[64 + threadIdx.x] = tile[threadIdx.x].w;
}

// fault <<<1, 32>>>
// | ldmatrix of 16 bytes at shared address 0x70: byte 0 of them has never been written
// |   by thread (7, 0, 0) of block (0, 0, 0)
// |   at kernel matrix_with_a_row_missing, PTX line 883, program.cuh:38
PROGRAM(matrix_with_a_row_missing) {
    __shared__ uint32_t rows[8][4];
    if (threadIdx.x < 28) rows[threadIdx.x / 4][threadIdx.x % 4] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = load_matrix(rows[threadIdx.x % 8]);
}
// clean <<<1, 32>>>
PROGRAM(matrix_with_all_rows) {
    __shared__ uint32_t rows[8][4];
    rows[threadIdx.x / 4][threadIdx.x % 4] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = load_matrix(rows[threadIdx.x % 8]);
}

// fault <<<1, 1>>>
// | load of 4 bytes at device address 0x700000008a04, 4 bytes into the allocation at 0x700000008a00 (64 bytes): byte 0 of them has never been written
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel heap_memory_never_written, PTX line 976, initialisation.cu:187
PROGRAM(heap_memory_never_written) {
    volatile uint32_t* block = static_cast<uint32_t*>(malloc(64));
    block[0] = in[0];
    out[0] = block[1];
}
// clean <<<1, 1>>>
PROGRAM(heap_memory_written) {
    volatile uint32_t* block = static_cast<uint32_t*>(malloc(64));
    block[0] = in[0];
    block[1] = in[1];
    out[0] = block[1];
}
