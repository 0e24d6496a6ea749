// A packed block of weights in shared memory. Blocks have 18 to 210 bytes, so they start at any even address.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/ptx/packed_half.cuh"

namespace llm_kernels {

// A block that starts kShift (0 or 2) bytes after a multiple of kAlignment (4, 8 or 16) bytes. Whole words are loaded, so
// neighbouring lanes touch neighbouring banks; a word that straddles two is put together from both.
template <int kAlignment, int kShift>
struct PackedBlock {
  static_assert(kShift == 0 || (kShift == 2 && kAlignment == 4), "even addresses");
  const char* aligned;

  // The 4 bytes at an even offset.
  __device__ __forceinline__ uint32_t word(int offset) const {
    const int from = offset + kShift;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(aligned + (from & ~3));
    return (from & 2) == 0 ? words[0] : __byte_perm(words[0], words[1], 0x5432);
  }

  // The f16 at an even offset, in f32.
  __device__ __forceinline__ float half(int offset) const {
    const int from = offset + kShift;
    const uint32_t word = *reinterpret_cast<const uint32_t*>(aligned + (from & ~3));
    return (from & 2) == 0 ? ptx::cvt_f32_lower_f16(word) : ptx::cvt_f32_upper_f16(word);
  }

  // kCount words from an even offset on.
  template <int kCount>
  __device__ __forceinline__ void words(int offset, uint32_t (&out)[kCount]) const {
    if constexpr (kAlignment == 16 && kCount % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        const uint4 x = *reinterpret_cast<const uint4*>(aligned + offset + 4 * i);
        out[i] = x.x, out[i + 1] = x.y, out[i + 2] = x.z, out[i + 3] = x.w;
      }
    } else if constexpr (kAlignment >= 8 && kCount % 2 == 0) {
#pragma unroll
      for (int i = 0; i < kCount; i += 2) {
        const uint2 x = *reinterpret_cast<const uint2*>(aligned + offset + 4 * i);
        out[i] = x.x, out[i + 1] = x.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) out[i] = word(offset + 4 * i);
    }
  }
};

// A block that starts kStart bytes into words that have been loaded; kStart is even.
template <int kWords, int kStart>
struct LoadedBlock {
  const uint32_t (&loaded)[kWords];

  __device__ __forceinline__ uint32_t word(int offset) const {
    const int from = kStart + offset;
    return (from & 2) == 0 ? loaded[from / 4] : __byte_perm(loaded[from / 4], loaded[from / 4 + 1], 0x5432);
  }

  __device__ __forceinline__ float half(int offset) const {
    const int from = kStart + offset;
    return (from & 2) == 0 ? ptx::cvt_f32_lower_f16(loaded[from / 4]) : ptx::cvt_f32_upper_f16(loaded[from / 4]);
  }

  template <int kCount>
  __device__ __forceinline__ void words(int offset, uint32_t (&out)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = word(offset + 4 * i);
  }
};

// A block at any even address, known when the kernel runs. The last word may be read up to 2 bytes beyond the block; kPadded: up to 6,
// since each lane reads the same two words then, and blocks that are aligned otherwise than their neighbours meet no bank twice.
template <bool kPadded>
struct PackedBlockAt {
  const char* start;

  __device__ __forceinline__ uint32_t word(int offset) const {
    const uintptr_t from = reinterpret_cast<uintptr_t>(start);
    const bool odd = ((from + offset) & 2) != 0;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(start + offset - (odd ? 2 : 0));
    return ptx::prmt(words[0], words[kPadded || odd ? 1 : 0], odd ? 0x5432 : 0x3210);
  }

  __device__ __forceinline__ float half(int offset) const {
    return ptx::cvt_f32_lower_f16(*reinterpret_cast<const uint16_t*>(start + offset));
  }

  template <int kCount>
  __device__ __forceinline__ void words(int offset, uint32_t (&out)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = word(offset + 4 * i);
  }
};

using PackedBlockAnywhere = PackedBlockAt<false>;

}  // namespace llm_kernels
