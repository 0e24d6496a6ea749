//! `SequenceTensor` of `kernels/common/tensor.cuh`.

use crate::Operand;

/// Address and strides, in elements, of a `[b, s, h, d]` tensor whose last stride is 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct SequenceTensor {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

impl SequenceTensor {
    /// Of a `[b, s, h, d]` tensor, or of the `[total, h, d]` tensor of sequences of various lengths.
    pub(crate) fn new(tensor: &Operand) -> Self {
        Self::inner(tensor, 0)
    }

    /// The tensor of the dimensions from `first` on, at index 0 of those before.
    pub(crate) fn inner(tensor: &Operand, first: usize) -> Self {
        let layout = &tensor.layout;
        let positions = layout.rank().saturating_sub(3);
        Self {
            address: tensor.address,
            batch_stride: if positions > first { layout.stride(first) } else { 0 },
            sequence_stride: layout.stride(positions),
            head_stride: layout.stride(positions + 1),
        }
    }

    /// Of a `[b, s, h]` tensor, whose rows have one element. Zeros if there is none.
    pub(crate) fn of_elements(tensor: Option<&Operand>) -> Self {
        let Some(Operand { address, layout, .. }) = tensor else { return Self::default() };
        let [batch_stride, sequence_stride, head_stride] = std::array::from_fn(|dim| layout.stride(dim));
        Self { address: *address, batch_stride, sequence_stride, head_stride }
    }

    /// Of a `[b, s, d]` tensor, or of the `[total, d]` tensor of sequences of various lengths: one head. Zeros if there
    /// is none.
    pub(crate) fn of_channels(tensor: Option<&Operand>) -> Self {
        let Some(Operand { address, layout, .. }) = tensor else { return Self::default() };
        let positions = layout.rank().saturating_sub(2);
        let batch_stride = if positions > 0 { layout.stride(0) } else { 0 };
        Self { address: *address, batch_stride, sequence_stride: layout.stride(positions), head_stride: 0 }
    }
}
