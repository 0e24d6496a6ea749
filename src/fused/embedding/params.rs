//! The kernel's parameters.

use std::mem::offset_of;

use super::super::rows::{RowTensor, Rows, rows};
use super::{Operands, Plan, Problem};

/// `EmbeddingParams` of `kernels/fused/embedding.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct EmbeddingParams {
    table: RowTensor,
    out: RowTensor,
    ids: u64,
    rows: Rows,
    num_entries: u32,
    tiles_per_row: u32,
    scale: f32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<EmbeddingParams>() == 120
        && offset_of!(EmbeddingParams, rows) == 88
        && offset_of!(EmbeddingParams, scale) == 112
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for EmbeddingParams {}
impl crate::launch::Params for EmbeddingParams {}

impl EmbeddingParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { table, ids, out } = operands;
        let (rows, [out]) = rows([Some(out)]);
        Self {
            table: RowTensor::new(table, [table.layout.stride(0), 0, 0]),
            out,
            ids: ids.address,
            rows,
            num_entries: problem.shape.n as u32,
            tiles_per_row: plan.tiles_per_row as u32,
            scale: problem.scale,
            padding: 0,
        }
    }
}
