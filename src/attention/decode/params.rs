//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::DType;
use crate::attention::block_table::PageTable;
use crate::attention::merge;
use crate::attention::score::{RowTensor, ScoreOperands, ScoreParams};
use crate::attention::sequence_tensor::SequenceTensor;

/// `DecodeParams` of `kernels/attention/decode.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct DecodeParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    k_scales: SequenceTensor,
    v_scales: SequenceTensor,
    out: SequenceTensor,
    lse: RowTensor,
    score: ScoreParams,
    table: PageTable,
    lengths: u64,
    sinks: u64,
    out_split_stride: i64,
    lse_split_stride: i64,
    max_length: i32,
    s_q: i32,
    h_q: i32,
    h_kv: i32,
    d: i32,
    row_tiles: i32,
    num_row_blocks: i32,
    num_splits: i32,
    least_tiles: i32,
    /// -1: no limit.
    window_left: i32,
    window_right: i32,
    is_e4m3: i32,
    new_keys: i32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<DecodeParams>() == 440
        && offset_of!(DecodeParams, lse) == 192
        && offset_of!(DecodeParams, table) == 328
        && offset_of!(DecodeParams, max_length) == 384
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for DecodeParams {}
impl crate::launch::Params for DecodeParams {}

impl DecodeParams {
    /// The sizes were checked to fit 32 bits. The results go to `parts`, if there are several.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands, parts: Option<&merge::Operands>) -> Self {
        let shape = problem.shape;
        let score = ScoreOperands {
            bias: None,
            mask_bits: None,
            alibi_slopes: operands.alibi_slopes.as_ref(),
            prefix: None,
            scale: problem.scale,
            softcap: problem.softcap,
            dropout: None,
        };
        let (out, lse) = match parts {
            Some(parts) => (SequenceTensor::inner(&parts.parts_out, 1), RowTensor::inner(&parts.parts_lse, 1)),
            None => (SequenceTensor::new(&operands.out), RowTensor::new(operands.lse.as_ref())),
        };
        let stride = |tensor: Option<&crate::Operand>| tensor.map_or(0, |tensor| tensor.layout.stride(0));
        Self {
            q: SequenceTensor::new(&operands.q),
            k: SequenceTensor::new(&operands.k),
            v: SequenceTensor::new(&operands.v),
            k_scales: SequenceTensor::of_elements(operands.k_scales.as_ref()),
            v_scales: SequenceTensor::of_elements(operands.v_scales.as_ref()),
            out,
            lse,
            score: ScoreParams::new(&score),
            table: PageTable::new(operands.block_table.as_ref(), shape.page_size),
            lengths: operands.lengths.address,
            sinks: operands.sinks.map_or(0, |sinks| sinks.address),
            out_split_stride: stride(parts.map(|parts| &parts.parts_out)),
            lse_split_stride: stride(parts.map(|parts| &parts.parts_lse)),
            max_length: problem.max_length as i32,
            s_q: shape.s_q as i32,
            h_q: shape.h_q as i32,
            h_kv: shape.h_kv as i32,
            d: shape.d as i32,
            row_tiles: plan.row_tiles as i32,
            num_row_blocks: plan.num_row_blocks as i32,
            num_splits: plan.num_splits as i32,
            least_tiles: plan.least_tiles as i32,
            window_left: problem.window_left.map_or(-1, |window| window as i32),
            window_right: if problem.bidirectional { -1 } else { 0 },
            is_e4m3: i32::from(problem.cache_dtype == DType::E4M3),
            new_keys: problem.new_keys as i32,
            padding: 0,
        }
    }
}
