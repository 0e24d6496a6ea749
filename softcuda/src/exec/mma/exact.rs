//! Sums as tensor cores form them (HARDWARE 1.1), sixteen rows of a column at a time.
//!
//! A term is scaled so that the last bit kept in the alignment is 1 and converted to an integer toward zero: that is the
//! hardware's truncation. Rows for which f32 cannot do that (NaN, infinities, alignment exponents outside
//! `LOWEST`..=`HIGHEST`, sums of 32 bits) are found by their exponents and computed one by one.

use super::{
    element::{Result, Step, block_step},
    isa::Isa,
    operand::NO_PRODUCT,
    second::Second,
    table::ATable,
};

/// Least alignment exponent, with f32's bias, for which scales and results are normal f32.
const LOWEST: u32 = 127 - 100;
/// Greatest, so that products are finite.
const HIGHEST: u32 = 127 + 125;

/// How a generation of tensor cores sums: the constants of a step, and how many groups of four places it covers.
pub(super) trait Sums {
    /// Groups in the whole product.
    const GROUPS: usize;
    /// Groups in one exact step.
    const BLOCK: usize;
    /// Fraction bits kept below the largest exponent.
    const FRACTION_BITS: u32;
    /// The format of a step's result.
    const RESULT: Result;
    /// Exponents of two groups stand side by side.
    const PAIRED: bool;
    /// The sum starts at zero; the accumulator is added to its end, in plain floating point.
    const ADD_LAST: bool;

    /// Least alignment exponent (HARDWARE 1.4; of no effect on results that are normal).
    const FLOOR: i32 = match Self::RESULT {
        Result::F16 => 4 - if Self::FRACTION_BITS < 24 { 24 } else { Self::FRACTION_BITS as i32 },
        _ => -108 - if Self::FRACTION_BITS < 24 { 25 } else { Self::FRACTION_BITS as i32 },
    };
}

/// Four columns: all steps in order of k.
#[inline(always)]
pub(super) fn columns<S: Isa, R: Sums, B: Second>(
    isa: S,
    least_exponents: [i32; 2],
    a: &ATable,
    b: &B,
    columns: [usize; 4],
    c: [S::Vector; 4],
) -> [S::Vector; 4] {
    let mut sum = if R::ADD_LAST { [isa.splat(0); 4] } else { c };
    for first in (0..R::GROUPS).step_by(R::BLOCK) {
        sum = step::<S, R, B>(isa, least_exponents, a, b, columns, first, sum);
    }
    if R::ADD_LAST {
        for (sum, c) in sum.iter_mut().zip(c) {
            *sum = isa.canonical_nan(isa.multiply_add_exact(*sum, isa.splat(1f32.to_bits()), c));
        }
    }
    sum
}

