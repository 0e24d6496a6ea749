// c = a b^T for f16 matrices a [m, k], b [n, k] and f32 c [m, n], in tiles of 256 x 128 x 32 as libraries of matrix products have
// them on sm_80: eight warps of 64 x 64, three stages of cp.async. m, n and k are multiples of the tile.
// `large_gemm.ptx` is this file compiled once:
//   nvcc -ptx -arch=compute_80 -std=c++17 -o large_gemm.ptx large_gemm.cu
#include <cuda_fp16.h>
#include <cstdint>

constexpr int kBlockM = 256, kBlockN = 128, kBlockK = 32, kStages = 3, kThreads = 256;
constexpr int kStageBytes = (kBlockM + kBlockN) * kBlockK * 2;

// A row of a tile is four chunks of 16 bytes, whose order changes every two rows: no bank is met twice.
__device__ uint32_t place(int row, int chunk) { return row * 64 + ((chunk ^ (row / 2 % 4)) * 16); }

__device__ void copy_rows(uint32_t to, const half* from, int64_t stride, int rows) {
#pragma unroll
    for (int i = 0; i < rows * 4 / kThreads; ++i) {
        int row = (threadIdx.x + i * kThreads) / 4, chunk = threadIdx.x % 4;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + place(row, chunk)),
                     "l"(from + row * stride + chunk * 8)
                     : "memory");
    }
}

__device__ void load_matrix(uint32_t (&d)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
large_gemm(const half* a, const half* b, float* c, int n, int k) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
    a += int64_t(blockIdx.y) * kBlockM * k;
    b += int64_t(blockIdx.x) * kBlockN * k;
    const int num_tiles = k / kBlockK;
    auto copy = [&](int tile, int stage) {
        if (tile < num_tiles) {
            copy_rows(base + stage * kStageBytes, a + tile * kBlockK, k, kBlockM);
            copy_rows(base + stage * kStageBytes + kBlockM * 64, b + tile * kBlockK, k, kBlockN);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    float sums[4][8][4] = {};
    for (int stage = 0; stage < kStages - 1; ++stage) copy(stage, stage);
    int stage = 0, next = kStages - 1;
    for (int tile = 0; tile < num_tiles; ++tile) {
        asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
        __syncthreads();
        copy(tile + kStages - 1, next);
        const uint32_t rows_a = base + stage * kStageBytes, rows_b = rows_a + kBlockM * 64;
#pragma unroll
        for (int step = 0; step < kBlockK / 16; ++step) {
            uint32_t fa[4][4], fb[4][4];
#pragma unroll
            for (int i = 0; i < 4; ++i)
                load_matrix(fa[i], rows_a + place(warp_row + i * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
            for (int j = 0; j < 4; ++j)
                load_matrix(fb[j], rows_b + place(warp_column + j * 16 + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    float(&d)[4] = sums[i][j];
                    asm volatile(
                        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                        "{%0, %1, %2, %3};"
                        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                        : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j / 2][j % 2 * 2]),
                          "r"(fb[j / 2][j % 2 * 2 + 1]));
                }
            }
        }
        stage = stage + 1 == kStages ? 0 : stage + 1;
        next = next + 1 == kStages ? 0 : next + 1;
    }
    c += (int64_t(blockIdx.y) * kBlockM + warp_row + lane / 4) * n + blockIdx.x * kBlockN + warp_column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            float* to = c + int64_t(i) * 16 * n + j * 8;
            *reinterpret_cast<float2*>(to) = make_float2(sums[i][j][0], sums[i][j][1]);
            *reinterpret_cast<float2*>(to + int64_t(8) * n) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
    }
}
