//! The kernel's parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `GatedParams` of `kernels/fused/gated.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct GatedParams {
    gate: RowTensor,
    up: RowTensor,
    out: RowTensor,
    rows: Rows,
    activation: i32,
    tiles_per_row: u32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<GatedParams>() == 144
        && offset_of!(GatedParams, rows) == 120
        && offset_of!(GatedParams, tiles_per_row) == 140
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for GatedParams {}
impl crate::launch::Params for GatedParams {}

impl GatedParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { gate, up, out } = operands;
        let (counted, [out, gate, up]) = rows([Some(out), Some(gate.as_ref().unwrap_or(out)), up.as_ref()]);
        Self {
            gate,
            up,
            out,
            rows: if problem.num_rows == 1 { Rows::one(problem.width) } else { counted },
            activation: problem.activation.number(),
            tiles_per_row: plan.tiles_per_row as u32,
        }
    }
}
