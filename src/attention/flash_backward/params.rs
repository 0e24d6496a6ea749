//! The kernels' parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::Operand;
use crate::attention::score::{RowTensor, ScoreOperands, ScoreParams, ScoreTensor, Sequences};
use crate::attention::sequence_tensor::SequenceTensor;

/// `FlashBackwardParams` of `kernels/attention/backward_block.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct FlashBackwardParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    d_out: SequenceTensor,
    d_k: SequenceTensor,
    d_v: SequenceTensor,
    d_bias: ScoreTensor,
    statistics: u64,
    turns: u64,
    ticket: u64,
    d_q_slabs: u64,
    d_k_slabs: u64,
    d_v_slabs: u64,
    /// From the rows that a thread copies to those of its next pass, and to the next tile.
    q_pass_bytes: i64,
    q_tile_bytes: i64,
    d_out_pass_bytes: i64,
    d_out_tile_bytes: i64,
    queries: Sequences,
    keys: Sequences,
    score: ScoreParams,
    b: i32,
    h_q: i32,
    h_kv: i32,
    d: i32,
    value_d: i32,
    query_tiles: i32,
    key_tiles: i32,
    num_parts: i32,
    heads_per_part: i32,
    block_batches: i32,
    block_kv_heads: i32,
    /// -1: no limit.
    window_left: i32,
    window_right: i32,
    scale: f32,
}

/// `row_statistics::Params` of `kernels/attention/row_statistics.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct StatisticsParams {
    out: SequenceTensor,
    d_out: SequenceTensor,
    lse: RowTensor,
    sinks: u64,
    statistics: u64,
    turns: u64,
    ticket: u64,
    sink_sums: u64,
    queries: Sequences,
    b: i32,
    h_q: i32,
    d_v: i32,
    tiles: i32,
    num_tiles: i32,
    delta_scale: f32,
}

/// `row_statistics::SinkSumParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SinkSumParams {
    sums: u64,
    d_sinks: u64,
    n: i64,
}

/// `SlabSumParams` of `kernels/common/slab.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct SlabSumParams {
    out: SequenceTensor,
    slabs: u64,
    /// In floats.
    slab_stride: i64,
    /// 0: all is there.
    turns: u64,
    sequences: Sequences,
    b: i32,
    h: i32,
    d: i32,
    slab_d: i32,
    tiles: i32,
    tile_rows: i32,
    num_slabs: i32,
    scale: f32,
}

// The kernels assert the same numbers.
const _: () = assert!(
    size_of::<FlashBackwardParams>() == 504
        && offset_of!(FlashBackwardParams, statistics) == 224
        && offset_of!(FlashBackwardParams, queries) == 304
        && offset_of!(FlashBackwardParams, b) == 448
        && offset_of!(FlashBackwardParams, scale) == 500
);
const _: () = assert!(
    size_of::<StatisticsParams>() == 168
        && offset_of!(StatisticsParams, sinks) == 88
        && offset_of!(StatisticsParams, queries) == 128
        && offset_of!(StatisticsParams, b) == 144
        && offset_of!(StatisticsParams, delta_scale) == 164
);
const _: () = assert!(size_of::<SinkSumParams>() == 24);
const _: () = assert!(
    size_of::<SlabSumParams>() == 104 && offset_of!(SlabSumParams, turns) == 48 && offset_of!(SlabSumParams, b) == 72
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for FlashBackwardParams {}
impl crate::launch::Params for FlashBackwardParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for StatisticsParams {}
impl crate::launch::Params for StatisticsParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for SinkSumParams {}
impl crate::launch::Params for SinkSumParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for SlabSumParams {}
impl crate::launch::Params for SlabSumParams {}

fn window(window: Option<usize>) -> i32 {
    window.map_or(-1, |window| window as i32)
}

fn queries(problem: &Problem, operands: &Operands) -> Sequences {
    Sequences::new(operands.cu_seqlens_q, problem.shape.s_q)
}

fn keys(problem: &Problem, operands: &Operands) -> Sequences {
    Sequences::new(operands.cu_seqlens_k, problem.shape.s_k)
}

impl FlashBackwardParams {
    /// The sizes were checked to fit 32 bits.
    pub(crate) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { q, k, v, d_out, d_k, d_v, workspace, .. } = operands;
        let shape = problem.shape;
        let group = shape.h_q.checked_div(shape.h_kv).unwrap_or(0);
        let rows = |tensor: &Operand, rows: usize| {
            let position = tensor.layout.rank() - 3;
            tensor.layout.stride(position) * (rows * tensor.dtype.size_bytes()) as i64
        };
        // 8 threads copy 128 bytes of a row.
        let pass = plan.main.map_or(0, |launch| launch.block[0] as usize / 8);
        let at = |offset: usize| workspace.address + offset as u64;
        let score = ScoreOperands {
            bias: operands.bias.as_ref(),
            mask_bits: operands.mask_bits.as_ref(),
            alibi_slopes: operands.alibi_slopes.as_ref(),
            prefix: operands.prefix.as_ref(),
            scale: problem.scale,
            softcap: problem.softcap,
            dropout: problem.dropout,
        };
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            v: SequenceTensor::new(v),
            d_out: SequenceTensor::new(d_out),
            d_k: SequenceTensor::new(d_k),
            d_v: SequenceTensor::new(d_v),
            d_bias: ScoreTensor::new(operands.d_bias.as_ref()),
            statistics: at(plan.workspace.statistics),
            turns: at(plan.workspace.turns),
            ticket: at(0),
            d_q_slabs: at(plan.workspace.d_q),
            d_k_slabs: at(plan.workspace.d_k),
            d_v_slabs: at(plan.workspace.d_v),
            q_pass_bytes: rows(q, pass),
            q_tile_bytes: rows(q, plan.block_m),
            d_out_pass_bytes: rows(d_out, pass),
            d_out_tile_bytes: rows(d_out, plan.block_m),
            queries: queries(problem, operands),
            keys: keys(problem, operands),
            score: ScoreParams::new(&score),
            b: shape.b as i32,
            h_q: shape.h_q as i32,
            h_kv: shape.h_kv as i32,
            d: shape.d as i32,
            value_d: shape.d_v as i32,
            query_tiles: plan.query_tiles as i32,
            key_tiles: plan.key_tiles as i32,
            num_parts: plan.num_parts as i32,
            heads_per_part: (group / plan.num_parts) as i32,
            block_batches: plan.block_batches as i32,
            block_kv_heads: plan.block_kv_heads as i32,
            window_left: window(problem.window_left),
            window_right: window(problem.window_right),
            scale: problem.scale,
        }
    }
}

