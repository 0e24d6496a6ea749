//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::flash_forward::params::FlashForwardParams;
use crate::sparse::layout_operand::BlockLayoutParams;

/// `BlockSparseParams` of `kernels/sparse/block_sparse.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct BlockSparseParams {
    attention: FlashForwardParams,
    layout: BlockLayoutParams,
}

// The kernel asserts the same numbers.
const _: () = assert!(size_of::<BlockSparseParams>() == 432 && offset_of!(BlockSparseParams, layout) == 336);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for BlockSparseParams {}
impl crate::launch::Params for BlockSparseParams {}

impl BlockSparseParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let attention = FlashForwardParams::new(&problem.attention, plan.num_row_tiles, 1, &operands.dense());
        Self { attention, layout: BlockLayoutParams::new(&operands.layout, [plan.block_m, plan.block_n]) }
    }
}
