//! The kernels' parameters.

use std::mem::offset_of;

use super::{DecayKind, Operands, Plan, Problem, Shape};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::scan::linear_recurrence::{DecayTensor, FeatureMap, Sweep};
use crate::{DType, Layout, Operand, Result};

/// `RecurrenceFeaturesParams` of `kernels/scan/linear_recurrence_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct FeaturesParams {
    q: SequenceTensor,
    k: SequenceTensor,
    q_features: u64,
    k_features: u64,
    num_rows: i64,
    length: i32,
    h_k: i32,
    width: i32,
    feature_map: i32,
}

/// `RecurrenceNormaliserParams` of `kernels/scan/recurrence_normaliser.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct NormaliserParams {
    q: SequenceTensor,
    k: SequenceTensor,
    d_out: SequenceTensor,
    decay: DecayTensor,
    d_q_heads: u64,
    d_k_heads: u64,
    q_weighed: u64,
    d_out_weighed: u64,
    d_divisors: u64,
    /// 0: none, as `end`.
    begin: u64,
    end: u64,
    /// Likewise.
    chunks: u64,
    sequences: Sequences,
    h: i32,
    group: i32,
    d_k: i32,
    d_v: i32,
    decay_width: i32,
    scale: f32,
    epsilon: f32,
    chunk: i32,
    num_chunks: i32,
    padding: i32,
}

/// `RecurrenceKeysParams` of `kernels/scan/linear_recurrence_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct KeysParams {
    q: SequenceTensor,
    k: SequenceTensor,
    d_q: SequenceTensor,
    d_k: SequenceTensor,
    d_q_heads: u64,
    d_k_heads: u64,
    /// 0: not wanted.
    differences: u64,
    num_rows: i64,
    length: i32,
    h_k: i32,
    group: i32,
    width: i32,
    of_channels: i32,
    feature_map: i32,
}

/// A state, or normaliser, and its gradient; 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct StatePair {
    state: u64,
    d_state: u64,
}

/// `RecurrenceDecaysParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct DecaysParams {
    d_decay: DecayTensor,
    differences: u64,
    ends: StatePair,
    end_normalisers: StatePair,
    chunks: StatePair,
    chunk_normalisers: StatePair,
    sequences: Sequences,
    state_size: i64,
    b: i32,
    h: i32,
    d_k: i32,
    chunk: i32,
    num_chunks: i32,
    sums: i32,
    of_channels: i32,
    padding: i32,
}

