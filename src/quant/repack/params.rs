//! The kernels' parameters.

use std::mem::offset_of;

use super::{Operands, Problem, Source};
use crate::quant::element_type;

/// `RepackParams` of `kernels/quant/repack.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct RepackParams {
    codes: u64,
    /// 0 for none, as with the others.
    zeros: u64,
    scales: u64,
    table: u64,
    magnitudes: u64,
    columns: u64,
    packed_codes: u64,
    packed_scales: u64,
    packed_zeros: u64,
    n: i32,
    k: i32,
    num_tiles: i32,
    num_chunks: i32,
    packed_groups: i32,
    groups: i32,
    bits: i32,
    source: i32,
    zero_offset: i32,
    scales_type: i32,
    packed_type: i32,
    magnitude_offset: f32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<RepackParams>() == 120
        && offset_of!(RepackParams, n) == 72
        && offset_of!(RepackParams, magnitude_offset) == 116
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for RepackParams {}
impl crate::launch::Params for RepackParams {}

impl RepackParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, operands: &Operands) -> Self {
        let Problem { source, format, scales_dtype, dtype, offset, .. } = *problem;
        let address = |operand: &crate::Operand| operand.address;
        Self {
            codes: operands.qweight.address,
            zeros: operands.qzeros.as_ref().map_or(0, address),
            scales: operands.scales.address,
            table: operands.nested.map_or(0, |(table, _)| table.address),
            magnitudes: operands.nested.map_or(0, |(_, magnitudes)| magnitudes.address),
            columns: operands.columns.map_or(0, |columns| columns.address),
            packed_codes: operands.codes.address,
            packed_scales: operands.out_scales.address,
            packed_zeros: operands.zeros.as_ref().map_or(0, address),
            n: format.n as i32,
            k: format.k as i32,
            num_tiles: format.tiles() as i32,
            num_chunks: format.chunks() as i32,
            packed_groups: format.packed_groups() as i32,
            groups: format.groups() as i32,
            bits: format.codes.bits() as i32,
            source: match source {
                Source::Gptq | Source::GptqV2 => 0,
                Source::Awq => 1,
                Source::Nf4 => 2,
            },
            zero_offset: i32::from(source == Source::Gptq),
            scales_type: element_type::code(scales_dtype),
            packed_type: element_type::code(dtype),
            magnitude_offset: offset,
        }
    }
}
