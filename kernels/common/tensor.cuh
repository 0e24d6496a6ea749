// Views of tensors in global memory: pointer and strides. The only index arithmetic on global memory.
#pragma once

#include <cstdint>

namespace llm_kernels {

// A `[b, s, h, d]` tensor with unit stride in d. Strides are in elements and 64-bit, so that an offset never wraps.
// Mirrored by a repr(C) struct in Rust; the host has checked shape, overflow and 16-byte alignment of every row.
struct SequenceTensor {
  void* data;
  int64_t batch_stride;
  int64_t sequence_stride;
  int64_t head_stride;

  // The offset of the row of d elements at (batch, position, head), in elements.
  __device__ __forceinline__ int64_t offset(int batch, int position, int head) const {
    return batch * batch_stride + position * sequence_stride + head * head_stride;
  }

  // That row.
  template <typename T>
  __device__ __forceinline__ T* row(int batch, int position, int head) const {
    return static_cast<T*>(data) + offset(batch, position, head);
  }
};

// A `[b, h, s_q, columns]` tensor with unit stride in the last dimension, one row for each row of scores. A dimension
// that is broadcast has stride 0. Null data: there is none.
struct ScoreTensor {
  const void* data;
  int64_t batch_stride;
  int64_t head_stride;
  int64_t row_stride;

  // The row of (batch, head, query).
  template <typename T>
  __device__ __forceinline__ const T* row(int batch, int head, int query) const {
    return static_cast<const T*>(data) + batch * batch_stride + head * head_stride + query * row_stride;
  }
};

// The `[b, h, s]` f32 tensor of one number for each row of scores; with sequences of various lengths `[h, total]`,
// whose batch stride is 0. Null data: it is not wanted.
struct RowTensor {
  float* data;
  int64_t batch_stride;
  int64_t head_stride;

  __device__ __forceinline__ float& at(int batch, int head, int position) const {
    return data[batch * batch_stride + head * head_stride + position];
  }
};

static_assert(sizeof(SequenceTensor) == 32 && sizeof(ScoreTensor) == 32 && sizeof(RowTensor) == 24,
              "mirrored in Rust");

// The offset of (batch, head, position) in a contiguous `[b, h, s]` tensor.
__device__ __forceinline__ int64_t row_offset(int batch, int head, int position, int num_heads, int num_positions) {
  return (static_cast<int64_t>(batch) * num_heads + head) * num_positions + position;
}

}  // namespace llm_kernels
