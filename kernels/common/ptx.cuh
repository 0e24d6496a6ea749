// One inline function per PTX instruction. No other file holds asm.
//
// Shared-memory addresses are 32-bit addresses of the shared state space (see `shared_address`). Functions that touch
// memory clobber "memory": the compiler then keeps them in order with barriers and with each other.
#pragma once

#include <cstdint>

namespace llm_kernels::ptx {

// The shared-state-space address of a generic pointer into shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- Special registers -----------------------------------------------------------------------------------------------

// threadIdx.x, read anew at every call: code after a long loop that calls this costs no register through the loop.
__device__ __forceinline__ unsigned thread_index() {
  unsigned index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// blockIdx.x, y or z (kAxis 0, 1, 2), likewise.
template <int kAxis = 0>
__device__ __forceinline__ unsigned block_index() {
  unsigned index;
  if constexpr (kAxis == 0) asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
  if constexpr (kAxis == 1) asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(index));
  if constexpr (kAxis == 2) asm volatile("mov.u32 %0, %%ctaid.z;" : "=r"(index));
  return index;
}

// `pointer`, from where the compiler cannot know: it then adds to it step by step, where it would rather multiply a
// step anew for every use. No instruction.
__device__ __forceinline__ const char* opaque(const char* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

// --- Asynchronous copies ---------------------------------------------------------------------------------------------

// Copies 16 bytes from global to shared memory, past L1. Both addresses are multiples of 16.
__device__ __forceinline__ void cp_async_16(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(__cvta_generic_to_global(global))
               : "memory");
}

// As above, but reads only `bytes` (0 to 16) of the source and fills the rest of the destination with zeros.
__device__ __forceinline__ void cp_async_16_zero_fill(uint32_t shared, const void* global, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(__cvta_generic_to_global(global)),
               "r"(bytes) : "memory");
}

// As the first, by those threads that `copies` holds for. No branch: a warp stays together.
__device__ __forceinline__ void cp_async_16_if(bool copies, uint32_t shared, const void* global) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %2, 0;\n@p cp.async.cg.shared.global [%0], [%1], 16;\n}" ::"r"(shared),
               "l"(__cvta_generic_to_global(global)), "r"(static_cast<unsigned>(copies)) : "memory");
}

// Closes the group of this thread's copies issued since the last commit.
__device__ __forceinline__ void cp_async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's newest groups are still under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// --- Shared memory ---------------------------------------------------------------------------------------------------

// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 and receives, of matrix i
// in r[i], the elements 2 * (l % 4) and 2 * (l % 4) + 1 of row l / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// As above with each matrix transposed on the way: rows become columns.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// Loads 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ uint4 ld_shared_16(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// Stores 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ void st_shared_16(uint32_t address, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

// Stores 4 bytes; the address is a multiple of 4.
__device__ __forceinline__ void st_shared_4(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

// --- Global memory ---------------------------------------------------------------------------------------------------

// Loads 4 bytes, anew at every call; the address is a multiple of 4.
__device__ __forceinline__ int32_t ld_global_4(const int32_t* global) {
  int32_t value;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(global)));
  return value;
}

// Loads 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ uint4 ld_global_16(const void* global) {
  uint4 value;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(__cvta_generic_to_global(global))
               : "memory");
  return value;
}

// Stores 8 bytes; the address is a multiple of 8.
__device__ __forceinline__ void st_global_8(void* global, uint2 value) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x), "r"(value.y)
               : "memory");
}

// Stores 16 bytes; the address is a multiple of 16.
__device__ __forceinline__ void st_global_16(void* global, uint4 value) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x),
               "r"(value.y), "r"(value.z), "r"(value.w)
               : "memory");
}

// --- Tensor cores ----------------------------------------------------------------------------------------------------

// D = A B + C, A 16x16 (row major) and B 16x8 (column major) of f16, C and D 16x8 of f32, maybe the same; a whole warp.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                 const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// As above for bf16.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                  const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// --- Arithmetic and conversion ---------------------------------------------------------------------------------------

// 2^x within 2^-22 relative; subnormal results become zero.
__device__ __forceinline__ float ex2_approx_ftz(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x within 1 ulp; subnormals become zero.
__device__ __forceinline__ float rcp_approx_ftz(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// An f16, given by its bits, as f32: exact.
__device__ __forceinline__ float cvt_f32_f16(uint16_t bits) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
  return y;
}

// Two f32 rounded to nearest even f16, `low` in the lower half.
__device__ __forceinline__ uint32_t cvt_rn_f16x2(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Two f32 rounded to nearest even bf16, `low` in the lower half.
__device__ __forceinline__ uint32_t cvt_rn_bf16x2(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

}  // namespace llm_kernels::ptx
