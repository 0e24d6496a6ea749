//! The main kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::fused::rows::element_type;

/// `SelectiveScanBackwardParams` of `kernels/scan/selective_scan_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SelectiveScanBackwardParams {
    u: SequenceTensor,
    delta: SequenceTensor,
    z: SequenceTensor,
    d_out: SequenceTensor,
    d_u: SequenceTensor,
    d_delta: SequenceTensor,
    d_z: SequenceTensor,
    b: SequenceTensor,
    c: SequenceTensor,
    a: u64,
    d: u64,
    delta_bias: u64,
    boundary_states: u64,
    d_final_state: u64,
    d_initial_state: u64,
    /// Of B, C, A, D and the delta bias.
    partials: [u64; 5],
    positions: i64,
    sequences: Sequences,
    dim: i32,
    d_state: i32,
    groups: i32,
    tiles_of_group: i32,
    dtype: i32,
    softplus: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<SelectiveScanBackwardParams>() == 424
        && offset_of!(SelectiveScanBackwardParams, a) == 288
        && offset_of!(SelectiveScanBackwardParams, sequences) == 384
        && offset_of!(SelectiveScanBackwardParams, softplus) == 420
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for SelectiveScanBackwardParams {}
impl crate::launch::Params for SelectiveScanBackwardParams {}

impl SelectiveScanBackwardParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { u, delta, a, b, c, boundary_states, d_out, d_u, d_delta, d, z, delta_bias, d_z, .. } = operands;
        let shape = problem.shape;
        let address = |tensor: &Option<crate::Operand>| tensor.map_or(0, |tensor| tensor.address);
        Self {
            u: SequenceTensor::of_channels(Some(u)),
            delta: SequenceTensor::of_channels(Some(delta)),
            z: SequenceTensor::of_channels(z.as_ref()),
            d_out: SequenceTensor::of_channels(Some(d_out)),
            d_u: SequenceTensor::of_channels(Some(d_u)),
            d_delta: SequenceTensor::of_channels(Some(d_delta)),
            d_z: SequenceTensor::of_channels(d_z.as_ref()),
            b: SequenceTensor::new(b),
            c: SequenceTensor::new(c),
            a: a.address,
            d: address(d),
            delta_bias: address(delta_bias),
            boundary_states: boundary_states.address,
            d_final_state: address(&operands.d_final_state),
            d_initial_state: address(&operands.d_initial_state),
            partials: plan.partials.map(|partial| operands.workspace.address + partial.offset as u64),
            positions: shape.sequences.positions() as i64,
            sequences: Sequences::new(operands.cu_seqlens, shape.sequences.s),
            dim: shape.dim as i32,
            d_state: shape.d_state as i32,
            groups: shape.groups as i32,
            tiles_of_group: plan.tiles_of_group as i32,
            dtype: element_type(problem.dtype),
            softplus: problem.options.softplus.into(),
        }
    }
}