#[inline(always)]
fn step<S: Isa, R: Sums, B: Second>(
    isa: S,
    least_exponents: [i32; 2],
    a: &ATable,
    b: &B,
    columns: [usize; 4],
    first: usize,
    c: [S::Vector; 4],
) -> [S::Vector; 4] {
    let half = matches!(R::RESULT, Result::F16);
    // Largest exponent of a product, as max of sums, in pairs of 16 bits.
    let mut largest = [isa.splat(0x8000_8000); 4];
    let shared = if R::PAIRED { 2 } else { 1 };
    for index in first / shared..(first + R::BLOCK) / shared {
        for t in 0..4 {
            let of_a = isa.load(&a.exponents[index][t]);
            for i in 0..4 {
                let of_b = b.exponents(isa, index, t, columns[i]);
                largest[i] = isa.max16(largest[i], isa.add16(of_a, of_b));
            }
        }
    }
    let fraction = isa.splat(R::FRACTION_BITS << 23);
    let floor = isa.splat(if half { (127 + R::FLOOR) as u32 } else { LOWEST });
    let (mut aligned, mut scale) = (c, c);
    let mut awkward = [0; 4];
    for i in 0..4 {
        largest[i] = isa.max_of_halves(largest[i]);
        let of_c = if half { f16_exponent(isa, c[i]) } else { isa.shift_right::<24>(isa.shift_left::<1>(c[i])) };
        let exponent = isa.max(largest[i], of_c);
        let in_range = isa.max(exponent, floor);
        // Unsigned: exponents below the lowest are far above the highest. With f16 results the floor is the format's own.
        let checked = if half { in_range } else { exponent };
        awkward[i] = isa.mask_above(isa.sub(checked, isa.splat(LOWEST)), isa.splat(HIGHEST - LOWEST));
        let bits = isa.shift_left::<23>(in_range);
        // 2^(F - E) and, to come back, 2^(E - F).
        scale[i] = isa.sub(isa.splat((254 << 23) + (R::FRACTION_BITS << 23)), bits);
        aligned[i] = isa.sub(bits, fraction);
    }
    let mut total = [isa.splat(0); 4];
    for group in first..first + R::BLOCK {
        for t in 0..4 {
            let of_a = isa.load(&a.values[group][t]);
            for i in 0..4 {
                let of_b = b.values(isa, group, t, columns[i]);
                let product = isa.multiply(isa.multiply(of_a, of_b), scale[i]);
                total[i] = isa.add(total[i], isa.truncate(product));
            }
        }
    }
    let mut d = c;
    for i in 0..4 {
        let of_c = isa.truncate(isa.multiply(c[i], scale[i]));
        let sum = isa.add(total[i], of_c);
        if R::BLOCK == 4 && R::FRACTION_BITS == 25 {
            // Sixteen products stay below 2^31, but not with c.
            awkward[i] |= isa.mask_overflow(total[i], of_c, sum);
        }
        d[i] = match R::RESULT {
            Result::F32 => isa.multiply(isa.to_float_toward_zero(sum), aligned[i]),
            // The sum has few enough bits to be exact in f32.
            Result::Short => isa.multiply(isa.and(isa.to_float_toward_zero(sum), isa.splat(0xffff_fc00)), aligned[i]),
            Result::F16 => {
                let value = isa.multiply(to_odd(isa, sum), aligned[i]);
                isa.widen_f16(isa.narrow_f16([value, value]))[0]
            }
        };
    }
    if awkward != [0; 4] {
        let step = Step { fraction_bits: R::FRACTION_BITS, floor: R::FLOOR, least_exponents, result: R::RESULT };
        for i in 0..4 {
            // Rows in which every term is zero are right already.
            let no_product =
                isa.mask_above(isa.sub(largest[i], isa.splat(NO_PRODUCT as u32)), isa.splat(i32::MAX as u32));
            let zero_c = !isa.mask_above(isa.shift_left::<1>(c[i]), isa.splat(0));
            let rows = awkward[i] & !(no_product & zero_c);
            if rows != 0 {
                let (mut in_c, mut in_d) = ([0; 16], [0; 16]);
                isa.store(c[i], &mut in_c);
                isa.store(d[i], &mut in_d);
                one_by_one(step, rows, a, b, columns[i], first, first + R::BLOCK, &in_c, &mut in_d);
                d[i] = isa.load(&in_d);
            }
        }
    }
    d
}

/// Exponent of an f16 value that is held as f32, with f32's bias; of zero: below any nonzero value's.
#[inline(always)]
fn f16_exponent<S: Isa>(isa: S, c: S::Vector) -> S::Vector {
    let shifted = isa.shift_left::<1>(c);
    // f16's subnormals have its least exponent.
    let at_least = isa.max(isa.shift_right::<24>(shifted), isa.splat(127 - 14));
    isa.where_unequal(shifted, isa.splat(0), at_least)
}

/// Integer to f32, toward zero, and inexact results made odd: rounding them again, to fewer bits, gives what rounding once would.
#[inline(always)]
fn to_odd<S: Isa>(isa: S, sum: S::Vector) -> S::Vector {
    let float = isa.to_float_toward_zero(sum);
    let sticky = isa.where_unequal(isa.truncate(float), sum, isa.splat(1));
    isa.or(float, sticky)
}

/// Computes the rows of the mask of one column.
#[cold]
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "the step's whole context, once, off the hot path")]
fn one_by_one<B: Second>(
    step: Step,
    mut rows: u32,
    a: &ATable,
    b: &B,
    column: usize,
    first: usize,
    end: usize,
    c: &[u32; 16],
    d: &mut [u32; 16],
) {
    while rows != 0 {
        let lane = rows.trailing_zeros() as usize;
        rows &= rows - 1;
        let (mut of_a, mut of_b) = ([0.0; 32], [0.0; 32]);
        let mut count = 0;
        for group in first..end {
            for t in 0..4 {
                of_a[count] = f32::from_bits(a.values[group][t][lane]);
                of_b[count] = f32::from_bits(b.value(group, t, column, lane));
                count += 1;
            }
        }
        let c = f32::from_bits(c[lane]);
        d[lane] = block_step(step, &of_a[..count], &of_b[..count], c).to_bits();
    }
}
