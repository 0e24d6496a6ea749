//! One block step for one output element, for every input: where vector code does not go.

/// The format that a step's result has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// f32, rounded toward zero.
    F32,
    /// f32's range with 13 fraction bits ("e8m13"), rounded toward zero, in an f32.
    Short,
    /// f16, rounded to nearest even, in an f32.
    F16,
}

/// A block step's constants.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Fraction bits kept in the alignment.
    pub fraction_bits: u32,
    /// Least alignment exponent.
    pub floor: i32,
    /// Least exponents of A's and of B's format.
    pub least_exponents: [i32; 2],
    /// The format of the accumulator and of the result.
    pub result: Result,
}

/// `c + sum a[i] b[i]` as a tensor core computes it (HARDWARE 1.1): all terms truncated to a multiple of 2^(E - F), where E is
/// the largest exponent of a nonzero term, summed exactly, and rounded once: toward zero to f32, to nearest even to f16.
/// NaN, infinity times zero, and infinities of both signs give NaN.
pub fn block_step(step: Step, a: &[f32], b: &[f32], c: f32) -> f32 {
    let products = || a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    // Finite products are finite in f64, so that a plain sum finds what the special values come to.
    let class: f64 = products().map(special_part).sum::<f64>() + special_part(f64::from(c));
    if class.is_nan() {
        return f32::from_bits(0x7fff_ffff);
    }
    if class.is_infinite() {
        return class as f32;
    }
    let accumulator_least = if step.result == Result::F16 { -14 } else { -126 };
    let [least_a, least_b] = step.least_exponents;
    let exponents = a
        .iter()
        .zip(b)
        .filter(|&(&a, &b)| a != 0.0 && b != 0.0)
        .map(|(&a, &b)| exponent(a).max(least_a) + exponent(b).max(least_b));
    let of_c = (c != 0.0).then(|| exponent(c).max(accumulator_least));
    let largest = exponents.chain(of_c).max().unwrap_or(step.floor).max(step.floor);
    let unit = largest - step.fraction_bits as i32;
    // Exact: a product has at most 22 bits, and |exponent| stays far below f64's. `as` truncates toward zero.
    let terms = products().chain([f64::from(c)]);
    let sum: i64 = terms.map(|term| (term * power_of_two(-unit)) as i64).sum();
    match step.result {
        Result::F32 => truncate(sum, unit, 23),
        Result::Short => truncate(sum, unit, 13),
        Result::F16 => round_to_f16(sum, unit),
    }
}

/// NaN and infinities as they are, 0 for the finite.
fn special_part(value: f64) -> f64 {
    if value.is_finite() { 0.0 } else { value }
}

/// floor(log2 |value|) of a nonzero finite value.
fn exponent(value: f32) -> i32 {
    let bits = f64::from(value).to_bits();
    (bits >> 52 & 0x7ff) as i32 - 1023
}

/// 2^exponent, for exponents of normal f64.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// `sum * 2^unit` toward zero with `fraction` bits behind the leading one; infinity from 2^128 on; an exact zero is +0.
fn truncate(sum: i64, unit: i32, fraction: i32) -> f32 {
    let magnitude = sum.unsigned_abs();
    let bits = 64 - magnitude.leading_zeros() as i32;
    let dropped = (bits - fraction - 1).max(-126 - fraction - unit).max(0);
    let kept = if dropped < 64 { magnitude >> dropped } else { 0 };
    // Few enough bits, and none below the least subnormal: exact in f32 unless it overflows.
    let value = (kept as f64 * power_of_two(unit + dropped)) as f32;
    if sum < 0 { -value } else { value }
}

/// `sum * 2^unit` to the nearest f16, ties to even, as f32; an exact zero is +0.
fn round_to_f16(sum: i64, unit: i32) -> f32 {
    if sum == 0 {
        return 0.0;
    }
    let exact = sum as f64 * power_of_two(unit);
    let leading = 63 - sum.unsigned_abs().leading_zeros() as i32 + unit;
    let quantum = (leading - 10).max(-24);
    let rounded = (exact * power_of_two(-quantum)).round_ties_even() * power_of_two(quantum);
    if rounded.abs() >= 65536.0 {
        return f32::INFINITY.copysign(rounded as f32);
    }
    rounded as f32
}

/// The value of an e4m3: four bits of exponent (bias 7), three of fraction, no infinities, one NaN.
pub fn e4m3_to_f32(bits: u8) -> f32 {
    let magnitude = match (bits >> 3 & 15, bits & 7) {
        (15, 7) => f32::NAN,
        (0, fraction) => f32::from(fraction) * power_of_two(-9) as f32,
        (field, fraction) => f32::from(fraction | 8) * power_of_two(i32::from(field) - 10) as f32,
    };
    if bits >> 7 == 1 { -magnitude } else { magnitude }
}
