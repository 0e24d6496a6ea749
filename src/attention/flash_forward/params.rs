//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Problem};
use crate::attention::score::{RowTensor, ScoreOperands, ScoreParams, Sequences};
use crate::attention::sequence_tensor::SequenceTensor;

/// `FlashForwardParams` of `kernels/attention/forward_block.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct FlashForwardParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    out: SequenceTensor,
    lse: RowTensor,
    sinks: u64,
    queries: Sequences,
    keys: Sequences,
    score: ScoreParams,
    h_q: i32,
    h_kv: i32,
    d: i32,
    d_v: i32,
    num_row_tiles: i32,
    pack: i32,
    /// -1: no limit.
    window_left: i32,
    window_right: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<FlashForwardParams>() == 336
        && offset_of!(FlashForwardParams, sinks) == 152
        && offset_of!(FlashForwardParams, score) == 192
        && offset_of!(FlashForwardParams, h_q) == 304
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for FlashForwardParams {}
impl crate::launch::Params for FlashForwardParams {}

impl FlashForwardParams {
    /// The sizes were checked to fit 32 bits. `pack` heads share the rows of a tile.
    pub(crate) fn new(problem: &Problem, num_row_tiles: usize, pack: usize, operands: &Operands) -> Self {
        let Operands { q, k, v, out, lse, sinks, .. } = operands;
        let shape = problem.shape;
        let window = |window: Option<usize>| window.map_or(-1, |window| window as i32);
        let score = ScoreOperands {
            bias: operands.bias.as_ref(),
            mask_bits: operands.mask_bits.as_ref(),
            alibi_slopes: operands.alibi_slopes.as_ref(),
            prefix: operands.prefix.as_ref(),
            scale: problem.scale,
            softcap: problem.softcap,
            dropout: problem.dropout,
        };
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            v: SequenceTensor::new(v),
            out: SequenceTensor::new(out),
            lse: RowTensor::new(lse.as_ref()),
            sinks: sinks.map_or(0, |sinks| sinks.address),
            queries: Sequences::new(operands.cu_seqlens_q, shape.s_q),
            keys: Sequences::new(operands.cu_seqlens_k, shape.s_k),
            score: ScoreParams::new(&score),
            h_q: shape.h_q as i32,
            h_kv: shape.h_kv as i32,
            d: shape.d as i32,
            d_v: shape.d_v as i32,
            num_row_tiles: num_row_tiles as i32,
            pack: pack as i32,
            window_left: window(problem.window_left),
            window_right: window(problem.window_right),
        }
    }
}
