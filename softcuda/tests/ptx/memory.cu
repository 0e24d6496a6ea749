// Shared memory, atomics, warp intrinsics, barriers, cache operators and local arrays.
#include <cstdint>
__device__ unsigned long long ticket;
__shared__ int shared_at_module[4];
extern __shared__ float dynamic[];
extern "C" __global__ void tiles(const float4* __restrict__ a, float* out, int n) {
  __shared__ float tile[32][33];
  __shared__ __align__(16) float4 quads[64];
  int x = threadIdx.x, y = threadIdx.y;
  tile[y][x] = out[y * n + x];
  dynamic[x] = tile[x][y];
  shared_at_module[x & 3] = x;
  quads[x] = __ldg(a + x);
  __syncthreads();
  float4 q = quads[63 - x];
  out[x * n + y] = tile[x][y] + dynamic[31 - x] + q.x + q.w + shared_at_module[y & 3];
  int both = __syncthreads_count(x > 3) + __syncthreads_and(y > 2) + __syncthreads_or(x == y);
  float scratch[16];
  for (int i = 0; i < 16; ++i) scratch[(i * x) & 15] = i + both;
  out[both & 7] += scratch[y & 15];
  __stcs(out + 5, __ldcg(out) + __ldcs(out + 1) + __ldca(out + 2) + __ldcv(out + 3));
  asm volatile("prefetch.global.L2 [%0];" :: "l"(out));
}
extern "C" __global__ void atomics(int* i, unsigned* u, unsigned long long* l, float* f, double* d) {
  __shared__ int s; __shared__ unsigned long long sl;
  if (threadIdx.x == 0) { s = 0; sl = 0; }
  __syncthreads();
  atomicAdd(&s, 1); atomicMax(&s, 5); int old = atomicAdd(i, 2); atomicMin(i, old); atomicExch(u, 3u); atomicCAS(u, 3u, 4u); atomicInc(u, 9u); atomicDec(u, 9u);
  atomicAnd(i, 1); atomicOr(u, 2u); atomicXor(i + 1, 7); atomicAdd(l, 5ull); atomicMax(l, 7ull); atomicMin((long long*)l, -7ll); atomicCAS(l, 1ull, 2ull); atomicExch(&sl, 9ull); atomicCAS(&sl, 9ull, 1ull);
  atomicAdd(f, 1.5f); float before = atomicAdd(f + 1, 2.5f); atomicAdd(d, (double)before); atomicExch(f, before); atomicAdd(&ticket, 1ull);
  atomicAdd_system(i, 1); atomicAdd_block(i, 1);
  __threadfence(); __threadfence_block(); __threadfence_system();
  volatile int* v = i; v[3] = v[2] + s + (int)sl;
  asm volatile("red.relaxed.gpu.global.add.s32 [%0], %1;" :: "l"(i), "r"(3) : "memory");
  int acquired; asm volatile("ld.global.acquire.gpu.b32 %0, [%1];" : "=r"(acquired) : "l"(i) : "memory");
  asm volatile("st.release.gpu.global.u32 [%0], %1;" :: "l"(i), "r"(acquired) : "memory");
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}
extern "C" __global__ void warps(int* out, float* f) {
  int lane = threadIdx.x & 31, v = out[threadIdx.x]; unsigned all = 0xffffffffu;
  v += __shfl_sync(all, v, 3) + __shfl_xor_sync(all, v, 1) + __shfl_up_sync(all, v, 2, 16) + __shfl_down_sync(all, v, lane);
  float g = f[lane]; for (int m = 16; m; m >>= 1) g += __shfl_xor_sync(all, g, m);
  v += __ballot_sync(all, v > 3) + __any_sync(all, v == 1) + __all_sync(all, v != 1) + __uni_sync(all, v < 4) + __activemask() + __match_any_sync(all, v) + __reduce_add_sync(all, (unsigned)v) + __reduce_max_sync(all, v) + __reduce_xor_sync(all, (unsigned)v);
  int pred; v += __match_all_sync(all, (long long)v, &pred); v += pred;
  __syncwarp(); __nanosleep(20);
  unsigned mask, eq, smid; asm("mov.u32 %0, %%lanemask_lt;" : "=r"(mask)); asm("mov.u32 %0, %%lanemask_eq;" : "=r"(eq)); asm("mov.u32 %0, %%smid;" : "=r"(smid));
  long long c = clock64(); v += clock() + (int)c + mask + eq + smid;
  asm volatile("bar.sync 1, 64;\n\tbar.arrive 2, %0;" :: "r"(128));
  if (v == 12345) __trap();
  if (v == 54321) asm volatile("exit;");
  out[threadIdx.x] = v; f[lane] = g;
}
