//! The kernel's parameters.

use std::mem::offset_of;

use super::{DecayKind, Operands, Plan, Problem};
use crate::Operand;

/// `SequenceTensor` of `kernels/common/tensor.cuh`, of one position.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Rows {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

/// `RecurrentStepParams` of `kernels/scan/recurrent_step.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RecurrentStepParams {
    q: Rows,
    k: Rows,
    v: Rows,
    out: Rows,
    decay: Rows,
    state: u64,
    normaliser: u64,
    h: i32,
    heads_per_key: i32,
    d_k: i32,
    d_v: i32,
    decay_width: i32,
    tiles_per_block: i32,
    feature_map: i32,
    epsilon: f32,
    scale: f32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<RecurrentStepParams>() == 216
        && offset_of!(RecurrentStepParams, state) == 160
        && offset_of!(RecurrentStepParams, h) == 176
        && offset_of!(RecurrentStepParams, scale) == 208
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RecurrentStepParams {}
impl crate::launch::Params for RecurrentStepParams {}

impl Rows {
    /// Of a `[b, h, ..]` tensor.
    fn new(tensor: &Operand) -> Self {
        let layout = &tensor.layout;
        let (batch_stride, head_stride) = (layout.stride(0), layout.stride(1));
        Self { address: tensor.address, batch_stride, sequence_stride: 0, head_stride }
    }
}

impl RecurrentStepParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { q, k, v, out, state, .. } = operands;
        let shape = problem.shape;
        let decay = match &operands.decay {
            None => Rows::default(),
            Some((DecayKind::Heads, decay)) => {
                Rows { address: decay.address, head_stride: decay.layout.stride(0), ..Rows::default() }
            }
            Some((_, decay)) => Rows::new(decay),
        };
        Self {
            q: Rows::new(q),
            k: Rows::new(k),
            v: Rows::new(v),
            out: Rows::new(out),
            decay,
            state: state.address,
            normaliser: operands.normaliser.map_or(0, |sums| sums.address),
            h: shape.h as i32,
            heads_per_key: shape.h.checked_div(shape.h_k).unwrap_or(1) as i32,
            d_k: shape.d_k as i32,
            d_v: shape.d_v as i32,
            decay_width: if problem.decay == Some(DecayKind::Channels) { shape.d_k as i32 } else { 1 },
            tiles_per_block: plan.tiles_per_block as i32,
            feature_map: problem.feature_map.number(),
            epsilon: problem.normaliser.unwrap_or(0.0),
            scale: problem.scale,
            padding: 0,
        }
    }
}
