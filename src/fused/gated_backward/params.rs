//! The kernel's parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `GatedBackwardParams` of `kernels/fused/gated_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct GatedBackwardParams {
    gate: RowTensor,
    up: RowTensor,
    d_out: RowTensor,
    d_gate: RowTensor,
    d_up: RowTensor,
    rows: Rows,
    activation: i32,
    tiles_per_row: u32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<GatedBackwardParams>() == 224
        && offset_of!(GatedBackwardParams, rows) == 200
        && offset_of!(GatedBackwardParams, tiles_per_row) == 220
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for GatedBackwardParams {}
impl crate::launch::Params for GatedBackwardParams {}

impl GatedBackwardParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { gate, up, d_out, d_gate, d_up } = operands;
        let tensors = [Some(gate), up.as_ref(), Some(d_out), Some(d_gate), d_up.as_ref()];
        let (counted, [gate, up, d_out, d_gate, d_up]) = rows(tensors);
        Self {
            gate,
            up,
            d_out,
            d_gate,
            d_up,
            rows: if problem.num_rows == 1 { Rows::one(problem.width) } else { counted },
            activation: problem.activation.number(),
            tiles_per_row: plan.tiles_per_row as u32,
        }
    }
}
