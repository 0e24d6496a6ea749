//! The kernels' parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `RmsNormBackwardParams` of `kernels/fused/rms_norm_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RmsNormBackwardParams {
    x: RowTensor,
    d_out: RowTensor,
    d_x: RowTensor,
    weight: RowTensor,
    /// 0 when the gradient of the weights is not wanted.
    partial: u64,
    rows: Rows,
    epsilon: f32,
    weight_offset: f32,
    accumulate: i32,
    team: i32,
}

/// `DWeightParams` of the same file.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct DWeightParams {
    partial: u64,
    d_weight: RowTensor,
    num_partials: u32,
    d: u32,
    unit: i32,
    padding: i32,
}

// The kernels assert the same numbers.
const _: () = assert!(
    size_of::<RmsNormBackwardParams>() == 200
        && offset_of!(RmsNormBackwardParams, rows) == 168
        && offset_of!(RmsNormBackwardParams, team) == 196
        && size_of::<DWeightParams>() == 64
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RmsNormBackwardParams {}
impl crate::launch::Params for RmsNormBackwardParams {}
// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for DWeightParams {}
impl crate::launch::Params for DWeightParams {}

impl RmsNormBackwardParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { x, weight, d_out, d_x, d_weight, workspace } = operands;
        let (rows, [x, d_out, d_x]) = rows([Some(x), Some(d_out), Some(d_x)]);
        Self {
            x,
            d_out,
            d_x,
            weight: RowTensor::one(weight.as_ref()),
            partial: if d_weight.is_some() { workspace.address } else { 0 },
            rows,
            epsilon: problem.options.epsilon,
            weight_offset: problem.options.weight_offset,
            accumulate: problem.options.accumulate.into(),
            team: plan.team as i32,
        }
    }
}

impl DWeightParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        Self {
            partial: operands.workspace.address,
            d_weight: RowTensor::one(operands.d_weight.as_ref()),
            num_partials: plan.num_partials as u32,
            d: problem.d as u32,
            unit: problem.unit as i32,
            padding: 0,
        }
    }
}
