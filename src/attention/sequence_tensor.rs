//! `SequenceTensor` of `kernels/common/tensor.cuh`.

use crate::Operand;

/// Address and strides, in elements, of a `[b, s, h, d]` tensor whose last stride is 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SequenceTensor {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

impl SequenceTensor {
    pub(super) fn new(tensor: &Operand) -> Self {
        Self::inner(tensor, 0)
    }

    /// The tensor of the dimensions from `first` on, at index 0 of those before.
    pub(super) fn inner(tensor: &Operand, first: usize) -> Self {
        let stride = |dim| tensor.layout.stride(first + dim);
        Self { address: tensor.address, batch_stride: stride(0), sequence_stride: stride(1), head_stride: stride(2) }
    }
}
