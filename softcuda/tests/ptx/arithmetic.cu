// Integer and floating-point arithmetic, bit operations, switch, loops, device functions, constants and globals.
#include <cstdint>
struct Big { int a[8]; double d; float f; const void* p; };
__constant__ float table[4] = {1.0f, 2.0f, -3.5f, 0.25f};
__constant__ int shifts[3][2] = {{1, 2}, {3}, {5, 6}};
__device__ int counter = 7;
__device__ double weights[3] = {1.5, -2.5};
__device__ const char* message = "softcuda";
__device__ int* pointer_to_counter = &counter;
struct Mixed { char tag; int* p; short s; };
__device__ Mixed mixed = {3, &counter, -2};
__device__ __noinline__ int collatz(int n) { int steps = 0; while (n != 1) { n = n & 1 ? 3 * n + 1 : n / 2; ++steps; } return steps; }
__device__ __noinline__ Big shuffle_big(Big b, int k) { b.a[k & 7] += collatz(k + 1); b.d *= k; return b; }
extern "C" __global__ void integers(const int* __restrict__ x, unsigned long long* y, Big big, int n, unsigned char flag) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int v = x[i];
  unsigned u = v;
  unsigned long long w = (unsigned long long)u * 0x123456789ull + big.a[i & 7];
  w ^= __brev(u) | (unsigned long long)__popc(u) << 32;
  w += __clz(v) + __ffs(v) + __popcll(w) + __clzll(w);
  w += __funnelshift_l(u, v, i) + __funnelshift_rc(u, v, i) + __byte_perm(u, v, 0x5410);
  w += __umulhi(u, 77) + __mul64hi(w, 5) + __mulhi(v, 3) + __umul24(u, 3) + __sad(v, 3, u) + __dp4a(v, i, 3) + __dp4a(u, 7u, 3u) + __dp2a_lo(v, i, 5);
  w += min(v, i) + max(u, 9u) + abs(v) + llabs((long long)w) + v / 7 + u % 10 + w / 13 + (long long)w % 11 + v % n + (short)v / 3;
  switch (v & 15) { case 0: w += 1; break; case 1: w *= 3; break; case 2: w -= 9; break; case 3: w ^= 77; break; case 4: w <<= 3; break; case 5: w >>= 5; break; case 6: w = ~w; break; case 7: w |= 12345; break; case 9: w = w * w; break; default: w += counter; }
  Big other = shuffle_big(big, i);
  if (flag) w += (unsigned long long)other.d + other.a[3] + (int)table[i & 3] + shifts[i % 3][1];
  unsigned __int128 wide = (unsigned __int128)w * w + big.a[0];
  y[i] = (unsigned long long)(wide >> 64) + (unsigned long long)wide + *pointer_to_counter + message[i & 7] + *mixed.p + mixed.s;
}
extern "C" __global__ void floats(float* x, double* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    float a = x[i]; double d = y[i];
    a = a * 2.0f + 1.0f; a = __fadd_rz(a, 1.5f); a = __fmul_rn(a, a); a = __fmaf_ru(a, a, a); a = a / 3.7f; a = __fdividef(a, a + 1.0f); a = sqrtf(fabsf(a)); a = rsqrtf(a);
    a += expf(a) + logf(a) + sinf(a) + __sinf(a) + __cosf(a) + exp2f(a) + __log2f(a) + tanhf(a) + fmodf(a, 2.0f) + powf(a, 0.3f) + erff(a) + copysignf(a, d);
    a = fminf(a, 1.0f); a = fmaxf(a, -a); a = floorf(a) + ceilf(a) + rintf(a) + truncf(a); a = __saturatef(a);
    if (isnan(a) || isinf(a)) a = 0.0f;
    d = d * d + a; d = d / 3.1; d = sqrt(d); d = __dadd_ru(d, 1.0); d += (double)(int)a + (double)(long long)d + (unsigned)a + (float)d + __float2int_rn(a) + __float2uint_ru(a) + __double2ll_rd(d) + __int_as_float(i) + __float_as_int(a) + __double2hiint(d);
    x[i] = a + (float)i + (float)(unsigned)i + (float)(long long)d + (signed char)i + weights[i % 3]; y[i] = fma(d, d, (double)a) + exp(d);
  }
}
extern "C" __global__ void __launch_bounds__(256, 2) bounded(float* x, uint8_t* b, int16_t* s) { x[threadIdx.x] += table[threadIdx.x & 3] + b[threadIdx.x] + s[threadIdx.x]; b[threadIdx.x] = (uint8_t)x[0]; s[threadIdx.x] -= 3; }
