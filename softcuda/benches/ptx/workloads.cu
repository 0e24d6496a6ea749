// Kernels of the throughput bench. `workloads.ptx` is this file compiled once:
//   nvcc -ptx -arch=compute_80 -std=c++17 -o workloads.ptx workloads.cu
#include <cuda_fp16.h>
#include <cstdint>

// Sums `n` floats to one partial sum a block.
extern "C" __global__ void __launch_bounds__(256) reduce(const float* in, float* out, int n) {
    __shared__ float partial[8];
    float sum = 0.0f;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) sum += in[i];
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < 8 ? partial[threadIdx.x] : 0.0f;
        for (int distance = 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

// A chain of f32 operations without a branch but the loop's.
extern "C" __global__ void __launch_bounds__(256) chain(float* out, float x, int rounds) {
    int index = blockIdx.x * 256 + threadIdx.x;
    float a = index * 0.001f, b = 1.0f + a, c = 0.5f;
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            a = fmaf(a, x, b);
            b = __fadd_rn(b, c);
            c = __fmul_rn(c, x);
            a = __fadd_rn(a, -c);
        }
    }
    out[index] = a + b + c;
}

// The finishing steps of a hash, over and over.
extern "C" __global__ void __launch_bounds__(256) hash(uint32_t* out, int rounds) {
    uint32_t index = blockIdx.x * 256 + threadIdx.x;
    uint32_t h = index;
    for (int round = 0; round < rounds; ++round) {
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        h ^= h >> 16;
        h += round ^ index;
    }
    out[index] = h;
}

struct Node {
    uint32_t key;
    int left, right;
    uint32_t value;
};

// Each thread looks its keys up in a search tree, and does something else on either side.
extern "C" __global__ void __launch_bounds__(128) walk(const Node* tree, const uint32_t* keys, uint32_t* out, int count) {
    int index = blockIdx.x * 128 + threadIdx.x;
    uint32_t found = 0;
    for (int i = 0; i < count; ++i) {
        uint32_t key = keys[index * count + i];
        int at = 0;
        while (at >= 0) {
            Node node = tree[at];
            if (key < node.key) {
                found += node.value;
                at = node.left;
            } else if (key > node.key) {
                found = found * 31u ^ node.value;
                at = node.right;
            } else {
                found ^= key;
                at = -1;
            }
        }
    }
    out[index] = found;
}

// Steps of the Collatz sequence until it ends: arithmetic whose threads part at every step.
extern "C" __global__ void __launch_bounds__(128) collatz(uint32_t* out, uint32_t first) {
    uint32_t index = blockIdx.x * 128 + threadIdx.x;
    uint32_t n = first + index, steps = 0, largest = 0;
    while (n != 1) {
        if (n & 1) {
            n = 3 * n + 1;
            largest = n > largest ? n : largest;
            steps += 1;
        } else {
            n >>= 1;
            steps += 0x10000;
        }
    }
    out[index] = steps ^ largest;
}

// Counts bytes, in shared memory first.
extern "C" __global__ void __launch_bounds__(256) histogram(const uint32_t* in, uint32_t* bins, int words) {
    __shared__ uint32_t local[256];
    local[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * 256 + threadIdx.x; i < words; i += gridDim.x * 256) {
        uint32_t word = in[i];
        for (int byte = 0; byte < 4; ++byte) atomicAdd(&local[word >> (8 * byte) & 255], 1u);
    }
    __syncthreads();
    atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}

__device__ inline uint32_t shared_address(const void* pointer) { return (uint32_t)__cvta_generic_to_shared(pointer); }

__device__ inline void copy16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from));
}

// c[m, n] = a[m, k] b[n, k]^T, f16 to f32: tiles of 64 x 64 x 32, four warps of 32 x 32, copies one tile ahead.
extern "C" __global__ void __launch_bounds__(128) gemm(const half* a, const half* b, float* c, int n, int k) {
    __shared__ __align__(128) half as[2][64][32], bs[2][64][32];
    int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int row0 = blockIdx.y * 64, column0 = blockIdx.x * 64;
    int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    // Four groups of 16 bytes a row; their order changes every two rows, so that ldmatrix meets no bank twice.
    auto swizzle = [](int row, int group) { return (group ^ (row / 2 % 4)) * 8; };
    auto load = [&](int stage, int tile) {
        for (int i = thread; i < 256; i += 128) {
            int row = i / 4, group = i % 4;
            copy16(&as[stage][row][swizzle(row, group)], a + (row0 + row) * (int64_t)k + tile * 32 + group * 8);
            copy16(&bs[stage][row][swizzle(row, group)], b + (column0 + row) * (int64_t)k + tile * 32 + group * 8);
        }
        asm volatile("cp.async.commit_group;");
    };
    float sums[2][4][4] = {};
    int tiles = k / 32;
    load(0, 0);
    for (int tile = 0; tile < tiles; ++tile) {
        if (tile + 1 < tiles) {
            load((tile + 1) % 2, tile + 1);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        int stage = tile % 2;
#pragma unroll
        for (int step = 0; step < 2; ++step) {
            uint32_t fa[2][4], fb[4][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                int row = warp_row + i * 16 + lane % 16, group = step * 2 + lane / 16;
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3])
                             : "r"(shared_address(&as[stage][row][swizzle(row, group)])));
            }
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                int row = warp_column + j * 8 + lane % 8 + lane / 16 * 8, group = step * 2 + lane / 8 % 2;
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(fb[j][0]), "=r"(fb[j][1]), "=r"(fb[j + 1][0]), "=r"(fb[j + 1][1])
                             : "r"(shared_address(&bs[stage][row][swizzle(row, group)])));
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    asm volatile(
                        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                        "{%0, %1, %2, %3};"
                        : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]), "+f"(sums[i][j][3])
                        : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][0]), "r"(fb[j][1]));
                }
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 4; ++j) {
            int row = row0 + warp_row + i * 16 + lane / 4, column = column0 + warp_column + j * 8 + lane % 4 * 2;
            float* to = c + (int64_t)row * n + column;
            to[0] = sums[i][j][0];
            to[1] = sums[i][j][1];
            to[8 * n] = sums[i][j][2];
            to[8 * n + 1] = sums[i][j][3];
        }
    }
}
