// Rotations of pairs of elements by a position: what rotary position embeddings share.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/rotation.rs.
struct Rotation {
  const float* inverse_frequencies;  // [num_pairs], contiguous.
  uint32_t num_pairs;
  float magnitude;
  int32_t interleaved;  // Pairs are (2 i, 2 i + 1), not (i, i + num_pairs).
  int32_t inverse;

  // A thread has kUnit pairs, from two units of a row: unit `unit` of the first half of what is rotated, and of the
  // second. Interleaved pairs lie inside the units, the others across. Single elements are a pair themselves.
  template <int kUnit>
  __device__ __forceinline__ uint32_t first(uint32_t unit) const {
    return kUnit == 1 && interleaved ? 2 * unit : unit * kUnit;
  }
  template <int kUnit>
  __device__ __forceinline__ uint32_t second(uint32_t unit) const {
    return kUnit == 1 && interleaved ? 2 * unit + 1 : num_pairs + unit * kUnit;
  }

  // The frequencies of a thread's pairs. Interleaved, the second unit's are half a row further on.
  template <int kUnit>
  __device__ __forceinline__ void load(uint32_t unit, float (&frequencies)[kUnit]) const {
    constexpr int kHalf = kUnit > 1 ? kUnit / 2 : 1;
    const bool apart = kUnit > 1 && interleaved;
    const float* low = inverse_frequencies + (apart ? unit * kHalf : unit * kUnit);
    const float* high = low + (apart ? num_pairs / 2 : kHalf);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) frequencies[i] = i < kHalf ? low[i] : high[i - kHalf];
  }

  // Where frequency i lies in shared memory: every other 8 chunks of 16 bytes are swapped in pairs, so that lanes which
  // take every second chunk meet in no bank.
  static __device__ __forceinline__ uint32_t place(uint32_t i) { return i ^ (i >> 3 & 4); }

  // As `load`, from shared memory that holds all of them.
  template <int kUnit>
  __device__ __forceinline__ void load_shared(const float* shared, uint32_t unit, float (&frequencies)[kUnit]) const {
    if constexpr (kUnit == 1) {
      frequencies[0] = shared[place(unit)];
    } else if (kUnit == 4 && interleaved) {
      const float2 low = *reinterpret_cast<const float2*>(shared + place(unit * 2));
      const float2 high = *reinterpret_cast<const float2*>(shared + place(num_pairs / 2 + unit * 2));
      frequencies[0] = low.x, frequencies[1] = low.y, frequencies[2] = high.x, frequencies[3] = high.y;
    } else {
#pragma unroll
      for (int i = 0; i < kUnit; i += 4) {
        const uint32_t first = interleaved ? unit * 4 + i / 4 * (num_pairs / 2) : unit * kUnit + i;
        const float4 chunk = *reinterpret_cast<const float4*>(shared + place(first));
        frequencies[i] = chunk.x, frequencies[i + 1] = chunk.y, frequencies[i + 2] = chunk.z;
        frequencies[i + 3] = chunk.w;
      }
    }
  }

  // Sines and cosines, times the magnitude, of position * frequency; sines are negated for the inverse.
  template <int kUnit>
  __device__ __forceinline__ void angles(int32_t position, const float (&frequencies)[kUnit], float (&sines)[kUnit],
                                         float (&cosines)[kUnit]) const {
    const float p = static_cast<float>(position);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      // The angle to twice the precision of f32, less the nearest multiple of pi / 2.
      const float angle = p * frequencies[i];
      const float error = __fmaf_rn(p, frequencies[i], -angle);
      // The nearest integer, in the low bits of a sum; good up to 2^22 quarter turns.
      const float shifted = __fmaf_rn(angle, 0.6366197723675814f, 12582912.0f);
      const int quarter = __float_as_int(shifted);
      const float turns = shifted - 12582912.0f;
      float r = __fmaf_rn(turns, -1.5707963705062866f, angle);
      r = __fmaf_rn(turns, 4.371139000186241e-8f, r);
      r += error;
      // Taylor's polynomials on [-pi / 4, pi / 4]: errors of 3e-9 and 3e-8 at the ends.
      const float square = r * r;
      float sine = __fmaf_rn(square, 2.7557319e-6f, -1.9841270e-4f);
      sine = __fmaf_rn(sine, square, 8.3333333e-3f);
      sine = __fmaf_rn(sine, square, -1.6666667e-1f);
      sine = __fmaf_rn(sine * square, r, r);
      float cosine = __fmaf_rn(square, 2.4801587e-5f, -1.3888889e-3f);
      cosine = __fmaf_rn(cosine, square, 4.1666667e-2f);
      cosine = __fmaf_rn(cosine, square, -0.5f);
      cosine = __fmaf_rn(cosine, square, 1.0f);
      const bool odd = quarter & 1;
      const float s = odd ? cosine : sine, c = odd ? sine : cosine;
      // Signs: sine by the second bit, cosine by the second bit of one quarter further.
      const uint32_t sign_s = (static_cast<uint32_t>(quarter) << 30 ^ static_cast<uint32_t>(inverse) << 31) & 0x80000000u;
      const uint32_t sign_c = (static_cast<uint32_t>(quarter) + 1) << 30 & 0x80000000u;
      sines[i] = magnitude * __uint_as_float(__float_as_uint(s) ^ sign_s);
      cosines[i] = magnitude * __uint_as_float(__float_as_uint(c) ^ sign_c);
    }
  }

  // Rotates a thread's pairs.
  template <int kUnit>
  __device__ __forceinline__ void rotate(float (&values)[2][kUnit], const float (&sines)[kUnit],
                                         const float (&cosines)[kUnit]) const {
    if (kUnit > 1 && interleaved) {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        // Pair i: elements 2 i and 2 i + 1 of the two units, one after the other.
        constexpr int kHalf = kUnit > 1 ? kUnit / 2 : 1;
        float(&unit)[kUnit] = values[i / kHalf];
        turn(unit[2 * i % kUnit], unit[(2 * i + 1) % kUnit], sines[i], cosines[i]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) turn(values[0][i], values[1][i], sines[i], cosines[i]);
    }
  }

  static __device__ __forceinline__ void turn(float& a, float& b, float sine, float cosine) {
    const float x = a, y = b;
    a = __fmaf_rn(x, cosine, -y * sine);
    b = __fmaf_rn(y, cosine, x * sine);
  }
};

static_assert(sizeof(Rotation) == 24, "mirrored in Rust");

}  // namespace llm_kernels
