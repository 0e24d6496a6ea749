//! The kernel's parameters.

use std::mem::offset_of;

use super::{CHUNK, Operands, Plan, Problem};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::fused::rows::element_type;

/// `SelectiveScanParams` of `kernels/scan/selective_scan.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SelectiveScanParams {
    u: SequenceTensor,
    delta: SequenceTensor,
    z: SequenceTensor,
    out: SequenceTensor,
    b: SequenceTensor,
    c: SequenceTensor,
    a: u64,
    d: u64,
    delta_bias: u64,
    initial_state: u64,
    final_state: u64,
    boundary_states: u64,
    carry: u64,
    turns: u64,
    sequences: Sequences,
    dim: i32,
    d_state: i32,
    groups: i32,
    tiles_of_group: i32,
    chunk: i32,
    segment: i32,
    num_blocks: i32,
    dtype: i32,
    softplus: i32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<SelectiveScanParams>() == 312
        && offset_of!(SelectiveScanParams, a) == 192
        && offset_of!(SelectiveScanParams, sequences) == 256
        && offset_of!(SelectiveScanParams, softplus) == 304
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for SelectiveScanParams {}
impl crate::launch::Params for SelectiveScanParams {}

impl SelectiveScanParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { u, delta, a, b, c, out, d, z, delta_bias, initial_state, final_state, .. } = operands;
        let shape = problem.shape;
        let initial_state = if problem.options.update { final_state } else { initial_state };
        let address = |tensor: &Option<crate::Operand>| tensor.map_or(0, |tensor| tensor.address);
        let workspace = plan.segments.map(|segments| (address(&operands.workspace), segments));
        Self {
            u: SequenceTensor::of_channels(Some(u)),
            delta: SequenceTensor::of_channels(Some(delta)),
            z: SequenceTensor::of_channels(z.as_ref()),
            out: SequenceTensor::of_channels(Some(out)),
            b: SequenceTensor::new(b),
            c: SequenceTensor::new(c),
            a: a.address,
            d: address(d),
            delta_bias: address(delta_bias),
            initial_state: address(initial_state),
            final_state: address(final_state),
            boundary_states: address(&operands.boundary_states),
            carry: workspace.map_or(0, |(start, segments)| start + segments.carry as u64),
            turns: workspace.map_or(0, |(start, _)| start),
            sequences: Sequences::new(operands.cu_seqlens, shape.sequences.s),
            dim: shape.dim as i32,
            d_state: shape.d_state as i32,
            groups: shape.groups as i32,
            tiles_of_group: plan.tiles_of_group as i32,
            chunk: CHUNK as i32,
            segment: plan.segments.map_or(i32::MAX, |segments| segments.positions as i32),
            num_blocks: plan.blocks as i32,
            dtype: element_type(problem.dtype),
            softplus: problem.options.softplus.into(),
            padding: 0,
        }
    }
}

/// `ClearParams` of the same file.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct ClearParams {
    words: u64,
    count: i64,
}

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for ClearParams {}
impl crate::launch::Params for ClearParams {}

impl ClearParams {
    /// The ticket and the turns of a plan.
    pub(super) fn new(plan: &Plan, workspace: &crate::Operand) -> Self {
        Self { words: workspace.address, count: plan.blocks as i64 + 1 }
    }
}
