//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Problem};
use crate::attention::sequence_tensor::SequenceTensor;

/// `MergeParams` of `kernels/attention/merge.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct MergeParams {
    parts: SequenceTensor,
    out: SequenceTensor,
    parts_lse: u64,
    /// 0 when it is not wanted.
    lse: u64,
    part_stride: i64,
    num_rows: i64,
    num_parts: i32,
    s_q: i32,
    h_q: i32,
    d: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<MergeParams>() == 112
        && offset_of!(MergeParams, parts_lse) == 64
        && offset_of!(MergeParams, num_rows) == 88
        && offset_of!(MergeParams, d) == 108
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for MergeParams {}
impl crate::launch::Params for MergeParams {}

impl MergeParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, operands: &Operands) -> Self {
        let Operands { parts_out, parts_lse, out, lse } = operands;
        let shape = problem.shape;
        Self {
            parts: SequenceTensor::inner(parts_out, 1),
            out: SequenceTensor::new(out),
            parts_lse: parts_lse.address,
            lse: lse.map_or(0, |lse| lse.address),
            part_stride: parts_out.layout.stride(0),
            num_rows: problem.rows() as i64,
            num_parts: shape.n as i32,
            s_q: shape.s_q as i32,
            h_q: shape.h_q as i32,
            d: shape.d as i32,
        }
    }
}
