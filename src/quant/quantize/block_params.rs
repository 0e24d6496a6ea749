//! The parameters of the kernels for blocks.

use std::mem::offset_of;

use super::{Operands, Problem};
use crate::quant::element_type;

/// `QuantizeBlocksParams` of `kernels/quant/quantize_blocks.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct QuantizeBlocksParams {
    x: u64,
    q: u64,
    magnitudes: u64,
    /// 0 where magnitudes stay as they are, and so the next three.
    table: u64,
    nested_codes: u64,
    nested_magnitudes: u64,
    offset: u64,
    x_stride: i64,
    num_blocks: i64,
    row_blocks: i32,
    block: i32,
    x_type: i32,
    unused: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(size_of::<QuantizeBlocksParams>() == 88 && offset_of!(QuantizeBlocksParams, row_blocks) == 72);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for QuantizeBlocksParams {}
impl crate::launch::Params for QuantizeBlocksParams {}

impl QuantizeBlocksParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, block: usize, operands: &Operands) -> Self {
        let nested = operands.nested.as_ref();
        Self {
            x: operands.x.address,
            q: operands.q.address,
            magnitudes: operands.scales.address,
            table: nested.map_or(0, |nested| nested.table.address),
            nested_codes: nested.map_or(0, |nested| nested.codes.address),
            nested_magnitudes: nested.map_or(0, |nested| nested.magnitudes.address),
            offset: nested.map_or(0, |nested| nested.offset.address),
            x_stride: operands.x.layout.stride(0),
            num_blocks: problem.num_blocks(block) as i64,
            row_blocks: problem.k.checked_div(block).unwrap_or(0) as i32,
            block: block as i32,
            x_type: element_type::code(problem.x_dtype),
            unused: 0,
        }
    }
}
