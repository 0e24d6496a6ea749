//! The fragments of m16n8k8 and m16n8k16 (16-bit operands) in vectors.
//!
//! Lane `4g + t` holds, as pairs (low half, high half):
//! A: register `r` the row `g + 8 (r % 2)`, places `k = 2t, 2t + 1` of k-step `r / 2`;
//! B: register `s` the column `g`, the same places of k-step `s`; a k-step is 8 places.
//! C and D: f32 register `2h + p` the row `g + 8h`, column `2t + p`; as f16, register `h` the pair of both columns.
//!
//! Vectors keep that layout: a *row group* is 4 rows by 4 lanes, one vector; group `q` has rows `4q..4q + 4`. So an A value is
//! the same in all four lanes of its row (a quad), and B repeats every four lanes.

use super::{isa::Isa, model::Operand};
use crate::exec::value::Lanes;

/// Exponent of a zero operand: no sum with it reaches that of a nonzero product.
pub(super) const ZERO_EXPONENT: i16 = -2000;
/// Added to the exponent of infinities and NaN: any sum with one is above that of finite values, a zero partner included.
pub(super) const SPECIAL_EXPONENT: i16 = 8000;
/// Every exponent sum that no nonzero product has part in is below.
pub(super) const NO_PRODUCT: i32 = -1000;

/// The halves of a register as vectors.
#[inline(always)]
pub(super) fn split<S: Isa>(isa: S, lanes: &Lanes) -> [S::Vector; 2] {
    let (halves, _) = lanes.0.as_chunks::<16>();
    [isa.load(&halves[0]), isa.load(&halves[1])]
}

/// Half `half` of a register.
#[inline(always)]
pub(super) fn take<S: Isa>(isa: S, lanes: &Lanes, half: usize) -> S::Vector {
    let (halves, _) = lanes.0.as_chunks::<16>();
    isa.load(&halves[half])
}

/// Writes a vector to half `half` of a register.
#[inline(always)]
pub(super) fn put<S: Isa>(isa: S, vector: S::Vector, lanes: &mut Lanes, half: usize) {
    let (halves, _) = lanes.0.as_chunks_mut::<16>();
    isa.store(vector, &mut halves[half]);
}

/// A k-step of A or B: operand values, and where wanted exponents.
#[derive(Clone, Copy)]
pub(super) struct ATable<V> {
    /// f32 values by (k-step, row group, half): places `2t` in half 0 and `2t + 1` in half 1.
    pub(super) values: [[[V; 2]; 4]; 2],
    /// Pairs of 16-bit exponents by (k-step, row group).
    pub(super) exponents: [[V; 4]; 2],
}

/// B by (k-step, t, column parity): four columns each.
pub(super) struct BTable {
    /// f32 values by half.
    pub(super) values: [[[[[u32; 4]; 2]; 4]; 2]; 2],
    /// Pairs of 16-bit exponents.
    pub(super) exponents: [[[[u32; 4]; 2]; 4]; 2],
}

/// Unbiased exponents of both halves, subnormals at the format's least, plus `bias`; see the constants above.
#[inline(always)]
fn exponents<S: Isa, T: Operand>(isa: S, pairs: S::Vector, bias: i16) -> S::Vector {
    let splat = |value: i16| isa.splat(u32::from(value as u16) * 0x0001_0001);
    let magnitude = isa.and(pairs, isa.splat(0x7fff_7fff));
    let field = T::exponent_field(isa, magnitude);
    let exponent = isa.add16(isa.max16(field, splat(1)), splat(bias));
    let exponent = isa.add16_where_equal(exponent, splat(ZERO_EXPONENT), magnitude, splat(0));
    isa.add16_where_equal(exponent, splat(SPECIAL_EXPONENT), field, splat(T::SPECIAL as i16))
}

/// Decodes A, exponents too if `EXPONENTS`. Their sums with B's carry f32's bias.
#[inline(always)]
pub(super) fn decode_a<S: Isa, T: Operand, const EXPONENTS: bool, const A: usize>(
    isa: S,
    registers: [&Lanes; A],
) -> ATable<S::Vector> {
    // A field is the exponent plus (1 - least exponent); the sum of two is to carry 127.
    let bias = (127 - 2 * (1 - T::LEAST_EXPONENT)) as i16;
    let zero = isa.splat(0);
    let mut table = ATable { values: [[[zero; 2]; 4]; 2], exponents: [[zero; 4]; 2] };
    for (register, lanes) in registers.into_iter().enumerate() {
        for (half, pairs) in split(isa, lanes).into_iter().enumerate() {
            let group = register % 2 * 2 + half;
            table.values[register / 2][group] = T::widen(isa, pairs);
            if EXPONENTS {
                table.exponents[register / 2][group] = exponents::<S, T>(isa, pairs, bias);
            }
        }
    }
    table
}

/// Decodes B, exponents too if `EXPONENTS`.
#[inline(always)]
pub(super) fn decode_b<S: Isa, T: Operand, const EXPONENTS: bool, const B: usize>(
    isa: S,
    registers: [&Lanes; B],
) -> BTable {
    let mut table = BTable { values: [[[[[0; 4]; 2]; 4]; 2]; 2], exponents: [[[[0; 4]; 2]; 4]; 2] };
    for (step, lanes) in registers.into_iter().enumerate() {
        let transposed = isa.transpose_b(split(isa, lanes));
        for (part, pairs) in transposed.into_iter().enumerate() {
            let values = T::widen(isa, pairs);
            for (half, value) in values.into_iter().enumerate() {
                isa.store(value, sixteen(&mut table.values[half][step], part));
            }
            if EXPONENTS {
                let exponents = exponents::<S, T>(isa, pairs, 0);
                isa.store(exponents, sixteen(&mut table.exponents[step], part));
            }
        }
    }
    table
}

/// Half `part` of a k-step of B's table.
#[inline(always)]
fn sixteen(step: &mut [[[u32; 4]; 2]; 4], part: usize) -> &mut [u32; 16] {
    let (halves, _) = step.as_flattened_mut().as_flattened_mut().as_chunks_mut();
    &mut halves[part]
}
