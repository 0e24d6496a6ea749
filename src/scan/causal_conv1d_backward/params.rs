//! The main kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::fused::rows::element_type;

/// `CausalConv1dBackwardParams` of `kernels/scan/causal_conv1d_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct CausalConv1dBackwardParams {
    x: SequenceTensor,
    d_out: SequenceTensor,
    d_x: SequenceTensor,
    weight: u64,
    bias: u64,
    initial_state: u64,
    d_initial_state: u64,
    d_final_state: u64,
    d_weights: u64,
    d_biases: u64,
    sequences: Sequences,
    b: i32,
    dim: i32,
    positions: i32,
    num_tiles: i32,
    num_groups: i32,
    dtype: i32,
    weight_type: i32,
    bias_type: i32,
    silu: i32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<CausalConv1dBackwardParams>() == 208
        && offset_of!(CausalConv1dBackwardParams, sequences) == 152
        && offset_of!(CausalConv1dBackwardParams, silu) == 200
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for CausalConv1dBackwardParams {}
impl crate::launch::Params for CausalConv1dBackwardParams {}

impl CausalConv1dBackwardParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { x, weight, d_out, d_x, bias, initial_state, d_final_state, d_initial_state, .. } = operands;
        let sequences = problem.shape.sequences;
        let address = |tensor: &Option<crate::Operand>| tensor.map_or(0, |tensor| tensor.address);
        let [d_weights, d_biases] = plan.partials(problem, operands.workspace.address);
        Self {
            x: SequenceTensor::of_channels(Some(x)),
            d_out: SequenceTensor::of_channels(Some(d_out)),
            d_x: SequenceTensor::of_channels(Some(d_x)),
            weight: weight.address,
            bias: address(bias),
            initial_state: address(initial_state),
            d_initial_state: address(d_initial_state),
            d_final_state: address(d_final_state),
            d_weights,
            d_biases,
            sequences: Sequences::new(operands.cu_seqlens, sequences.s),
            b: sequences.b as i32,
            dim: problem.shape.dim as i32,
            positions: plan.positions as i32,
            num_tiles: plan.num_tiles as i32,
            num_groups: plan.num_groups as i32,
            dtype: element_type(x.dtype),
            weight_type: element_type(weight.dtype),
            bias_type: element_type(bias.map_or(weight.dtype, |bias| bias.dtype)),
            silu: problem.options.silu.into(),
            padding: 0,
        }
    }
}