impl StatisticsParams {
    pub(crate) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { out, d_out, lse, workspace, .. } = operands;
        let at = |offset: usize| workspace.address + offset as u64;
        let wanted = operands.d_sinks.is_some();
        Self {
            out: SequenceTensor::new(out),
            d_out: SequenceTensor::new(d_out),
            lse: RowTensor::new(Some(lse)),
            sinks: operands.sinks.map_or(0, |sinks| sinks.address),
            statistics: at(plan.workspace.statistics),
            turns: at(plan.workspace.turns),
            ticket: at(0),
            sink_sums: if wanted { at(plan.workspace.sinks) } else { 0 },
            queries: queries(problem, operands),
            b: problem.shape.b as i32,
            h_q: problem.shape.h_q as i32,
            d_v: problem.shape.d_v as i32,
            tiles: plan.query_tiles as i32,
            num_tiles: plan.num_query_tiles as i32,
            delta_scale: problem.dropout.map_or(1.0, |dropout| 1.0 / dropout.scale),
        }
    }
}

impl SinkSumParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        Self {
            sums: operands.workspace.address + plan.workspace.sinks as u64,
            d_sinks: operands.d_sinks.map_or(0, |d_sinks| d_sinks.address),
            n: (problem.shape.b * plan.num_query_tiles) as i64,
        }
    }
}

impl SlabSumParams {
    /// Of `d_q`.
    pub(crate) fn queries(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let shape = problem.shape;
        let start = operands.workspace.address;
        Self {
            out: SequenceTensor::new(&operands.d_q),
            slabs: start + plan.workspace.d_q as u64,
            slab_stride: 0,
            turns: start + plan.workspace.turns as u64,
            sequences: queries(problem, operands),
            b: shape.b as i32,
            h: shape.h_q as i32,
            d: shape.d as i32,
            slab_d: plan.slab_d as i32,
            tiles: plan.query_tiles as i32,
            tile_rows: plan.block_m as i32,
            num_slabs: 1,
            scale: problem.scale,
        }
    }

    /// Of `d_k` and of `d_v`.
    pub(crate) fn keys_and_values(problem: &Problem, plan: &Plan, operands: &Operands) -> [Self; 2] {
        let shape = problem.shape;
        let start = operands.workspace.address;
        let d_k = Self {
            out: SequenceTensor::new(&operands.d_k),
            slabs: start + plan.workspace.d_k as u64,
            slab_stride: (shape.h_kv * plan.key_tiles * plan.block_n * plan.slab_d) as i64,
            turns: 0,
            sequences: keys(problem, operands),
            b: shape.b as i32,
            h: shape.h_kv as i32,
            d: shape.d as i32,
            slab_d: plan.slab_d as i32,
            tiles: plan.key_tiles as i32,
            tile_rows: plan.block_n as i32,
            num_slabs: plan.num_parts as i32,
            scale: problem.scale,
        };
        let d_v = Self {
            out: SequenceTensor::new(&operands.d_v),
            slabs: start + plan.workspace.d_v as u64,
            d: shape.d_v as i32,
            scale: problem.dropout.map_or(1.0, |dropout| dropout.scale),
            ..d_k
        };
        [d_k, d_v]
    }
}
