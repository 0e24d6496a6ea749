//! The kernel's parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `RmsNormParams` of `kernels/fused/rms_norm.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RmsNormParams {
    x: RowTensor,
    residual: RowTensor,
    out: RowTensor,
    weight: RowTensor,
    rows: Rows,
    epsilon: f32,
    weight_offset: f32,
    accumulate: i32,
    team: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<RmsNormParams>() == 192
        && offset_of!(RmsNormParams, rows) == 160
        && offset_of!(RmsNormParams, team) == 188
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RmsNormParams {}
impl crate::launch::Params for RmsNormParams {}

impl RmsNormParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { x, residual, weight, out } = operands;
        let (rows, [out, x, residual]) = rows([Some(out), Some(x.as_ref().unwrap_or(out)), residual.as_ref()]);
        Self {
            x,
            residual,
            out,
            weight: RowTensor::one(weight.as_ref()),
            rows,
            epsilon: problem.options.epsilon,
            weight_offset: problem.options.weight_offset,
            accumulate: problem.options.accumulate.into(),
            team: plan.team as i32,
        }
    }
}
