//! The kernels' parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `SampleParams` of `kernels/fused/sample.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SampleParams {
    logits: RowTensor,
    rows: Rows,
    ids: u64,
    /// 0 when they are not wanted.
    log_probabilities: u64,
    /// 0 when there are none.
    steps: u64,
    parts: u64,
    num_parts: u32,
    units_per_part: u32,
    seed: [u32; 2],
    step: u32,
    top_k: u32,
    scale: f32,
    top_p: f32,
    log_min_p: f32,
    padding: i32,
}

// The kernels assert the same numbers.
const _: () = assert!(
    size_of::<SampleParams>() == 128
        && offset_of!(SampleParams, num_parts) == 88
        && offset_of!(SampleParams, step) == 104
        && offset_of!(SampleParams, log_min_p) == 120
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for SampleParams {}
impl crate::launch::Params for SampleParams {}

impl SampleParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { logits, ids, log_probabilities, steps, workspace } = operands;
        let options = problem.options;
        let (rows, [logits]) = rows([Some(logits)]);
        Self {
            logits,
            rows,
            ids: ids.address,
            log_probabilities: log_probabilities.map_or(0, |tensor| tensor.address),
            steps: steps.map_or(0, |tensor| tensor.address),
            parts: workspace.address,
            num_parts: plan.num_parts as u32,
            units_per_part: plan.units_per_part as u32,
            seed: [options.seed as u32, (options.seed >> 32) as u32],
            step: options.step,
            top_k: options.top_k.unwrap_or(0),
            scale: if options.temperature == 0.0 { 0.0 } else { 1.0 / options.temperature },
            top_p: options.top_p,
            log_min_p: options.min_p.ln(),
            padding: 0,
        }
    }
}
