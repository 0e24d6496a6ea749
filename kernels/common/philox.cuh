// The counter-based generator Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
// 3" (2011): 128 random bits for each counter and key, in any order.
#pragma once

#include <cstdint>

namespace llm_kernels {

__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high_x = __umulhi(0xD2511F53u, counter.x), low_x = 0xD2511F53u * counter.x;
    const uint32_t high_z = __umulhi(0xCD9E8D57u, counter.z), low_z = 0xCD9E8D57u * counter.z;
    counter = {high_z ^ counter.y ^ key.x, low_z, high_x ^ counter.w ^ key.y, low_x};
    key = {key.x + 0x9E3779B9u, key.y + 0xBB67AE85u};
  }
  return counter;
}

// The random numbers of dropout for the scores of `query` with `key` - key % 2 and the next, and with the keys 8 further on,
// for a `key` of which key % 16 is below 8: word 2 (j / 8 % 2) + j % 2 is that of key j.
__device__ __forceinline__ uint4 dropout_numbers(uint64_t seed, int batch, int head, int query, uint32_t key) {
  const uint4 counter = {key / 16 * 4 + key % 8 / 2, static_cast<uint32_t>(query), static_cast<uint32_t>(head),
                         static_cast<uint32_t>(batch)};
  return philox(counter, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

}  // namespace llm_kernels
