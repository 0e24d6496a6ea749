//! What changes scores before the softmax, as kernels take it: the mirror of `kernels/common/score.cuh` and `tensor.cuh`.

use crate::{DType, Operand};

use super::SequenceOperand;
use super::philox::Dropout;

/// `ScoreTensor`: a `[b or 1, h or 1, s_q, columns]` tensor; a dimension of size 1 has stride 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ScoreTensor {
    address: u64,
    batch_stride: i64,
    head_stride: i64,
    row_stride: i64,
}

impl ScoreTensor {
    pub(crate) fn new(tensor: Option<&Operand>) -> Self {
        let Some(tensor) = tensor else { return Self::default() };
        let stride = |dim| if tensor.layout.shape()[dim] == 1 { 0 } else { tensor.layout.stride(dim) };
        Self { address: tensor.address, batch_stride: stride(0), head_stride: stride(1), row_stride: stride(2) }
    }
}

/// `RowTensor`: a `[b, h, s]` tensor of f32, or `[h, total]` with sequences of various lengths. Address 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct RowTensor {
    address: u64,
    batch_stride: i64,
    head_stride: i64,
}

impl RowTensor {
    pub(crate) fn new(tensor: Option<&Operand>) -> Self {
        let Some(Operand { address, layout, .. }) = tensor else { return Self::default() };
        // Without gaps: strides follow from the shape, also where a dimension is empty.
        let size = |dim: usize| layout.shape()[dim] as i64;
        let (batch_stride, head_stride) = if layout.rank() == 2 { (0, size(1)) } else { (size(1) * size(2), size(2)) };
        Self { address: *address, batch_stride, head_stride }
    }

    /// The `[b, h, s]` tensor of the dimensions from `first` on, at index 0 of those before.
    pub(crate) fn inner(tensor: &Operand, first: usize) -> Self {
        let size = |dim: usize| tensor.layout.shape()[first + dim] as i64;
        Self { address: tensor.address, batch_stride: size(1) * size(2), head_stride: size(2) }
    }
}

/// `Sequences`: where each sequence lies. Address 0: every batch entry is one, of `longest` positions.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Sequences {
    pub(crate) address: u64,
    pub(crate) total: i32,
    pub(crate) longest: i32,
}

impl Sequences {
    /// Of given offsets; else every batch entry is one of `longest` positions.
    pub(crate) fn new(given: Option<SequenceOperand>, longest: usize) -> Self {
        Self {
            address: given.map_or(0, |given| given.address),
            total: given.map_or(longest, |given| given.total) as i32,
            longest: longest as i32,
        }
    }
}

/// `ScoreParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ScoreParams {
    bias: ScoreTensor,
    mask_bits: ScoreTensor,
    alibi_slopes: u64,
    prefix: u64,
    dropout_seed: u64,
    dropout_threshold: u32,
    dropout_scale: f32,
    scale_log2: f32,
    softcap_log2: f32,
    softcap_scale: f32,
    bias_kind: i32,
}

// The kernels assert the same number.
const _: () = assert!(size_of::<ScoreParams>() == 112);

/// What [`ScoreParams`] is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreOperands<'a> {
    pub(crate) bias: Option<&'a Operand>,
    pub(crate) mask_bits: Option<&'a Operand>,
    pub(crate) alibi_slopes: Option<&'a Operand>,
    pub(crate) prefix: Option<&'a Operand>,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
    pub(crate) dropout: Option<Dropout>,
}

impl ScoreParams {
    pub(crate) fn new(operands: &ScoreOperands) -> Self {
        let ScoreOperands { bias, mask_bits, alibi_slopes, prefix, scale, softcap, dropout } = *operands;
        let address = |tensor: Option<&Operand>| tensor.map_or(0, |tensor| tensor.address);
        // The kernel's exponentials are powers of 2.
        let log2_e = std::f32::consts::LOG2_E;
        Self {
            bias: ScoreTensor::new(bias),
            mask_bits: ScoreTensor::new(mask_bits),
            alibi_slopes: address(alibi_slopes),
            prefix: address(prefix),
            dropout_seed: dropout.map_or(0, |dropout| dropout.seed),
            dropout_threshold: dropout.map_or(0, |dropout| dropout.threshold),
            dropout_scale: dropout.map_or(1.0, |dropout| dropout.scale),
            scale_log2: scale * log2_e,
            softcap_log2: softcap.map_or(0.0, |cap| cap * log2_e),
            softcap_scale: softcap.map_or(0.0, |cap| scale / cap),
            bias_kind: bias.map_or(0, |bias| i32::from(bias.dtype == DType::F32) | i32::from(is_paired(bias)) << 1),
        }
    }
}

/// Whether two elements from an even column on are aligned and exist together, in every row.
fn is_paired(bias: &Operand) -> bool {
    let (layout, pair) = (&bias.layout, 2 * bias.dtype.size_bytes() as u64);
    let even = |(&size, &stride): (&usize, &usize)| size == 1 || stride % 2 == 0;
    let [outer @ .., columns] = layout.shape() else { return false };
    bias.address.is_multiple_of(pair) && columns % 2 == 0 && outer.iter().zip(layout.strides()).all(even)
}
