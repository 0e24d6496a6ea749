//! The kernels' parameters.

use std::mem::offset_of;

use super::{Activations, MatrixTile, Operands, Plan, Problem, VectorTile};
use crate::quant::element_type;
use crate::quant::shares::SharesParams;

/// `QuantiseParams` of `kernels/quant/gguf_quantise.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct QuantiseParams {
    x: u64,
    q: u64,
    scales: u64,
    x_stride: i64,
    num_items: i64,
    items_per_row: i32,
    x_type: i32,
}

/// `VectorParams` of `kernels/quant/gguf_vector.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct VectorParams {
    w: u64,
    x: u64,
    x_scales: u64,
    /// 0 for none.
    bias: u64,
    y: u64,
    x_stride: i64,
    y_stride: i64,
    n: i32,
    m: i32,
    blocks_per_row: i32,
    units_per_row: i32,
    rows_per_warp: i32,
    vectors_per_block: i32,
    num_slots: i32,
    inverse: u32,
    step_rows: i32,
    step_units: i32,
    x_type: i32,
    bias_type: i32,
    y_type: i32,
    rotation: i32,
}

/// `MatrixParams` of `kernels/quant/gguf_matrix.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct MatrixParams {
    w: u64,
    x: u64,
    x_scales: u64,
    /// 0 for none.
    bias: u64,
    y: u64,
    partial_sums: u64,
    w_bytes: i64,
    x_stride: i64,
    y_stride: i64,
    n: i32,
    m: i32,
    k: i32,
    row_tiles: i32,
    bias_type: i32,
    y_type: i32,
    shares: SharesParams,
}

// The kernels assert the same numbers.
const _: () = assert!(size_of::<QuantiseParams>() == 48 && offset_of!(QuantiseParams, items_per_row) == 40);
const _: () = assert!(
    size_of::<VectorParams>() == 112 && offset_of!(VectorParams, n) == 56 && offset_of!(VectorParams, rotation) == 108
);
const _: () = assert!(
    size_of::<MatrixParams>() == 112 && offset_of!(MatrixParams, n) == 72 && offset_of!(MatrixParams, y_type) == 92
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for MatrixParams {}
impl crate::launch::Params for MatrixParams {}
// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for QuantiseParams {}
impl crate::launch::Params for QuantiseParams {}
// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for VectorParams {}
impl crate::launch::Params for VectorParams {}

impl MatrixParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, tile: &MatrixTile, operands: &Operands) -> Self {
        // Prepared activations, or bf16 as it is.
        let (x, x_stride) = match plan.prepare {
            Some(_) => (workspace(operands), problem.k as i64),
            None => (operands.x.address, operands.x.layout.stride(0)),
        };
        Self {
            w: operands.w.bytes.address,
            x,
            x_scales: x + plan.workspace.scales as u64,
            bias: operands.bias.map_or(0, |bias| bias.address),
            y: operands.y.address,
            partial_sums: workspace(operands) + plan.workspace.partial_sums as u64,
            w_bytes: (problem.n * problem.blocks_per_row() * problem.format.block_bytes()) as i64,
            x_stride,
            y_stride: operands.y.layout.stride(0),
            n: problem.n as i32,
            m: problem.m as i32,
            k: problem.k as i32,
            row_tiles: problem.m.div_ceil(tile.rows) as i32,
            bias_type: problem.bias_dtype.map_or(0, element_type::code),
            y_type: element_type::code(problem.y_dtype),
            shares: plan.shares.params(),
        }
    }
}

fn workspace(operands: &Operands) -> u64 {
    operands.workspace.map_or(0, |workspace| workspace.address)
}

impl QuantiseParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        Self {
            x: operands.x.address,
            q: workspace(operands),
            scales: workspace(operands) + plan.workspace.scales as u64,
            x_stride: operands.x.layout.stride(0),
            num_items: (problem.m * (problem.k / 8)) as i64,
            items_per_row: (problem.k / 8) as i32,
            x_type: element_type::code(problem.x_dtype),
        }
    }
}

impl VectorParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, tile: &VectorTile, operands: &Operands) -> Self {
        let units = tile.units_per_row;
        // At least 1, also where there is nothing to divide.
        let divisor = units.max(1);
        let quantised = problem.activations == Activations::Q8;
        let x = if quantised { workspace(operands) } else { operands.x.address };
        Self {
            w: operands.w.bytes.address,
            x,
            x_scales: if quantised { x + plan.workspace.scales as u64 } else { 0 },
            bias: operands.bias.map_or(0, |bias| bias.address),
            y: operands.y.address,
            x_stride: if quantised { problem.k as i64 } else { operands.x.layout.stride(0) },
            y_stride: operands.y.layout.stride(0),
            n: problem.n as i32,
            m: problem.m as i32,
            blocks_per_row: problem.blocks_per_row() as i32,
            units_per_row: units as i32,
            rows_per_warp: tile.rows_per_warp as i32,
            vectors_per_block: tile.vectors_per_block as i32,
            num_slots: tile.num_slots as i32,
            inverse: (1 << 16) / divisor as u32 + 1,
            step_rows: (32 / divisor) as i32,
            step_units: (32 % divisor) as i32,
            x_type: element_type::code(problem.x_dtype),
            bias_type: problem.bias_dtype.map_or(0, element_type::code),
            y_type: element_type::code(problem.y_dtype),
            rotation: 5 - units.trailing_zeros().min(5) as i32,
        }
    }
}
