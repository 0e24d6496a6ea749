//! The kernel's parameters.

use std::mem::offset_of;

use super::{Operands, Plan, Problem};
use crate::attention::block_table::PageTable;
use crate::attention::score::Sequences;
use crate::attention::sequence_tensor::SequenceTensor;
use crate::rotation::Rotation;
use crate::{DType, Operand};

/// `AppendParams` of `kernels/attention/append_kv.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct AppendParams {
    q: SequenceTensor,
    q_out: SequenceTensor,
    k: SequenceTensor,
    v: SequenceTensor,
    k_cache: SequenceTensor,
    v_cache: SequenceTensor,
    k_scales: SequenceTensor,
    v_scales: SequenceTensor,
    table: PageTable,
    rotation: Rotation,
    sequences: Sequences,
    positions: u64,
    position_strides: [i64; 2],
    first_positions: i32,
    capacity: i32,
    num_tokens: u32,
    b: u32,
    s_q: u32,
    h_q: u32,
    h_kv: u32,
    d: u32,
    team_shift: u32,
    token_step: u32,
    head_groups: u32,
    k_shift: u32,
    v_shift: u32,
    in_place: i32,
    dtype: i32,
    q_out_dtype: i32,
    format: i32,
    padding: i32,
}

// The kernel asserts the same numbers.
const _: () = assert!(
    size_of::<AppendParams>() == 416
        && offset_of!(AppendParams, rotation) == 280
        && offset_of!(AppendParams, positions) == 320
        && offset_of!(AppendParams, capacity) == 348
        && offset_of!(AppendParams, format) == 408
);

// SAFETY: `repr(C)`, plain data, no padding.
unsafe impl cudarc::driver::DeviceRepr for AppendParams {}
impl crate::launch::Params for AppendParams {}

/// `ElementType` of `kernels/common/elements.cuh`, and, for 8 bits, `CacheFormat` of `kernels/common/cache_format.cuh`.
fn format(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 1,
        DType::BF16 => 2,
        DType::I8 => 3,
        DType::E4M3 => 4,
        _ => 0,
    }
}

impl AppendParams {
    /// The sizes were checked to fit 32 bits.
    pub(super) fn new(problem: &Problem, plan: &Plan, operands: &Operands) -> Self {
        let shape = problem.shape;
        let heads = |tensor: Option<&Operand>| tensor.map_or(SequenceTensor::default(), SequenceTensor::new);
        let rotation = |frequencies: &Operand| {
            Rotation::new(frequencies, problem.options.interleaved, false, problem.options.magnitude)
        };
        let positions = &operands.positions;
        let position_strides = match positions.layout.rank() {
            2 => [positions.layout.stride(0), positions.layout.stride(1)],
            // One for each sequence, or for each token of one batch entry.
            _ => [positions.layout.stride(0); 2],
        };
        Self {
            q: heads(operands.q.as_ref().or(operands.q_out.as_ref())),
            q_out: heads(operands.q_out.as_ref()),
            k: SequenceTensor::new(&operands.k),
            v: SequenceTensor::new(&operands.v),
            k_cache: SequenceTensor::new(&operands.k_cache),
            v_cache: SequenceTensor::new(&operands.v_cache),
            k_scales: SequenceTensor::of_elements(operands.k_scales.as_ref()),
            v_scales: SequenceTensor::of_elements(operands.v_scales.as_ref()),
            table: PageTable::new(operands.block_table.as_ref(), shape.page_size),
            rotation: operands.inverse_frequencies.as_ref().map(rotation).unwrap_or_default(),
            sequences: Sequences::new(operands.cu_seqlens, shape.s_q),
            positions: positions.address,
            position_strides,
            first_positions: operands.first_positions.into(),
            capacity: problem.capacity as i32,
            num_tokens: shape.num_tokens as u32,
            b: shape.b as u32,
            s_q: shape.s_q as u32,
            h_q: shape.h_q as u32,
            h_kv: shape.h_kv as u32,
            d: shape.d as u32,
            team_shift: plan.team.trailing_zeros(),
            token_step: plan.token_step as u32,
            head_groups: plan.head_groups as u32,
            k_shift: (shape.h_q % plan.head_groups) as u32,
            v_shift: ((shape.h_q + shape.h_kv) % plan.head_groups) as u32,
            in_place: problem.in_place.into(),
            dtype: format(problem.types.k),
            q_out_dtype: problem.types.q_out.map_or(0, format),
            format: format(problem.types.cache),
            padding: 0,
        }
    }
}
