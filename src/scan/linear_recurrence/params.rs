//! The kernels' parameters.

use std::mem::offset_of;

use super::{DecayKind, Plan, Problem, Shape};
use crate::attention::SequenceOperand;
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::{DType, Operand, Queue, Result};

/// `LinearRecurrenceParams` of `kernels/scan/recurrence_block.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
struct LinearRecurrenceParams {
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
    heads_per_query: i32,
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
    padding: i32,
}

/// `SequenceTensor` of logarithms: address and strides, 0 where one serves all. Address 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct DecayTensor {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<LinearRecurrenceParams>() == 312
        && offset_of!(LinearRecurrenceParams, initial_state) == 160
        && offset_of!(LinearRecurrenceParams, sequences) == 216
        && offset_of!(LinearRecurrenceParams, h) == 232
        && offset_of!(LinearRecurrenceParams, scale) == 300
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for LinearRecurrenceParams {}
impl crate::launch::Params for LinearRecurrenceParams {}

impl DecayTensor {
    pub(crate) fn new(decay: Option<&(DecayKind, Operand)>) -> Self {
        let Some((kind, Operand { address, layout, .. })) = decay else { return Self::default() };
        // Dimensions behind the head.
        let rest = usize::from(*kind == DecayKind::Channels);
        let stride = |from_last: usize| layout.rank().checked_sub(rest + from_last).map_or(0, |dim| layout.stride(dim));
        Self { address: *address, batch_stride: stride(3), sequence_stride: stride(2), head_stride: stride(1) }
    }
}

/// What the engine reads and writes: the recurrence itself, or one of its gradients, with other tensors in these places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// `[b, s, h / heads_per_query, d_k]`
    pub(crate) q: Operand,
    /// `[b, s, h_k, d_k]`
    pub(crate) k: Operand,
    /// `[b, s, h / heads_per_value, d_v]`
    pub(crate) v: Operand,
    /// `[b, s, h, d_v]`, of q's type or f32.
    pub(crate) out: Operand,
    /// Which decay, and its logarithms.
    pub(crate) decay: Option<(DecayKind, Operand)>,
    /// Addresses, 0 for none: the states and normalisers that sequences begin and end with.
    pub(crate) initial_state: u64,
    pub(crate) final_state: u64,
    pub(crate) initial_normaliser: u64,
    pub(crate) final_normaliser: u64,
    /// Address of the workspace.
    pub(crate) workspace: u64,
    /// Where the sequences lie.
    pub(crate) cu_seqlens: Option<SequenceOperand>,
    /// Heads of the state for each of q.
    pub(crate) heads_per_query: usize,
    /// Likewise for each of v.
    pub(crate) heads_per_value: usize,
    /// States are `[d_v, d_k]`.
    pub(crate) transposed: bool,
    /// From the last step to the first, each decay after its step.
    pub(crate) reverse: bool,
    /// Factors of q and of k.
    pub(crate) scales: [f32; 2],
}

impl LinearRecurrenceParams {
    /// The sizes were checked to fit 32 bits.
    fn new(problem: &Problem, plan: &Plan, sweep: &Sweep, states_only: bool) -> Self {
        let Shape { h, d_k, d_v, .. } = problem.shape;
        let at = |offset: usize| sweep.workspace + offset as u64;
        let (key_stride, value_stride) = if sweep.transposed { (1, d_k) } else { (d_v, 1) };
        Self {
            q: SequenceTensor::new(&sweep.q),
            k: SequenceTensor::new(&sweep.k),
            v: SequenceTensor::new(&sweep.v),
            out: SequenceTensor::new(&sweep.out),
            decay: DecayTensor::new(sweep.decay.as_ref()),
            initial_state: sweep.initial_state,
            final_state: sweep.final_state,
            initial_normaliser: sweep.initial_normaliser,
            final_normaliser: sweep.final_normaliser,
            chunk_states: at(plan.workspace.states),
            chunk_normalisers: at(plan.workspace.normalisers),
            chunk_decays: at(plan.workspace.decays),
            sequences: Sequences::new(sweep.cu_seqlens, problem.sequences.s),
            h: h as i32,
            heads_per_query: sweep.heads_per_query as i32,
            heads_per_key: problem.heads_per_key() as i32,
            heads_per_value: sweep.heads_per_value as i32,
            d_k: d_k as i32,
            d_v: d_v as i32,
            chunk: plan.chunk as i32,
            num_chunks: plan.num_chunks as i32,
            key_stride: key_stride as i32,
            value_stride: value_stride as i32,
            reverse: i32::from(sweep.reverse),
            states_only: i32::from(states_only),
            decay_width: match problem.decay {
                Some(DecayKind::Channels) if sweep.transposed => d_v as i32,
                Some(DecayKind::Channels) => d_k as i32,
                _ => 1,
            },
            out_is_f32: i32::from(sweep.out.dtype == DType::F32),
            feature_map: problem.feature_map.number(),
            normalised: i32::from(problem.normaliser.is_some()),
            epsilon: problem.normaliser.unwrap_or(0.0),
            scale: sweep.scales[0],
            key_scale: sweep.scales[1],
            padding: 0,
        }
    }
}

/// Launches what a plan has.
///
/// # Safety
/// The tensors, states and workspace must be memory of the queue's context, of the problem's sizes and the plan's workspace,
/// that nobody else uses until the launches have run.
pub(crate) unsafe fn launch(queue: &Queue, problem: &Problem, plan: &Plan, sweep: &Sweep) -> Result<()> {
    for (launch, states_only) in [(&plan.states, true), (&plan.combine, false), (&plan.main, false)] {
        let Some(launch) = launch else { continue };
        let params = LinearRecurrenceParams::new(problem, plan, sweep, states_only);
        // SAFETY: the parameters are the kernels'; the rest is the caller's promise. Launches run one after the other.
        unsafe { queue.launch(launch, &params) }?;
    }
    Ok(())
}