// The kernels assert the same numbers.
const _: () = assert!(size_of::<FeaturesParams>() == 104 && offset_of!(FeaturesParams, num_rows) == 80);
const _: () = assert!(
    size_of::<NormaliserParams>() == 248
        && offset_of!(NormaliserParams, sequences) == 192
        && offset_of!(NormaliserParams, h) == 208
);
const _: () = assert!(size_of::<KeysParams>() == 184 && offset_of!(KeysParams, num_rows) == 152);
const _: () = assert!(
    size_of::<DecaysParams>() == 160
        && offset_of!(DecaysParams, sequences) == 104
        && offset_of!(DecaysParams, b) == 128
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for KeysParams {}
impl crate::launch::Params for KeysParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for FeaturesParams {}
impl crate::launch::Params for FeaturesParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for NormaliserParams {}
impl crate::launch::Params for NormaliserParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for DecaysParams {}
impl crate::launch::Params for DecaysParams {}

fn address(tensor: &Option<Operand>) -> u64 {
    tensor.map_or(0, |tensor| tensor.address)
}

/// A tensor without gaps in the workspace, of all positions and then `rest`.
fn inside(problem: &Problem, operands: &Operands, offset: usize, dtype: DType, rest: [usize; 2]) -> Result<Operand> {
    let sizes = [&problem.forward.sequences.shape()[..], &rest].concat();
    let address = operands.workspace.address + offset as u64;
    Ok(Operand { address, dtype, layout: Layout::contiguous(&sizes)? })
}

/// What q and k are replaced by.
fn features(problem: &Problem, plan: &Plan, operands: &Operands) -> Result<[Operand; 2]> {
    let Shape { h_k, d_k, .. } = problem.forward.shape;
    if problem.forward.feature_map == FeatureMap::Identity {
        return Ok([operands.q, operands.k]);
    }
    let at = |offset| inside(problem, operands, offset, problem.forward.dtype, [h_k, d_k]);
    Ok([at(plan.workspace.q_features)?, at(plan.workspace.k_features)?])
}

/// The recurrences that give the gradients of q, k and v, in the places of the forward pass: see the README.
pub(super) fn sweeps(problem: &Problem, plan: &Plan, operands: &Operands) -> Result<[Sweep; 3]> {
    let Operands { v, d_out, workspace, .. } = *operands;
    let Shape { h, d_k, d_v, .. } = problem.forward.shape;
    let at = |offset: usize| workspace.address + offset as u64;
    let heads = |offset, dtype, width| inside(problem, operands, offset, dtype, [h, width]);
    let (scale, dtype, group) = (problem.forward.scale, problem.forward.dtype, problem.forward.heads_per_key());
    let [q, k] = features(problem, plan, operands)?;
    let (q_weighed, d_out_weighed, group_of_weighed) = match problem.forward.normaliser {
        None => (q, d_out, group),
        Some(_) => (heads(plan.workspace.q_weighed, dtype, d_k)?, heads(plan.workspace.d_out_weighed, dtype, d_v)?, 1),
    };
    let of_q = Sweep {
        q: d_out,
        k: v,
        v: k,
        out: heads(plan.workspace.d_q, DType::F32, d_k)?,
        decay: operands.decay,
        initial_state: address(&operands.initial_state),
        final_state: if problem.d_decay && problem.d_final_state { at(plan.workspace.final_state) } else { 0 },
        initial_normaliser: 0,
        final_normaliser: 0,
        workspace: at(plan.workspace.sweeps[0]),
        cu_seqlens: operands.cu_seqlens,
        heads_per_query: 1,
        heads_per_value: group,
        transposed: true,
        reverse: false,
        scales: [scale, 1.0],
    };
    // What the future has of the state's gradient; its products have the scale.
    let of_k = Sweep {
        q: v,
        k: d_out_weighed,
        v: q_weighed,
        out: heads(plan.workspace.d_k, DType::F32, d_k)?,
        initial_state: address(&operands.d_final_state),
        final_state: 0,
        workspace: at(plan.workspace.sweeps[1]),
        heads_per_value: group_of_weighed,
        reverse: true,
        scales: [1.0, scale],
        ..of_q
    };
    let of_v = Sweep {
        q: k,
        k: q_weighed,
        v: d_out_weighed,
        out: operands.d_v,
        final_state: address(&operands.d_initial_state),
        workspace: at(plan.workspace.sweeps[2]),
        heads_per_query: group,
        heads_per_value: 1,
        transposed: false,
        ..of_k
    };
    Ok([of_q, of_k, of_v])
}

impl FeaturesParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let (shape, sequences) = (problem.forward.shape, problem.forward.sequences);
        let at = |offset: usize| operands.workspace.address + offset as u64;
        Self {
            q: SequenceTensor::new(&operands.q),
            k: SequenceTensor::new(&operands.k),
            q_features: at(plan.workspace.q_features),
            k_features: at(plan.workspace.k_features),
            num_rows: (sequences.positions() * shape.h_k) as i64,
            length: sequences.total.unwrap_or(sequences.s) as i32,
            h_k: shape.h_k as i32,
            width: shape.d_k as i32,
            feature_map: problem.forward.feature_map.number(),
        }
    }
}

impl NormaliserParams {
    /// Of the scan behind the first recurrence.
    pub(super) fn forward(problem: &Problem, plan: &Plan, operands: &Operands) -> Result<Self> {
        let wanted = problem.d_decay && problem.d_final_normaliser;
        let end = if wanted { operands.workspace.address + plan.workspace.final_normaliser as u64 } else { 0 };
        let chunks = plan.workspace.chunk_normalisers[0];
        Ok(Self { begin: address(&operands.initial_normaliser), end, ..Self::new(problem, plan, operands, chunks)? })
    }

    /// Of the scan in reverse, behind the others.
    pub(super) fn reverse(problem: &Problem, plan: &Plan, operands: &Operands) -> Result<Self> {
        let (begin, end) = (address(&operands.d_final_normaliser), address(&operands.d_initial_normaliser));
        Ok(Self { begin, end, ..Self::new(problem, plan, operands, plan.workspace.chunk_normalisers[1])? })
    }

