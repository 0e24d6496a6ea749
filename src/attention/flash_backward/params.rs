//! The kernels' parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::Operand;
use crate::attention::sequence_tensor::SequenceTensor;

/// `FlashBackwardParams` of `kernels/attention/flash_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct FlashBackwardParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    d_out: SequenceTensor,
    d_k: SequenceTensor,
    d_v: SequenceTensor,
    statistics: u64,
    d_q_slabs: u64,
    d_k_slabs: u64,
    d_v_slabs: u64,
    /// From the rows that a thread copies to those of its next pass, and to the next tile.
    q_pass_bytes: i64,
    q_tile_bytes: i64,
    d_out_pass_bytes: i64,
    d_out_tile_bytes: i64,
    s_q: i32,
    s_k: i32,
    h_q: i32,
    h_kv: i32,
    num_query_tiles: i32,
    num_key_tiles: i32,
    num_splits: i32,
    num_parts: i32,
    heads_per_part: i32,
    b: i32,
    /// -1: no limit.
    window_left: i32,
    window_right: i32,
    /// Scale times log2(e): the kernel's exponentials are powers of 2.
    scale_log2: f32,
    scale: f32,
}

/// `row_statistics::Params` of `kernels/attention/row_statistics.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct StatisticsParams {
    out: SequenceTensor,
    d_out: SequenceTensor,
    lse: u64,
    statistics: u64,
    s_q: i32,
    h_q: i32,
    d: i32,
    num_tiles: i32,
}

/// `SlabSumParams` of `kernels/common/slab.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SlabSumParams {
    out: SequenceTensor,
    slabs: u64,
    /// In floats.
    slab_stride: i64,
    s: i32,
    h: i32,
    d: i32,
    num_row_blocks: i32,
    num_blocks: i32,
    num_slabs: i32,
    /// 0: all slabs hold all rows.
    rows_per_tile: i32,
    keys_per_tile: i32,
    s_k: i32,
    window_left: i32,
    window_right: i32,
    scale: f32,
}

// The kernels assert the same numbers.
const _: () = assert!(
    size_of::<FlashBackwardParams>() == 312
        && offset_of!(FlashBackwardParams, statistics) == 192
        && offset_of!(FlashBackwardParams, s_q) == 256
        && offset_of!(FlashBackwardParams, scale) == 308
);
const _: () = assert!(
    size_of::<StatisticsParams>() == 96
        && offset_of!(StatisticsParams, lse) == 64
        && offset_of!(StatisticsParams, num_tiles) == 92
);
const _: () = assert!(
    size_of::<SlabSumParams>() == 96
        && offset_of!(SlabSumParams, slabs) == 32
        && offset_of!(SlabSumParams, s) == 48
        && offset_of!(SlabSumParams, scale) == 92
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for FlashBackwardParams {}
impl crate::launch::Params for FlashBackwardParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for StatisticsParams {}
impl crate::launch::Params for StatisticsParams {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for SlabSumParams {}
impl crate::launch::Params for SlabSumParams {}

fn window(window: Option<usize>) -> i32 {
    window.map_or(-1, |window| window as i32)
}

impl FlashBackwardParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { q, k, v, d_out, d_k, d_v, workspace, .. } = operands;
        let shape = problem.shape;
        let group = shape.h_q.checked_div(shape.h_kv).unwrap_or(0);
        let rows = |tensor: &Operand, rows: usize| tensor.layout.stride(1) * (rows * tensor.dtype.size_bytes()) as i64;
        // A block of 128 threads copies 16 rows of 128 bytes at a time.
        let pass = 16;
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            v: SequenceTensor::new(v),
            d_out: SequenceTensor::new(d_out),
            d_k: SequenceTensor::new(d_k),
            d_v: SequenceTensor::new(d_v),
            statistics: workspace.address,
            d_q_slabs: workspace.address + plan.workspace.d_q as u64,
            d_k_slabs: workspace.address + plan.workspace.d_k as u64,
            d_v_slabs: workspace.address + plan.workspace.d_v as u64,
            q_pass_bytes: rows(q, pass),
            q_tile_bytes: rows(q, plan.block_m),
            d_out_pass_bytes: rows(d_out, pass),
            d_out_tile_bytes: rows(d_out, plan.block_m),
            s_q: shape.s_q as i32,
            s_k: shape.s_k as i32,
            h_q: shape.h_q as i32,
            h_kv: shape.h_kv as i32,
            num_query_tiles: plan.num_query_tiles as i32,
            num_key_tiles: plan.num_key_tiles as i32,
            num_splits: plan.num_splits as i32,
            num_parts: plan.num_parts as i32,
            heads_per_part: (group / plan.num_parts) as i32,
            b: shape.b as i32,
            window_left: window(problem.window_left),
            window_right: window(problem.window_right),
            scale_log2: problem.scale * std::f32::consts::LOG2_E,
            scale: problem.scale,
        }
    }
}

impl StatisticsParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { out, d_out, lse, workspace, .. } = operands;
        Self {
            out: SequenceTensor::new(out),
            d_out: SequenceTensor::new(d_out),
            lse: lse.address,
            statistics: workspace.address,
            s_q: problem.shape.s_q as i32,
            h_q: problem.shape.h_q as i32,
            d: problem.shape.d as i32,
            num_tiles: plan.num_query_tiles as i32,
        }
    }
}

impl SlabSumParams {
    /// Of `d_q`.
    pub(super) fn queries(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let shape = problem.shape;
        let rows = plan.num_query_tiles * plan.block_m;
        Self {
            rows_per_tile: plan.block_m as i32,
            keys_per_tile: plan.block_n as i32,
            s_k: shape.s_k as i32,
            window_left: window(problem.window_left),
            window_right: window(problem.window_right),
            scale: problem.scale,
            ..Self::new(
                problem,
                &operands.d_q,
                operands.workspace.address + plan.workspace.d_q as u64,
                [plan.num_splits, rows, shape.s_q, shape.h_q],
            )
        }
    }

    /// Of `d_k` and of `d_v`.
    pub(super) fn keys_and_values(problem: &Problem, plan: &Plan, operands: &Operands) -> [Self; 2] {
        let shape = problem.shape;
        let sizes = [plan.num_parts, plan.num_key_tiles * plan.block_n, shape.s_k, shape.h_kv];
        let start = operands.workspace.address;
        let d_k = Self::new(problem, &operands.d_k, start + plan.workspace.d_k as u64, sizes);
        let d_v = Self::new(problem, &operands.d_v, start + plan.workspace.d_v as u64, sizes);
        [Self { scale: problem.scale, ..d_k }, d_v]
    }

    /// The sum of all slabs; `rows` of each head in a slab, of which `s` exist.
    fn new(problem: &Problem, out: &Operand, slabs: u64, [num_slabs, rows, s, h]: [usize; 4]) -> Self {
        let Problem { shape, .. } = problem;
        Self {
            out: SequenceTensor::new(out),
            slabs,
            slab_stride: (shape.b * h * rows * shape.d) as i64,
            s: s as i32,
            h: h as i32,
            d: shape.d as i32,
            num_row_blocks: (rows / 16) as i32,
            num_blocks: (shape.b * h * s.div_ceil(16)) as i32,
            num_slabs: num_slabs as i32,
            rows_per_tile: 0,
            keys_per_tile: 1,
            s_k: 0,
            window_left: -1,
            window_right: -1,
            scale: 1.0,
        }
    }
}
