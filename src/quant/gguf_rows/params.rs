//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::quant::element_type;

/// `RowsParams` of `kernels/quant/gguf_rows.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RowsParams {
    w: u64,
    /// 0 for all rows.
    ids: u64,
    out: u64,
    w_bytes: i64,
    out_stride: i64,
    num_rows: i64,
    n: i32,
    blocks_per_row: i32,
    rows_per_tile: i32,
    parts_per_row: i32,
    out_type: i32,
    stage_bytes: i32,
    scale: f32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () =
    assert!(size_of::<RowsParams>() == 80 && offset_of!(RowsParams, n) == 48 && offset_of!(RowsParams, scale) == 72);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RowsParams {}
impl crate::launch::Params for RowsParams {}

impl RowsParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { w, ids, out } = operands;
        let blocks_per_row = problem.k / problem.format.block_weights();
        Self {
            w: w.bytes.address,
            ids: ids.map_or(0, |ids| ids.address),
            out: out.address,
            w_bytes: (problem.n * blocks_per_row * problem.format.block_bytes()) as i64,
            out_stride: out.layout.stride(0),
            num_rows: problem.rows as i64,
            n: problem.n as i32,
            blocks_per_row: blocks_per_row as i32,
            rows_per_tile: plan.rows_per_tile as i32,
            parts_per_row: plan.parts_per_row as i32,
            out_type: element_type::code(problem.dtype),
            stage_bytes: plan.stage_bytes as i32,
            scale: problem.scale,
            padding: 0,
        }
    }
}
