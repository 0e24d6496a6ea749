// Every program gets two arrays of 4,096 words: `in` holds 0, 1, 2 ..., `out` has never been written.
//
// A comment before a kernel says how it is launched and what must come of it:
//   fault <<<blocks, threads, dynamic shared bytes>>>, then the report, line by line behind a bar;
//   benign, likewise, for a race of equal values that is listed;
//   clean: not a word.
// `<file>.ptx` is `<file>.cu` compiled once, in this folder:
//   nvcc -ptx -lineinfo -arch=compute_80 -std=c++17 -o <file>.ptx <file>.cu
//   sed -Ei 's|(\.file[^"]*").*/|\1|' <file>.ptx
#pragma once
#include <cstdint>

#define PROGRAM(name) extern "C" __global__ void name(uint32_t* in, uint32_t* out)

__device__ inline uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies one word a lane.
__device__ inline void copy_async(uint32_t* to, const uint32_t* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)) : "memory");
}

// Copies 16 bytes a lane.
__device__ inline void copy_async_wide(uint32_t* to, const uint32_t* from, uint32_t bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes) : "memory");
}

__device__ inline void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kPending>
__device__ inline void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ inline uint32_t load_matrix(const uint32_t* row) {
    uint32_t value;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(value) : "r"(shared_address(row)) : "memory");
    return value;
}

__device__ inline void barrier_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ inline void barrier_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
