//! The kernels' parameters.

use std::mem::offset_of;

use super::{Operands, Problem, Target};
use crate::DType;
use crate::quant::{Codes, element_type};

/// `QuantizeParams` of `kernels/quant/quantize.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct QuantizeParams {
    x: u64,
    q: u64,
    scales: u64,
    /// 0 for none.
    zeros: u64,
    x_stride: i64,
    q_stride: i64,
    num_groups: i64,
    n: i32,
    k: i32,
    num_chunks: i32,
    packed_groups: i32,
    group_columns: i32,
    kind: i32,
    x_type: i32,
    scales_type: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<QuantizeParams>() == 88
        && offset_of!(QuantizeParams, n) == 56
        && offset_of!(QuantizeParams, scales_type) == 84
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for QuantizeParams {}
impl crate::launch::Params for QuantizeParams {}

impl QuantizeParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, operands: &Operands) -> Self {
        let params = Self {
            x: operands.x.address,
            q: operands.q.address,
            scales: operands.scales.address,
            zeros: operands.zeros.map_or(0, |zeros| zeros.address),
            x_stride: operands.x.layout.stride(0),
            q_stride: 0,
            num_groups: 0,
            n: problem.n as i32,
            k: problem.k as i32,
            num_chunks: 0,
            packed_groups: 0,
            group_columns: 0,
            kind: 0,
            x_type: element_type::code(problem.x_dtype),
            scales_type: element_type::code(problem.scales_dtype),
        };
        match problem.target {
            Target::Groups(format) => Self {
                num_groups: (format.scales_len() / 2) as i64,
                num_chunks: format.chunks() as i32,
                packed_groups: format.packed_groups() as i32,
                group_columns: format.packed_group_columns() as i32,
                kind: match format.codes {
                    Codes::Int4 => 0,
                    Codes::Int8 => 1,
                    Codes::Nf4 => 2,
                },
                ..params
            },
            // These have kernels and parameters of their own.
            Target::Blocks { .. } => params,
            // The numbers of CacheFormat.
            Target::Rows(dtype) => {
                Self { q_stride: operands.q.layout.stride(0), kind: if dtype == DType::I8 { 3 } else { 4 }, ..params }
            }
        }
    }
}
