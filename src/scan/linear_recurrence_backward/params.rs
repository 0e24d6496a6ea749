//! The kernels' parameters.

use std::mem::offset_of;

use super::{DecayKind, Operands, Plan, Problem, Shape};
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::scan::linear_recurrence::Sweep;
use crate::{DType, Layout, Operand, Result};

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
    padding: i32,
}

/// `RecurrenceDecaysParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct DecaysParams {
    d_decay: DecayRows,
    differences: u64,
    final_state: u64,
    d_final_state: u64,
    sequences: Sequences,
    state_size: i64,
    b: i32,
    h: i32,
    sums: i32,
    /// Channels, if decays are of these; else 0.
    width: i32,
}

/// `SequenceTensor` of rows of one element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct DecayRows {
    address: u64,
    batch_stride: i64,
    sequence_stride: i64,
    head_stride: i64,
}

// The kernels assert the same numbers.
const _: () = assert!(size_of::<KeysParams>() == 184 && offset_of!(KeysParams, num_rows) == 152);
const _: () = assert!(
    size_of::<DecaysParams>() == 96 && offset_of!(DecaysParams, sequences) == 56 && offset_of!(DecaysParams, b) == 80
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for KeysParams {}
impl crate::launch::Params for KeysParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for DecaysParams {}
impl crate::launch::Params for DecaysParams {}

fn address(tensor: &Option<Operand>) -> u64 {
    tensor.map_or(0, |tensor| tensor.address)
}

fn group(shape: Shape) -> usize {
    shape.h.checked_div(shape.h_k).unwrap_or(1)
}

/// The recurrences that give the gradients of q, k and v, in the places of the forward pass: see the README.
pub(super) fn sweeps(problem: &Problem, plan: &Plan, operands: &Operands) -> Result<[Sweep; 3]> {
    let Operands { q, k, v, d_out, workspace, .. } = *operands;
    let shape = problem.forward.shape;
    let at = |offset: usize| workspace.address + offset as u64;
    let heads = |offset: usize| -> Result<Operand> {
        let sizes = [&problem.forward.sequences.shape()[..], &[shape.h, shape.d_k]].concat();
        Ok(Operand { address: at(offset), dtype: DType::F32, layout: Layout::contiguous(&sizes)? })
    };
    let scale = problem.forward.scale;
    let of_q = Sweep {
        q: d_out,
        k: v,
        v: k,
        out: heads(plan.workspace.d_q)?,
        decay: operands.decay,
        initial_state: address(&operands.initial_state),
        final_state: if problem.d_decay && problem.d_final_state { at(plan.workspace.final_state) } else { 0 },
        initial_normaliser: 0,
        final_normaliser: 0,
        workspace: at(plan.workspace.sweeps),
        cu_seqlens: operands.cu_seqlens,
        heads_per_value: group(shape),
        transposed: true,
        reverse: false,
        scales: [scale, 1.0],
    };
    // What the future has of the state's gradient; its products have the scale.
    let of_k = Sweep {
        q: v,
        k: d_out,
        v: q,
        out: heads(plan.workspace.d_k)?,
        initial_state: address(&operands.d_final_state),
        final_state: 0,
        reverse: true,
        scales: [1.0, scale],
        ..of_q
    };
    let of_v = Sweep {
        q: k,
        k: q,
        v: d_out,
        out: operands.d_v,
        final_state: address(&operands.d_initial_state),
        heads_per_value: 1,
        transposed: false,
        ..of_k
    };
    Ok([of_q, of_k, of_v])
}

impl KeysParams {
    /// The sizes were checked to fit 32 bits.
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
            group: group(shape) as i32,
            width: shape.d_k as i32,
            of_channels: i32::from(problem.d_decay && channels),
            padding: 0,
        }
    }
}

impl DecaysParams {
    /// Likewise.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let (shape, sequences) = (problem.forward.shape, problem.forward.sequences);
        let at = |offset: usize| operands.workspace.address + offset as u64;
        let channels = problem.forward.decay == Some(DecayKind::Channels);
        let rest = usize::from(channels);
        let d_decay = operands.d_decay.map_or(DecayRows::default(), |Operand { address, layout, .. }| {
            let stride =
                |from_last: usize| layout.rank().checked_sub(rest + from_last).map_or(0, |dim| layout.stride(dim));
            DecayRows { address, batch_stride: stride(3), sequence_stride: stride(2), head_stride: stride(1) }
        });
        Self {
            d_decay,
            differences: at(if channels { plan.workspace.d_q } else { plan.workspace.differences }),
            final_state: at(plan.workspace.final_state),
            d_final_state: address(&operands.d_final_state),
            sequences: Sequences::new(operands.cu_seqlens, sequences.s),
            state_size: (shape.d_k * shape.d_v) as i64,
            b: sequences.b as i32,
            h: shape.h as i32,
            sums: i32::from(problem.forward.decay == Some(DecayKind::Heads)),
            width: if channels { shape.d_k as i32 } else { 0 },
        }
    }
}