    /// Likewise.
    fn new(problem: &Problem, plan: &Plan, operands: &Operands, chunks: usize) -> Result<Self> {
        let Shape { h, d_k, d_v, .. } = problem.forward.shape;
        let at = |offset: usize| operands.workspace.address + offset as u64;
        let [q, k] = features(problem, plan, operands)?;
        let channels = problem.forward.decay == Some(DecayKind::Channels);
        Ok(Self {
            q: SequenceTensor::new(&q),
            k: SequenceTensor::new(&k),
            d_out: SequenceTensor::new(&operands.d_out),
            decay: DecayTensor::new(operands.decay.as_ref()),
            d_q_heads: at(plan.workspace.d_q),
            d_k_heads: at(plan.workspace.d_k),
            q_weighed: at(plan.workspace.q_weighed),
            d_out_weighed: at(plan.workspace.d_out_weighed),
            d_divisors: at(plan.workspace.d_divisors),
            begin: 0,
            end: 0,
            chunks: if problem.d_decay { at(chunks) } else { 0 },
            sequences: Sequences::new(operands.cu_seqlens, problem.forward.sequences.s),
            h: h as i32,
            group: problem.forward.heads_per_key() as i32,
            d_k: d_k as i32,
            d_v: d_v as i32,
            decay_width: if channels { d_k as i32 } else { 1 },
            scale: problem.forward.scale,
            epsilon: problem.forward.normaliser.unwrap_or(0.0),
            chunk: plan.sweeps[0].chunk as i32,
            num_chunks: plan.sweeps[0].num_chunks as i32,
            padding: 0,
        })
    }
}

impl KeysParams {
    /// Likewise.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { q, k, d_q, d_k, workspace, .. } = operands;
        let (shape, sequences) = (problem.forward.shape, problem.forward.sequences);
        let channels = problem.forward.decay == Some(DecayKind::Channels);
        let at = |offset: usize| workspace.address + offset as u64;
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            d_q: SequenceTensor::new(d_q),
            d_k: SequenceTensor::new(d_k),
            d_q_heads: at(plan.workspace.d_q),
            d_k_heads: at(plan.workspace.d_k),
            differences: if problem.d_decay && !channels { at(plan.workspace.differences) } else { 0 },
            num_rows: (sequences.positions() * shape.h_k) as i64,
            length: sequences.total.unwrap_or(sequences.s) as i32,
            h_k: shape.h_k as i32,
            group: problem.forward.heads_per_key() as i32,
            width: shape.d_k as i32,
            of_channels: i32::from(problem.d_decay && channels),
            feature_map: problem.forward.feature_map.number(),
        }
    }
}

impl DecaysParams {
    /// Likewise.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let (shape, sequences) = (problem.forward.shape, problem.forward.sequences);
        let at = |offset: usize| operands.workspace.address + offset as u64;
        let channels = problem.forward.decay == Some(DecayKind::Channels);
        let states = [0, 1].map(|sweep| at(plan.workspace.sweeps[sweep] + plan.sweeps[sweep].workspace.states));
        let kind = problem.forward.decay.unwrap_or(DecayKind::Heads);
        let d_decay = DecayTensor::new(operands.d_decay.map(|d_decay| (kind, d_decay)).as_ref());
        Self {
            d_decay,
            differences: at(if channels { plan.workspace.d_q } else { plan.workspace.differences }),
            ends: StatePair { state: at(plan.workspace.final_state), d_state: address(&operands.d_final_state) },
            end_normalisers: StatePair {
                state: at(plan.workspace.final_normaliser),
                d_state: address(&operands.d_final_normaliser),
            },
            chunks: StatePair { state: states[0], d_state: states[1] },
            chunk_normalisers: problem.forward.normaliser.map_or(StatePair::default(), |_| {
                let [state, d_state] = plan.workspace.chunk_normalisers.map(at);
                StatePair { state, d_state }
            }),
            sequences: Sequences::new(operands.cu_seqlens, sequences.s),
            state_size: (shape.d_k * shape.d_v) as i64,
            b: sequences.b as i32,
            h: shape.h as i32,
            d_k: shape.d_k as i32,
            chunk: plan.sweeps[0].chunk as i32,
            num_chunks: plan.sweeps[0].num_chunks as i32,
            sums: i32::from(problem.forward.decay == Some(DecayKind::Heads)),
            of_channels: i32::from(channels),
            padding: 0,
        }
    }
}
