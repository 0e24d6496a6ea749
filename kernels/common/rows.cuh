// Tensors as rows: up to three outer dimensions of any strides, and rows of neighbouring elements of any type.
#pragma once

#include <cstdint>

#include "common/elements.cuh"

namespace llm_kernels {

// The sizes that all tensors of a launch share. Row i is at ((i / size_2) / size_1, (i / size_2) % size_1, i % size_2)
// of the outer dimensions. Mirrored in Rust: src/fused/rows.rs.
struct Rows {
  uint32_t num_rows;
  uint32_t size_1, size_2;
  uint32_t width;  // Elements of a row.
};

// A tensor `[size_0, size_1, size_2, width]`; strides are in elements. Mirrored in Rust: src/fused/rows.rs.
struct RowTensor {
  void* data;  // Null where there is no such tensor.
  int64_t strides[3];
  ElementType type;
  int32_t padding;

  __device__ __forceinline__ Row row(const Rows& rows, uint32_t index) const {
    int64_t offset = 0;
    // The usual case needs no division.
    if (rows.size_2 > 1) {
      offset += index % rows.size_2 * strides[2];
      index /= rows.size_2;
    }
    if (rows.size_1 > 1) {
      offset += index % rows.size_1 * strides[1];
      index /= rows.size_1;
    }
    offset += index * strides[0];
    const Row first{static_cast<char*>(data), type};
    return {first.at(offset), type};
  }
};

static_assert(sizeof(Rows) == 16 && sizeof(RowTensor) == 40, "mirrored in Rust");

}  // namespace llm_kernels
