//! The kernel's parameters.

use std::mem::offset_of;

use super::super::rows::RowTensor;
use super::{Operands, Plan, Problem};
use crate::Operand;
use crate::rotation::Rotation;

/// `RopeParams` of `kernels/fused/rope.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RopeParams {
    x: RowTensor,
    out: RowTensor,
    positions: u64,
    position_strides: [i64; 2],
    rotation: Rotation,
    num_tokens: u32,
    s: u32,
    h: u32,
    d: u32,
    head_groups: u32,
    in_place: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<RopeParams>() == 152
        && offset_of!(RopeParams, rotation) == 104
        && offset_of!(RopeParams, num_tokens) == 128
        && offset_of!(RopeParams, in_place) == 148
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RopeParams {}
impl crate::launch::Params for RopeParams {}

/// The last `DIMS` strides before the last `skip` dimensions; 0 for a dimension that is not there.
fn strides<const DIMS: usize>(tensor: &Operand, skip: usize) -> [i64; DIMS] {
    let rank = tensor.layout.rank();
    std::array::from_fn(|i| (rank - skip + i).checked_sub(DIMS).map_or(0, |dim| tensor.layout.stride(dim)))
}

impl RopeParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { x, positions, inverse_frequencies, out } = operands;
        let (shape, options) = (problem.shape, problem.options);
        let heads = |tensor: &Operand| RowTensor::new(tensor, strides::<3>(tensor, 1));
        Self {
            x: heads(x.as_ref().unwrap_or(out)),
            out: heads(out),
            positions: positions.address,
            position_strides: strides::<2>(positions, 0),
            rotation: Rotation::new(inverse_frequencies, options.interleaved, options.inverse, options.magnitude),
            num_tokens: (shape.b * shape.s) as u32,
            s: shape.s as u32,
            h: shape.h as u32,
            d: shape.d as u32,
            head_groups: plan.head_groups as u32,
            in_place: x.is_none().into(),
        }
    }
}
