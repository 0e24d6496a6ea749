//! The main kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::flash_backward::params::FlashBackwardParams;
use crate::sparse::layout_operand::BlockLayoutParams;

/// `BlockSparseBackwardParams` of `kernels/sparse/block_sparse_backward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct BlockSparseBackwardParams {
    attention: FlashBackwardParams,
    layout: BlockLayoutParams,
}

// The kernel asserts the same numbers.
const _: () =
    assert!(size_of::<BlockSparseBackwardParams>() == 600 && offset_of!(BlockSparseBackwardParams, layout) == 504);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for BlockSparseBackwardParams {}
impl crate::launch::Params for BlockSparseBackwardParams {}

impl BlockSparseBackwardParams {
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let attention = FlashBackwardParams::new(&problem.attention, plan, &operands.dense);
        Self { attention, layout: BlockLayoutParams::new(&operands.layout, [plan.block_m, plan.block_n]) }
    }
}
