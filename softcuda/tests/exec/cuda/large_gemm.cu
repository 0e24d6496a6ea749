// c = a b^T for f16 matrices a [m, k], b [n, k] and f32 c [m, n], in tiles of 256 x 128 x 32 as libraries of matrix products have
// them on sm_80: eight warps of 64 x 64, four stages of cp.async, fragments of the next 16 of k loaded before the products of these,
// so that products cover each barrier. m, n and k are multiples of the tile.
// `large_gemm.ptx` is this file compiled once:
//   nvcc -ptx -arch=compute_80 -std=c++17 -o large_gemm.ptx large_gemm.cu
#include <cuda_fp16.h>
#include <cstdint>

constexpr int kBlockM = 256, kBlockN = 128, kBlockK = 32, kStages = 4, kThreads = 256;
constexpr int kStageBytes = (kBlockM + kBlockN) * kBlockK * 2;
// Rows that the block copies at a time, and how often it does.
constexpr int kPassRows = kThreads / 4, kPasses = (kBlockM + kBlockN) / kPassRows;

// A row of a tile is four chunks of 16 bytes, whose order changes every two rows: no bank is met twice.
__device__ uint32_t place(int row, int chunk) { return row * 64 + ((chunk ^ (row / 2 % 4)) * 16); }

__device__ void load_matrix(uint32_t (&d)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// What a warp multiplies for 16 of k.
struct Fragments {
    uint32_t a[4][4], b[4][4];

    __device__ void load(uint32_t rows_a, uint32_t rows_b, int step, int lane) {
#pragma unroll
        for (int i = 0; i < 4; ++i) load_matrix(a[i], rows_a + place(i * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < 4; ++j)
            load_matrix(b[j], rows_b + place(j * 16 + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
    }

    __device__ void multiply(float (&sums)[4][8][4]) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                float(&d)[4] = sums[i][j];
                asm volatile(
                    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                    "{%0, %1, %2, %3};"
                    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                    : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j / 2][j % 2 * 2]),
                      "r"(b[j / 2][j % 2 * 2 + 1]));
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(kThreads, 1)
large_gemm(const half* a, const half* b, float* c, int n, int k) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
    const int row = threadIdx.x / 4, chunk = threadIdx.x % 4;
    const half* from_a = a + (int64_t(blockIdx.y) * kBlockM + row) * k + chunk * 8;
    const half* from_b = b + (int64_t(blockIdx.x) * kBlockN + row) * k + chunk * 8;
    const uint32_t to = base + place(row, chunk);
    const int num_tiles = k / kBlockK;
    // Behind the last tile zeros: no branch stands between the products.
    auto copy = [&](int tile, int stage, int first, int last) {
        const int bytes = tile < num_tiles ? 16 : 0;
#pragma unroll
        for (int pass = first; pass < last; ++pass) {
            constexpr int kPassesOfA = kBlockM / kPassRows;
            const half* from = pass < kPassesOfA ? from_a + int64_t(pass * kPassRows) * k
                                                 : from_b + int64_t((pass - kPassesOfA) * kPassRows) * k;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to + stage * kStageBytes + pass * kPassRows * 64),
                         "l"(bytes ? from + tile * kBlockK : from), "r"(bytes)
                         : "memory");
        }
    };
    auto commit = [] { asm volatile("cp.async.commit_group;" ::: "memory"); };
    auto load = [&](Fragments& fragments, int stage, int step) {
        const uint32_t rows = base + stage * kStageBytes;
        fragments.load(rows + warp_row * 64, rows + (kBlockM + warp_column) * 64, step, lane);
    };
    // The oldest tile in flight has come, and all warps have read the one before it.
    auto wait = [] {
        asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
        __syncthreads();
    };

    float sums[4][8][4] = {};
    Fragments even, odd;
    for (int stage = 0; stage < kStages - 1; ++stage) copy(stage, stage, 0, kPasses), commit();
    copy(kStages - 1, kStages - 1, 0, kPasses / 2);
    wait();
    load(even, 0, 0);
    int stage = 0, next = kStages - 1;
    for (int tile = 0; tile < num_tiles; ++tile) {
        load(odd, stage, 1);
        copy(tile + kStages - 1, next, kPasses / 2, kPasses);
        commit();
        even.multiply(sums);
        stage = stage + 1 == kStages ? 0 : stage + 1;
        next = next + 1 == kStages ? 0 : next + 1;
        wait();
        load(even, stage, 0);
        copy(tile + kStages, next, 0, kPasses / 2);
        odd.multiply(sums);
    }
    // Copies of zeros are in flight.
    asm volatile("cp.async.wait_all;" ::: "memory");
    c += (int64_t(blockIdx.y) * kBlockM + warp_row + lane / 4) * n + blockIdx.x * kBlockN + warp_column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            float* out = c + int64_t(i) * 16 * n + j * 8;
            *reinterpret_cast<float2*>(out) = make_float2(sums[i][j][0], sums[i][j][1]);
            *reinterpret_cast<float2*>(out + int64_t(8) * n) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
    }
}
