//! The kernels' parameters.

use std::mem::offset_of;

use super::{DecayKind, Operands, Plan, Problem};
use crate::Operand;
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;

/// `LinearRecurrenceParams` of `kernels/scan/recurrence_block.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct LinearRecurrenceParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    out: SequenceTensor,
    decay: DecayTensor,
    initial_state: u64,
    final_state: u64,
    initial_normaliser: u64,
    final_normaliser: u64,
    chunk_states: u64,
    chunk_normalisers: u64,
    chunk_decays: u64,
    sequences: Sequences,
    h: i32,
    heads_per_key: i32,
    heads_per_value: i32,
    d_k: i32,
    d_v: i32,
    chunk: i32,
    num_chunks: i32,
    key_stride: i32,
    value_stride: i32,
    reverse: i32,
    states_only: i32,
    decay_width: i32,
    out_is_f32: i32,
    feature_map: i32,
    normalised: i32,
    epsilon: f32,
    scale: f32,
    key_scale: f32,
}

/// `SequenceTensor` of logarithms: address and strides, 0 where one serves all. Address 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct DecayTensor {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<LinearRecurrenceParams>() == 304
        && offset_of!(LinearRecurrenceParams, initial_state) == 160
        && offset_of!(LinearRecurrenceParams, sequences) == 216
        && offset_of!(LinearRecurrenceParams, h) == 232
        && offset_of!(LinearRecurrenceParams, scale) == 296
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for LinearRecurrenceParams {}
impl crate::launch::Params for LinearRecurrenceParams {}

impl DecayTensor {
    fn new(decay: Option<&(DecayKind, Operand)>) -> Self {
        let Some((kind, Operand { address, layout, .. })) = decay else { return Self::default() };
        // Dimensions behind the head.
        let rest = usize::from(*kind == DecayKind::Channels);
        let stride = |from_last: usize| layout.rank().checked_sub(rest + from_last).map_or(0, |dim| layout.stride(dim));
        Self { address: *address, batch_stride: stride(3), sequence_stride: stride(2), head_stride: stride(1) }
    }
}

impl LinearRecurrenceParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands, states_only: bool) -> Self {
        let Operands { q, k, v, out, decay, workspace, .. } = operands;
        let shape = problem.shape;
        let at = |offset: usize| workspace.map_or(0, |workspace| workspace.address + offset as u64);
        let address = |tensor: Option<Operand>| tensor.map_or(0, |tensor| tensor.address);
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            v: SequenceTensor::new(v),
            out: SequenceTensor::new(out),
            decay: DecayTensor::new(decay.as_ref()),
            initial_state: address(operands.initial_state),
            final_state: address(operands.final_state),
            initial_normaliser: address(operands.initial_normaliser),
            final_normaliser: address(operands.final_normaliser),
            chunk_states: at(plan.workspace.states),
            chunk_normalisers: at(plan.workspace.normalisers),
            chunk_decays: at(plan.workspace.decays),
            sequences: Sequences::new(operands.cu_seqlens, problem.sequences.s),
            h: shape.h as i32,
            heads_per_key: shape.h.checked_div(shape.h_k).unwrap_or(1) as i32,
            heads_per_value: 1,
            d_k: shape.d_k as i32,
            d_v: shape.d_v as i32,
            chunk: plan.chunk as i32,
            num_chunks: plan.num_chunks as i32,
            key_stride: shape.d_v as i32,
            value_stride: 1,
            reverse: 0,
            states_only: i32::from(states_only),
            decay_width: if problem.decay == Some(DecayKind::Channels) { shape.d_k as i32 } else { 1 },
            out_is_f32: 0,
            feature_map: problem.feature_map.number(),
            normalised: i32::from(problem.normaliser.is_some()),
            epsilon: problem.normaliser.unwrap_or(0.0),
            scale: problem.scale,
            key_scale: 1.0,
        }
    }
}
