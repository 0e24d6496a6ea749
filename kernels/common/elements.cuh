// Elements of a floating-point type that is known at run time only, as f32. One instance of a kernel then takes every
// mix of types; what that costs is a uniform branch for several accesses.
//
// A unit is what a lane moves at once, kUnit neighbouring elements:
//   8: 16 bytes of a 16-bit type; where no tensor is f32
//   4: 16 bytes of f32, 8 of a 16-bit type
//   1: an element; for rows of any length at any address
// Loads come apart from conversions, so that all loads of a thread are under way together.
#pragma once

#include <cstdint>

#include "common/ptx.cuh"
#include "common/types.cuh"

namespace llm_kernels {

// Mirrored in Rust: src/fused/rows.rs.
enum class ElementType : int32_t { kF32 = 0, kF16 = 1, kBf16 = 2 };

// kCount units as they lie in memory.
template <int kUnit, int kCount = 1>
struct Units {
  static constexpr int kWords = kUnit == 1 ? 1 : 4;
  uint32_t words[kCount][kWords];
};

// A row of neighbouring elements.
struct Row {
  char* start;
  ElementType type;

  __device__ __forceinline__ char* at(int64_t element) const {
    return start + (element << (type == ElementType::kF32 ? 2 : 1));
  }

  // Loads unit `unit` to place `i`.
  template <int kUnit, int kCount>
  __device__ __forceinline__ void load(int64_t unit, Units<kUnit, kCount>& units, int i) const {
    load_at(unit * kUnit, units, i);
  }

  // Loads the unit at an element to place `i`.
  template <int kUnit, int kCount>
  __device__ __forceinline__ void load_at(int64_t element, Units<kUnit, kCount>& units, int i) const {
    uint32_t(&words)[Units<kUnit>::kWords] = units.words[i];
    const char* address = at(element);
    if constexpr (kUnit == 1) {
      words[0] = type == ElementType::kF32 ? ptx::ld_global_4(static_cast<const void*>(address))
                                           : ptx::ld_global_2(address);
    } else if (kUnit == 8 || type == ElementType::kF32) {
      const uint4 chunk = ptx::ld_global_16(address);
      words[0] = chunk.x, words[1] = chunk.y, words[2] = chunk.z, words[3] = chunk.w;
    } else {
      const uint2 chunk = ptx::ld_global_8(address);
      words[0] = chunk.x, words[1] = chunk.y;
    }
  }

  // Stores place `i` to unit `unit`.
  template <int kUnit, int kCount>
  __device__ __forceinline__ void store(int64_t unit, const Units<kUnit, kCount>& units, int i) const {
    store_at(unit * kUnit, units, i);
  }

  // Stores place `i` to the unit at an element.
  template <int kUnit, int kCount>
  __device__ __forceinline__ void store_at(int64_t element, const Units<kUnit, kCount>& units, int i) const {
    const uint32_t(&words)[Units<kUnit>::kWords] = units.words[i];
    char* address = at(element);
    if constexpr (kUnit == 1) {
      if (type == ElementType::kF32) {
        ptx::st_global_4(address, words[0]);
      } else {
        ptx::st_global_2(address, static_cast<uint16_t>(words[0]));
      }
    } else if (kUnit == 8 || type == ElementType::kF32) {
      ptx::st_global_16(address, {words[0], words[1], words[2], words[3]});
    } else {
      ptx::st_global_8(address, {words[0], words[1]});
    }
  }
};

namespace elements_detail {

template <typename T, int kUnit, int kCount>
__device__ __forceinline__ void unpack_all(const Units<kUnit, kCount>& units, float (&values)[kCount][kUnit]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) values[i][e] = __uint_as_float(units.words[i][e]);
    } else if constexpr (kUnit == 1) {
      values[i][0] = T::unpack(units.words[i][0]).x;
    } else {
#pragma unroll
      for (int e = 0; e < kUnit; e += 2) {
        const float2 pair = T::unpack(units.words[i][e / 2]);
        values[i][e] = pair.x;
        values[i][e + 1] = pair.y;
      }
    }
  }
}

template <typename T, int kUnit, int kCount>
__device__ __forceinline__ void pack_all(const float (&values)[kCount][kUnit], Units<kUnit, kCount>& units) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int e = 0; e < kUnit; ++e) units.words[i][e] = __float_as_uint(values[i][e]);
    } else if constexpr (kUnit == 1) {
      units.words[i][0] = T::pack(values[i][0], 0.0f);
    } else {
#pragma unroll
      for (int e = 0; e < kUnit; e += 2) units.words[i][e / 2] = T::pack(values[i][e], values[i][e + 1]);
    }
  }
}

}  // namespace elements_detail

// The elements as f32: exact.
template <int kUnit, int kCount>
__device__ __forceinline__ void unpack(ElementType type, const Units<kUnit, kCount>& units,
                                       float (&values)[kCount][kUnit]) {
  if (kUnit != 8 && type == ElementType::kF32) {
    if constexpr (kUnit != 8) elements_detail::unpack_all<f32>(units, values);
  } else if (type == ElementType::kF16) {
    elements_detail::unpack_all<f16>(units, values);
  } else {
    elements_detail::unpack_all<bf16>(units, values);
  }
}

// Rounded to nearest even.
template <int kUnit, int kCount>
__device__ __forceinline__ void pack(ElementType type, const float (&values)[kCount][kUnit],
                                     Units<kUnit, kCount>& units) {
  if (kUnit != 8 && type == ElementType::kF32) {
    if constexpr (kUnit != 8) elements_detail::pack_all<f32>(values, units);
  } else if (type == ElementType::kF16) {
    elements_detail::pack_all<f16>(values, units);
  } else {
    elements_detail::pack_all<bf16>(values, units);
  }
}

}  // namespace llm_kernels
