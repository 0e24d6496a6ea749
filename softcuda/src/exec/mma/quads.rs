//! `m8n8k4` of f16: four products of 8 rows, 8 columns and 4 places, each by four lanes and the four that are 16 above them.
//!
//! Since sm_80 no tensor core does this: ptxas calls a routine of ordinary instructions, whose order of operations this is. With
//! f32 results a chain of fused multiply-adds from zero is added to the accumulator; with f16 results two chains of two, one after
//! the other, in f32, and the sum is rounded to f16.

use super::form::Accumulator;
use crate::exec::value::{
    Lanes,
    float::{add, fma, mul},
    half_precision::{f16_to_f32, f32_to_f16_rn},
};

/// f16 element `i` of a lane's registers.
fn element(registers: &[&Lanes], lane: usize, i: usize) -> f32 {
    f16_to_f32((registers[i / 2].0[lane] >> (16 * (i % 2))) as u16)
}

/// Lane of the quad whose first is `first` that holds row or column `index`.
fn lane_of(first: usize, index: usize) -> usize {
    first + index % 4 + index / 4 * 16
}

/// `d = a b + c`. `[a_columns, b_columns]`: which of both is column-major.
pub(super) fn multiply(
    [a_columns, b_columns]: [bool; 2],
    [of_c, of_d]: [Accumulator; 2],
    a: &[&Lanes],
    b: &[&Lanes],
    c: &[&Lanes],
    d: &mut [Lanes; 8],
) {
    for lane in 0..32 {
        let first = lane % 16 / 4 * 4;
        for i in 0..8 {
            // Accumulators of f16 lie as rows; those of f32 are spread over pairs of lanes.
            let upper = lane / 16 * 4;
            let single = (upper + lane % 2 + i / 2 % 2 * 2, i / 4 * 4 + lane / 2 % 2 * 2 + i % 2);
            let place = |accumulator| if accumulator == Accumulator::F16 { (upper + lane % 4, i) } else { single };
            let (row, column) = place(of_d);
            let of_a = |k: usize| match a_columns {
                false => element(a, lane_of(first, row), k),
                true => element(a, first + k + row / 4 * 16, row % 4),
            };
            let of_b = |k: usize| match b_columns {
                true => element(b, lane_of(first, column), k),
                false => element(b, first + k + column / 4 * 16, column % 4),
            };
            let accumulator = match of_c {
                Accumulator::F16 => element(c, lane_of(first, row), column),
                // Both are f32: the same place.
                _ => f32::from_bits(c[i].0[lane]),
            };
            if of_d == Accumulator::F16 {
                let pair = |k: usize| fma::<false>(of_a(k + 1), of_b(k + 1), mul(of_a(k), of_b(k)));
                let bits = f32_to_f16_rn(add(add(accumulator, pair(0)), pair(2)));
                let word = &mut d[i / 2].0[lane];
                let shift = 16 * (i % 2);
                *word = *word & !(0xffff << shift) | u32::from(bits) << shift;
            } else {
                let sum = (0..4).fold(0.0, |sum, k| fma::<false>(of_a(k), of_b(k), sum));
                d[i].0[lane] = add(accumulator, sum).to_bits();
            }
        }
    }
}
