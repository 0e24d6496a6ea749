//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Problem};
use crate::attention::sequence_tensor::SequenceTensor;
use crate::fused::rows::element_type;

/// `SelectiveStepParams` of `kernels/scan/selective_step.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SelectiveStepParams {
    u: SequenceTensor,
    delta: SequenceTensor,
    z: SequenceTensor,
    out: SequenceTensor,
    b: SequenceTensor,
    c: SequenceTensor,
    a: u64,
    d: u64,
    delta_bias: u64,
    state: u64,
    num_channels: u32,
    dim: u32,
    d_state: i32,
    channels_of_group: i32,
    dtype: i32,
    softplus: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<SelectiveStepParams>() == 248
        && offset_of!(SelectiveStepParams, a) == 192
        && offset_of!(SelectiveStepParams, num_channels) == 224
        && offset_of!(SelectiveStepParams, softplus) == 244
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for SelectiveStepParams {}
impl crate::launch::Params for SelectiveStepParams {}

impl SelectiveStepParams {
    pub(super) fn new(problem: &Problem, operands: &Operands) -> Self {
        let Operands { u, delta, a, b, c, state, out, d, z, delta_bias } = operands;
        let shape = problem.shape;
        let address = |tensor: &Option<crate::Operand>| tensor.map_or(0, |tensor| tensor.address);
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
            state: state.address,
            num_channels: (shape.b * shape.dim) as u32,
            dim: shape.dim as u32,
            d_state: shape.d_state as i32,
            channels_of_group: (shape.dim / shape.groups) as i32,
            dtype: element_type(problem.dtype),
            softplus: problem.options.softplus.into(),
        }
    }
}
