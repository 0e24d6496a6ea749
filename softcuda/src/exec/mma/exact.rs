//! Bit-accurate mma (HARDWARE 1.1), sixteen outputs at a time.
//!
//! A term is scaled so that the last bit kept in the alignment is 1 and converted to an integer toward zero: that is the
//! hardware's truncation. Lanes for which f32 cannot do that (NaN, infinities, alignment exponents outside
//! `LOWEST`..=`HIGHEST`, sums of 32 bits) are found by their exponents and computed one by one.

use super::{
    element::{Step, block_step},
    fragment::{ATable, BTable, NO_PRODUCT, decode_a, decode_b, put, take},
    isa::Isa,
    model::{Model, Operand},
};
use crate::exec::value::Lanes;

/// Least alignment exponent, with f32's bias, for which scales and results are normal f32.
const LOWEST: u32 = 127 - 100;
/// Greatest, so that products are finite.
const HIGHEST: u32 = 127 + 125;

/// `d = a b + c` with f32 accumulators: m16n8k16 for 4 registers of A and 2 of B, m16n8k8 for 2 and 1.
#[inline(always)]
pub fn f32_accumulators<S: Isa, T: Operand, M: Model, const A: usize, const B: usize>(
    isa: S,
    a: [&Lanes; A],
    b: [&Lanes; B],
    c: [&Lanes; 4],
) -> [Lanes; 4] {
    let a = decode_a::<S, T, true, A>(isa, a);
    let b = decode_b::<S, T, true, B>(isa, b);
    let mut d = [Lanes::ZERO; 4];
    for group in 0..4 {
        let (rows, half) = (group / 2 * 2, group % 2);
        let sum = [take(isa, c[rows], half), take(isa, c[rows + 1], half)];
        let sum = all_blocks::<S, T, M, false>(isa, &a, &b, B, group, sum);
        put(isa, sum[0], &mut d[rows], half);
        put(isa, sum[1], &mut d[rows + 1], half);
    }
    d
}

/// `d = a b + c` with f16 accumulators; shapes as in [`f32_accumulators`].
#[inline(always)]
pub fn f16_accumulators<S: Isa, T: Operand, M: Model, const A: usize, const B: usize>(
    isa: S,
    a: [&Lanes; A],
    b: [&Lanes; B],
    c: [&Lanes; 2],
) -> [Lanes; 2] {
    let a = decode_a::<S, T, true, A>(isa, a);
    let b = decode_b::<S, T, true, B>(isa, b);
    let mut d = [Lanes::ZERO; 2];
    for group in 0..4 {
        let (rows, half) = (group / 2, group % 2);
        let sum = isa.widen_f16(take(isa, c[rows], half));
        let sum = all_blocks::<S, T, M, true>(isa, &a, &b, B, group, sum);
        put(isa, isa.narrow_f16(sum), &mut d[rows], half);
    }
    d
}

/// Runs the blocks of one row group in order of k; both column parities.
#[inline(always)]
fn all_blocks<S: Isa, T: Operand, M: Model, const HALF: bool>(
    isa: S,
    a: &ATable<S::Vector>,
    b: &BTable,
    steps: usize,
    group: usize,
    mut sum: [S::Vector; 2],
) -> [S::Vector; 2] {
    if M::BLOCK == 8 {
        for first in 0..steps {
            sum = block::<S, T, M, HALF>(isa, a, b, (first, first + 1), group, sum);
        }
        sum
    } else {
        block::<S, T, M, HALF>(isa, a, b, (0, steps), group, sum)
    }
}

