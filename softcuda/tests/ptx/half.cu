// f16, bf16, tensor cores, asynchronous copies and inline assembly with scopes and labels.
#include <cstdint>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void halves(__half* h, __half2* h2, __nv_bfloat16* b, __nv_bfloat162* b2, float* f) {
  int i = threadIdx.x;
  __half x = h[i]; __half2 y = h2[i]; __nv_bfloat16 z = b[i]; __nv_bfloat162 w = b2[i];
  x = __hadd(x, x); x = __hfma(x, x, x); x = __hmul(x, __hneg(x)); x = __hsub(x, __habs(x)); x = __hmax(x, __float2half(1.0f)); x = __hmin_nan(x, h[i + 1]); x = h2exp2(y).x + hexp2(x) + __hdiv(x, h[0]) + hsqrt(x);
  y = __hadd2(y, y); y = __hfma2(y, y, y); y = __hmul2(y, __hneg2(y)); y = __hmax2(y, h2[0]); y = __hfma2_relu(y, y, y); y = __floats2half2_rn(f[i], f[i + 1]);
  z = __hadd(z, z); z = __hfma(z, z, z); z = __hmul(z, __hneg(z)); z = __hmax(z, b[0]); z = __float2bfloat16(f[i]);
  w = __hadd2(w, w); w = __hfma2(w, w, w); w = __hmul2(w, w); w = __floats2bfloat162_rn(f[i], f[i + 2]); w = __hmax2_nan(w, b2[0]);
  if (__hlt(x, h[2]) && __hge(z, b[2]) && __hbgt2(y, h2[2])) x = __hadd_sat(x, x);
  unsigned t; asm("tanh.approx.f16x2 %0, %1;" : "=r"(t) : "r"(*(unsigned*)&y)); float g; asm("tanh.approx.f32 %0, %1;" : "=f"(g) : "f"(f[i]));
  f[i] = __half2float(x) + __low2float(y) + __bfloat162float(z) + __high2float(w) + g + __half2int_rn(x) + __half2uint_rz(x) + (float)t;
  h[i] = __int2half_rn(i) + x; h2[i] = y; b[i] = z; b2[i] = w;
  atomicAdd(h2, y);
}
template <int kTile> __device__ void product(const __half* a, const __half* b, float* out, int n) {
  __shared__ __align__(128) __half tile[2][kTile * 64];
  unsigned dst = (unsigned)__cvta_generic_to_shared(&tile[0][threadIdx.x * 8]);
  int bytes = threadIdx.x < n ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" :: "r"(dst), "l"(a + threadIdx.x * 8));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(dst + 4096), "l"(b), "r"(bytes));
  asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %2, 0;\n @p cp.async.cg.shared.global [%0], [%1], 16;\n}" :: "r"(dst), "l"(b), "r"(n));
  asm volatile("{\n .reg .b64 policy;\n createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, policy;\n}" :: "r"(dst), "l"(b));
  asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;\ncp.async.wait_all;");
  __syncthreads();
  unsigned r[4], q[2]; float c[4] = {0, 0, 0, 0};
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(dst));
  asm volatile("ldmatrix.sync.aligned.x2.trans.m8n8.shared::cta.b16 {%0,%1}, [%2 + 64];" : "=r"(q[0]), "=r"(q[1]) : "r"(dst));
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(q[0]), "r"(q[1]));
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(q[0]), "r"(q[1]));
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};" : "+r"(q[0]), "+r"(q[1]) : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(q[0]), "r"(q[1]));
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;" : "+r"(q[0]));
  asm volatile("lop3.b32 %0, %0, %1, %2, 0xEA;" : "+r"(r[0]) : "r"(r[1]), "r"(q[0]));
  asm volatile("{\n .reg.b16 lo, hi;\n mov.b32 {lo, hi}, %0;\n mov.b32 %0, {hi, lo};\n}" : "+r"(r[0]));
  for (int k = 0; k < 2; ++k)
    asm volatile("{\n .reg .pred done;\nLOOP:\n setp.gt.u32 done, %0, 100;\n @done bra DONE;\n add.u32 %0, %0, 17;\n bra.uni LOOP;\nDONE:\n}" : "+r"(r[1]));
  asm volatile("{\n .reg .pred done;\nLOOP:\n setp.gt.u32 done, %0, 200;\n @!done bra DONE;\n bra.uni LOOP;\nDONE:\n}" : "+r"(r[2]));
  out[threadIdx.x] = c[0] + c[1] + c[2] + c[3] + q[0] + r[0] + r[1] + r[2];
}
extern "C" __global__ void tensor(const __half* a, const __half* b, float* out, int n) { product<32>(a, b, out, n); }
