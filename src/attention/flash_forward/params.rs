//! The kernel's parameters.

use std::mem::offset_of;

use super::super::sequence_tensor::SequenceTensor;
use super::{Operands, Plan, Problem};

/// `FlashForwardParams` of `kernels/attention/flash_forward.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct FlashForwardParams {
    q: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    out: SequenceTensor,
    /// 0 when it is not wanted.
    lse: u64,
    s_q: i32,
    s_k: i32,
    h_q: i32,
    h_kv: i32,
    num_query_tiles: i32,
    /// -1: no limit.
    window_left: i32,
    window_right: i32,
    /// Scale times log2(e): the kernel's exponentials are powers of 2.
    scale_log2: f32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<FlashForwardParams>() == 168
        && offset_of!(FlashForwardParams, lse) == 128
        && offset_of!(FlashForwardParams, s_q) == 136
        && offset_of!(FlashForwardParams, scale_log2) == 164
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for FlashForwardParams {}
impl crate::launch::Params for FlashForwardParams {}

impl FlashForwardParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let Operands { q, k, v, out, lse } = operands;
        let shape = problem.shape;
        let window = |window: Option<usize>| window.map_or(-1, |window| window as i32);
        Self {
            q: SequenceTensor::new(q),
            k: SequenceTensor::new(k),
            v: SequenceTensor::new(v),
            out: SequenceTensor::new(out),
            lse: lse.map_or(0, |lse| lse.address),
            s_q: shape.s_q as i32,
            s_k: shape.s_k as i32,
            h_q: shape.h_q as i32,
            h_kv: shape.h_kv as i32,
            num_query_tiles: plan.num_query_tiles as i32,
            window_left: window(problem.window_left),
            window_right: window(problem.window_right),
            scale_log2: problem.scale * std::f32::consts::LOG2_E,
        }
    }
}
