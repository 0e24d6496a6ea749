// Accesses to memory that is not there.
#include "program.cuh"

// fault <<<1, 64>>>
// | global store of 4 bytes at device address 0x700000008400: 0 bytes past the end of the allocation at 0x700000004400 (16384 bytes)
// |   by thread (32, 0, 0) of block (0, 0, 0)
// |   at kernel store_past_the_end, PTX line 44, memory.cu:8
PROGRAM(store_past_the_end) { out[4064 + threadIdx.x] = 1; }
// clean <<<1, 64>>>
PROGRAM(store_to_the_end) { out[4032 + threadIdx.x] = 1; }

// fault <<<1, 32>>>
// | global load of 4 bytes at device address 0x7000000001fc: 4 bytes before the allocation at 0x700000000200 (16384 bytes)
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel load_before_the_beginning, PTX line 91, memory.cu:16
PROGRAM(load_before_the_beginning) { out[threadIdx.x] = in[int(threadIdx.x) - 1]; }
// clean <<<1, 32>>>
PROGRAM(load_from_the_beginning) { out[threadIdx.x] = threadIdx.x > 0 ? in[int(threadIdx.x) - 1] : 0; }

// fault <<<1, 32>>>
// | global load of 4 bytes at 0x700000000202, which is not a multiple of 4
// |   by thread (1, 0, 0) of block (0, 0, 0)
// |   at kernel word_at_an_odd_address, PTX line 152, memory.cu:25
PROGRAM(word_at_an_odd_address) {
    out[threadIdx.x] = *reinterpret_cast<uint32_t*>(reinterpret_cast<char*>(in) + 2 * threadIdx.x);
}
// clean <<<1, 32>>>
PROGRAM(half_word_at_an_even_address) {
    out[threadIdx.x] = *reinterpret_cast<uint16_t*>(reinterpret_cast<char*>(in) + 2 * threadIdx.x);
}

// fault <<<1, 32>>>
// | global load of 16 bytes at 0x700000000208, which is not a multiple of 16
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel vector_at_half_its_size, PTX line 209, memory.cu:37
PROGRAM(vector_at_half_its_size) {
    *reinterpret_cast<uint4*>(out + 4 * threadIdx.x) = *reinterpret_cast<uint4*>(in + 4 * threadIdx.x + 2);
}
// clean <<<1, 32>>>
PROGRAM(vector_at_its_size) {
    *reinterpret_cast<uint4*>(out + 4 * threadIdx.x) = *reinterpret_cast<uint4*>(in + 4 * threadIdx.x + 4);
}

// fault <<<1, 64, 192>>>
// | shared store of 4 bytes at shared address 0xc0: the block has 192 bytes
// |   by thread (48, 0, 0) of block (0, 0, 0)
// |   at kernel more_shared_memory_than_asked_for, PTX line 263, memory.cu:50
PROGRAM(more_shared_memory_than_asked_for) {
    extern __shared__ uint32_t buffer[];
    buffer[threadIdx.x] = in[threadIdx.x];
}
// clean <<<1, 64, 256>>>
PROGRAM(as_much_shared_memory_as_asked_for) {
    extern __shared__ uint32_t buffer[];
    buffer[threadIdx.x] = in[threadIdx.x];
}

// fault <<<1, 32>>>
// | local access of 4 bytes at 0x10: a thread has 16 bytes
// |   by thread (4, 0, 0) of block (0, 0, 0)
// |   at kernel past_the_end_of_a_local_array, PTX line 330, memory.cu:64
PROGRAM(past_the_end_of_a_local_array) {
    volatile uint32_t window[4] = {1, 2, 3, 4};
    out[threadIdx.x] = window[in[threadIdx.x]];
}
// clean <<<1, 32>>>
PROGRAM(within_a_local_array) {
    volatile uint32_t window[4] = {1, 2, 3, 4};
    out[threadIdx.x] = window[in[threadIdx.x] % 4];
}

// fault <<<1, 1>>>
// | global load of 4 bytes at device address 0x700000008a00: inside the freed allocation at 0x700000008a00 (64 bytes)
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel use_after_free, PTX line 425, memory.cu:80
PROGRAM(use_after_free) {
    uint32_t* block = static_cast<uint32_t*>(malloc(64));
    block[0] = in[0];
    free(block);
    out[0] = *static_cast<volatile uint32_t*>(block);
}
// clean <<<1, 1>>>
PROGRAM(use_before_free) {
    uint32_t* block = static_cast<uint32_t*>(malloc(64));
    block[0] = in[0];
    out[0] = *static_cast<volatile uint32_t*>(block);
    free(block);
}

// fault <<<1, 32>>>
// | global load of 4 bytes at device address 0x100000000: 123141007344128 bytes before the allocation at 0x700000000200 (16384 bytes)
// |   by thread (0, 0, 0) of block (0, 0, 0)
// |   at kernel pointer_that_was_never_set, PTX line 498, memory.cu:94
PROGRAM(pointer_that_was_never_set) { out[threadIdx.x] = **reinterpret_cast<uint32_t**>(in); }
// clean <<<1, 32>>>
PROGRAM(pointer_that_was_set) {
    uint32_t* pointer = in + 5;
    out[threadIdx.x] = **static_cast<uint32_t* volatile*>(&pointer);
}

// fault <<<2, 32>>>
// | atomic of 4 bytes at device address 0x700000004200: 0 bytes past the end of the allocation at 0x700000000200 (16384 bytes)
// |   by thread (0, 0, 0) of block (1, 0, 0)
// |   at kernel atomic_past_the_end, PTX line 555, device_atomic_functions.hpp:112
PROGRAM(atomic_past_the_end) { atomicAdd(in + 4095 + blockIdx.x, 1); }
// clean <<<2, 32>>>
PROGRAM(atomic_to_the_end) { atomicAdd(in + 4094 + blockIdx.x, 1); }
