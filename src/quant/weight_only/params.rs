//! The kernels' parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::quant::element_type;
use crate::quant::shares::SharesParams;

/// `WeightOnlyParams` of `kernels/quant/weight_only_params.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct WeightOnlyParams {
    codes: u64,
    scales: u64,
    /// 0 for none.
    zeros: u64,
    x: u64,
    /// 0 for none.
    columns: u64,
    /// 0 for none.
    bias: u64,
    y: u64,
    partials: u64,
    x_stride: i64,
    y_stride: i64,
    n: i32,
    m: i32,
    k: i32,
    num_tiles: i32,
    num_chunks: i32,
    num_groups: i32,
    group_shift: i32,
    zero: i32,
    num_splits: i32,
    split_chunks: i32,
    bias_type: i32,
    y_type: i32,
    shares: SharesParams,
    row_tiles: i32,
    zero_mask: u32,
    zero_pair: u32,
    reserved: i32,
}

// The kernels assert the same numbers.
const _: () = assert!(
    size_of::<WeightOnlyParams>() == 160
        && offset_of!(WeightOnlyParams, n) == 80
        && offset_of!(WeightOnlyParams, y_type) == 124
        && offset_of!(WeightOnlyParams, row_tiles) == 144
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for WeightOnlyParams {}
impl crate::launch::Params for WeightOnlyParams {}

impl WeightOnlyParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let (format, w) = (&problem.format, &operands.w);
        let workspace = operands.workspace.map_or(0, |workspace| workspace.address);
        // Permuted before, or by the kernel, or as they are.
        let (x, x_stride, columns) = match plan.permute {
            Some(_) => (workspace, format.k as i64, 0),
            None => (operands.x.address, operands.x.layout.stride(0), w.columns.map_or(0, |columns| columns.address)),
        };
        Self {
            codes: w.codes.address,
            scales: w.scales.address,
            zeros: w.zeros.map_or(0, |zeros| zeros.address),
            x,
            columns,
            bias: operands.bias.map_or(0, |bias| bias.address),
            y: operands.y.address,
            partials: workspace + plan.workspace.partials as u64,
            x_stride,
            y_stride: operands.y.layout.stride(0),
            n: format.n as i32,
            m: problem.m as i32,
            k: format.k as i32,
            num_tiles: format.tiles() as i32,
            num_chunks: format.chunks() as i32,
            num_groups: format.packed_groups() as i32,
            group_shift: format.group_shift() as i32,
            zero: format.codes.middle().into(),
            num_splits: plan.num_splits as i32,
            split_chunks: plan.split_chunks as i32,
            bias_type: problem.bias_dtype.map_or(0, element_type::code),
            y_type: element_type::code(problem.y_dtype),
            shares: plan.shares.params(),
            row_tiles: problem.m.div_ceil(plan.rows) as i32,
            zero_mask: if problem.has_zeros { 0xffff } else { 0 },
            zero_pair: if problem.has_zeros { 0 } else { u32::from(format.codes.middle()) * 0x0101 },
            reserved: 0,
        }
    }

    /// Of the kernel that permutes the activations, to where the others find them.
    pub(super) fn of_permutation(&self, operands: &Operands) -> Self {
        Self {
            x: operands.x.address,
            x_stride: operands.x.layout.stride(0),
            columns: operands.w.columns.map_or(0, |columns| columns.address),
            y: self.x,
            y_stride: self.x_stride,
            ..*self
        }
    }
}