/// One block: k-steps `first..end`.
#[inline(always)]
fn block<S: Isa, T: Operand, M: Model, const HALF: bool>(
    isa: S,
    a: &ATable<S::Vector>,
    b: &BTable,
    (first, end): (usize, usize),
    group: usize,
    c: [S::Vector; 2],
) -> [S::Vector; 2] {
    // Largest exponent of a product, as max of sums, in pairs of 16 bits.
    let mut largest = [isa.splat(0x8000_8000); 2];
    for step in first..end {
        for place in 0..4 {
            let quad = isa.spread_quads(a.exponents[step][group], place);
            for parity in 0..2 {
                let of_b = isa.repeat_quad(&b.exponents[step][place][parity]);
                largest[parity] = isa.max16(largest[parity], isa.add16(quad, of_b));
            }
        }
    }
    let fraction = isa.splat(M::FRACTION_BITS << 23);
    let mut aligned = [c[0]; 2];
    let mut scale = [c[0]; 2];
    let mut awkward = [0; 2];
    for parity in 0..2 {
        largest[parity] = isa.max_of_halves(largest[parity]);
        let of_c = accumulator_exponent::<S, HALF>(isa, c[parity]);
        let exponent = isa.max(largest[parity], of_c);
        let floor = if HALF { (127 + M::FLOOR_F16) as u32 } else { LOWEST };
        let exponent_in_range = isa.max(exponent, isa.splat(floor));
        // Unsigned: exponents below the lowest are far above the highest. With f16 results the floor is the format's own.
        let checked = if HALF { exponent_in_range } else { exponent };
        awkward[parity] = isa.mask_above(isa.sub(checked, isa.splat(LOWEST)), isa.splat(HIGHEST - LOWEST));
        let bits = isa.shift_left::<23>(exponent_in_range);
        // 2^(F - E) and, to come back, 2^(E - F).
        scale[parity] = isa.sub(isa.add(isa.splat(254 << 23), fraction), bits);
        aligned[parity] = isa.sub(bits, fraction);
    }
    let mut total = [isa.splat(0); 2];
    for step in first..end {
        for half in 0..2 {
            for place in 0..4 {
                let quad = isa.spread_quads(a.values[step][group][half], place);
                for parity in 0..2 {
                    let of_b = isa.repeat_quad(&b.values[half][step][place][parity]);
                    let product = isa.multiply(isa.multiply(quad, of_b), scale[parity]);
                    total[parity] = isa.add(total[parity], isa.truncate(product));
                }
            }
        }
    }
    let mut d = c;
    for parity in 0..2 {
        let of_c = isa.truncate(isa.multiply(c[parity], scale[parity]));
        let sum = isa.add(total[parity], of_c);
        if M::BLOCK == 16 {
            // Sixteen products stay below 2^31, but not with c.
            awkward[parity] |= isa.mask_overflow(total[parity], of_c, sum);
        }
        d[parity] = if HALF {
            isa.multiply(to_odd(isa, sum), aligned[parity])
        } else {
            isa.multiply(isa.to_float_toward_zero(sum), aligned[parity])
        };
        if HALF {
            d[parity] = round_to_f16(isa, d[parity]);
        }
        if awkward[parity] != 0 {
            // Lanes in which every term is zero are right already.
            let no_product =
                isa.mask_above(isa.sub(largest[parity], isa.splat(NO_PRODUCT as u32)), isa.splat(i32::MAX as u32));
            let zero_c = !isa.mask_above(isa.shift_left::<1>(c[parity]), isa.splat(0));
            let lanes = awkward[parity] & !(no_product & zero_c);
            let mut in_c = [0; 16];
            let mut in_d = [0; 16];
            isa.store(c[parity], &mut in_c);
            isa.store(d[parity], &mut in_d);
            let mut rows = [[[0; 16]; 2]; 2];
            for step in first..end {
                for half in 0..2 {
                    isa.store(a.values[step][group][half], &mut rows[step][half]);
                }
            }
            let step = Step {
                fraction_bits: M::FRACTION_BITS,
                floor: if HALF { M::FLOOR_F16 } else { M::FLOOR_F32 },
                operand_least_exponent: T::LEAST_EXPONENT,
                half_result: HALF,
            };
            one_by_one(step, lanes, &rows, b, (first, end), parity, &in_c, &mut in_d);
            d[parity] = isa.load(&in_d);
        }
    }
    d
}

/// Exponent of c with f32's bias; of zero: below any nonzero value's.
#[inline(always)]
fn accumulator_exponent<S: Isa, const HALF: bool>(isa: S, c: S::Vector) -> S::Vector {
    let shifted = isa.shift_left::<1>(c);
    let field = isa.shift_right::<24>(shifted);
    if !HALF {
        return field;
    }
    // f16's subnormals have its least exponent.
    let at_least = isa.max(field, isa.splat(127 - 14));
    isa.where_unequal(shifted, isa.splat(0), at_least)
}

/// Integer to f32, toward zero, and inexact results made odd: rounding them again, to fewer bits, gives what rounding once would.
#[inline(always)]
fn to_odd<S: Isa>(isa: S, sum: S::Vector) -> S::Vector {
    let float = isa.to_float_toward_zero(sum);
    let sticky = isa.where_unequal(isa.truncate(float), sum, isa.splat(1));
    isa.or(float, sticky)
}

/// To the nearest f16, as f32.
#[inline(always)]
fn round_to_f16<S: Isa>(isa: S, value: S::Vector) -> S::Vector {
    isa.widen_f16(isa.narrow_f16([value, value]))[0]
}

/// Computes the lanes of the mask. `rows` is A by (k-step, half).
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments, reason = "the block's whole context, once, off the hot path")]
fn one_by_one(
    step: Step,
    mut lanes: u32,
    rows: &[[[u32; 16]; 2]; 2],
    table: &BTable,
    (first, end): (usize, usize),
    parity: usize,
    c: &[u32; 16],
    d: &mut [u32; 16],
) {
    while lanes != 0 {
        let lane = lanes.trailing_zeros() as usize;
        lanes &= lanes - 1;
        let mut a = [0.0; 16];
        let mut b = [0.0; 16];
        let mut count = 0;
        for k_step in first..end {
            for place in 0..4 {
                for half in 0..2 {
                    a[count] = f32::from_bits(rows[k_step][half][lane / 4 * 4 + place]);
                    b[count] = f32::from_bits(table.values[half][k_step][place][parity][lane % 4]);
                    count += 1;
                }
            }
        }
        let c = f32::from_bits(c[lane]);
        d[lane] = block_step(step, &a[..count], &b[..count], c).to_bits();
    }
}
