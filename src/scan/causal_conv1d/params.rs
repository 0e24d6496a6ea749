//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::fused::rows::element_type;

/// `CausalConv1dParams` of `kernels/scan/causal_conv1d.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct CausalConv1dParams {
    x: SequenceTensor,
    out: SequenceTensor,
    weight: u64,
    bias: u64,
    initial_state: u64,
    final_state: u64,
    sequences: Sequences,
    b: i32,
    dim: i32,
    positions: i32,
    num_tiles: i32,
    dtype: i32,
    weight_type: i32,
    bias_type: i32,
    silu: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<CausalConv1dParams>() == 144
        && offset_of!(CausalConv1dParams, sequences) == 96
        && offset_of!(CausalConv1dParams, silu) == 140
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for CausalConv1dParams {}
impl crate::launch::Params for CausalConv1dParams {}

impl CausalConv1dParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { x, weight, out, bias, initial_state, final_state, cu_seqlens } = operands;
        let sequences = problem.shape.sequences;
        let initial_state = if problem.options.update { final_state } else { initial_state };
        let address = |tensor: &Option<crate::Operand>| tensor.map_or(0, |tensor| tensor.address);
        Self {
            x: SequenceTensor::of_channels(Some(x)),
            out: SequenceTensor::of_channels(Some(out)),
            weight: weight.address,
            bias: address(bias),
            initial_state: address(initial_state),
            final_state: address(final_state),
            sequences: Sequences::new(*cu_seqlens, sequences.s),
            b: sequences.b as i32,
            dim: problem.shape.dim as i32,
            positions: plan.positions as i32,
            num_tiles: plan.num_tiles as i32,
            dtype: element_type(x.dtype),
            weight_type: element_type(weight.dtype),
            bias_type: element_type(bias.map_or(weight.dtype, |bias| bias.dtype)),
            silu: problem.options.silu.into(),
        }
    }
}
