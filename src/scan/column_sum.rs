//! Sums of partial results: the Rust side of `kernels/scan/column_sum.cuh`.

use crate::fused::rows::element_type;
use crate::{LaunchPlan, Operand};

/// Columns and threads of a block.
const COLUMNS: usize = 32;
const THREADS: u32 = 256;

/// `ColumnSumParams` of `kernels/scan/column_sum.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct ColumnSumParams {
    partial: u64,
    out: u64,
    width: i64,
    num_partials: i32,
    dtype: i32,
}

// The kernels assert the same number.
const _: () = assert!(size_of::<ColumnSumParams>() == 32);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for ColumnSumParams {}
impl crate::launch::Params for ColumnSumParams {}

impl ColumnSumParams {
    /// Sums `num_partials` arrays of f32 at an address to a tensor without gaps.
    pub(super) fn new(partial: u64, num_partials: usize, out: &Operand) -> Self {
        let (width, num_partials) = (out.layout.len() as i64, num_partials as i32);
        Self { partial, out: out.address, width, num_partials, dtype: element_type(out.dtype) }
    }
}

/// The launch of an operator's instance that sums to `width` columns; `None` if there are none.
pub(super) fn launch(op: &'static str, instance: &'static str, width: usize) -> Option<LaunchPlan> {
    (width > 0).then(|| LaunchPlan {
        op,
        instance,
        grid: [width.div_ceil(COLUMNS) as u32, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        workspace_bytes: 0,
    })
}
