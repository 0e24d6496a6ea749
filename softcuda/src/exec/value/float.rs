//! f32 arithmetic: add, mul, fma, div, sqrt, rcp in every rounding direction, min, max, `.ftz`, `.sat`; and what f64 needs beyond Rust's operators.
//!
//! `.ftz` is [`flush`] of operands and result; `.sat` is [`saturate`] of the result.

use super::rounding::{
    Rounding, add_to_odd, canonical, canonical_f64, canonical_root, f64_to_f32, multiply_add_to_odd,
};

/// `.ftz`: a subnormal becomes zero of its sign.
#[inline(always)]
pub fn flush(value: f32) -> f32 {
    let bits = value.to_bits();
    let sign = bits & 0x8000_0000;
    f32::from_bits(if bits & 0x7f80_0000 == 0 { sign } else { bits })
}

/// `.sat`: clamped to [0, 1]; NaN becomes +0.
#[inline(always)]
pub fn saturate(value: f32) -> f32 {
    // Compares false with NaN, and -0 is not above zero.
    let positive = if value > 0.0 { value } else { 0.0 };
    if positive > 1.0 { 1.0 } else { positive }
}

/// `add.rn.f32`.
#[inline(always)]
pub fn add(a: f32, b: f32) -> f32 {
    canonical(a + b)
}

/// `sub.rn.f32`.
#[inline(always)]
pub fn sub(a: f32, b: f32) -> f32 {
    canonical(a - b)
}

/// `mul.rn.f32`.
#[inline(always)]
pub fn mul(a: f32, b: f32) -> f32 {
    canonical(a * b)
}

/// `fma.rn.f32`. Both forms return the same bits: `HARDWARE` is for functions compiled with the `fma` target feature.
#[inline(always)]
pub fn fma<const HARDWARE: bool>(a: f32, b: f32, c: f32) -> f32 {
    if HARDWARE { canonical(a.mul_add(b, c)) } else { f64_to_f32(multiply_add_to_odd(a, b, c), Rounding::Nearest) }
}

/// Sign of an exact zero sum of `a` and `b` rounded down: negative unless both are +0.
#[inline(always)]
fn zero_sum(sum: f64, a: f64, b: f64, rounding: Rounding) -> f64 {
    let both_positive = a.is_sign_positive() && b.is_sign_positive();
    if rounding == Rounding::Down && sum == 0.0 && !both_positive { -0.0 } else { sum }
}

/// `add.rX.f32`.
#[inline(always)]
pub fn add_rounded(a: f32, b: f32, rounding: Rounding) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    f64_to_f32(zero_sum(add_to_odd(a, b), a, b, rounding), rounding)
}

/// `sub.rX.f32`.
#[inline(always)]
pub fn sub_rounded(a: f32, b: f32, rounding: Rounding) -> f32 {
    add_rounded(a, -b, rounding)
}

/// `mul.rX.f32`.
#[inline(always)]
pub fn mul_rounded(a: f32, b: f32, rounding: Rounding) -> f32 {
    f64_to_f32(f64::from(a) * f64::from(b), rounding)
}

/// `fma.rX.f32`.
#[inline(always)]
pub fn fma_rounded(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = add_to_odd(product, c);
    f64_to_f32(zero_sum(sum, product, c, rounding), rounding)
}

/// `div.rX.f32`. A quotient of f32 values that is no f32 value is too far from one (2^-49 of it) for f64's rounding to reach.
#[inline(always)]
pub fn div_rounded(a: f32, b: f32, rounding: Rounding) -> f32 {
    f64_to_f32(f64::from(a) / f64::from(b), rounding)
}

/// `sqrt.rX.f32`; as with [`div_rounded`], f64's rounding cannot reach a wrong side.
#[inline(always)]
pub fn sqrt_rounded(a: f32, rounding: Rounding) -> f32 {
    canonical_root(f64_to_f32(f64::from(a).sqrt(), rounding))
}

/// `div.rn.f32`, `div.full.f32`.
#[inline(always)]
pub fn div(a: f32, b: f32) -> f32 {
    canonical(a / b)
}

/// `sqrt.rn.f32`, `sqrt.approx.f32`.
#[inline(always)]
pub fn sqrt(a: f32) -> f32 {
    canonical_root(a.sqrt())
}

/// The sign of a product for the result of `min` or `max` of magnitudes (`.xorsign.abs`); NaN stays.
#[inline(always)]
pub fn xorsign(result: f32, a: f32, b: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    if result.is_nan() { result } else { f32::from_bits(result.to_bits() | sign) }
}

/// `.sat` of f64: clamped to [0, 1]; NaN becomes +0.
#[inline(always)]
pub fn saturate_f64(value: f64) -> f64 {
    let positive = if value > 0.0 { value } else { 0.0 };
    if positive > 1.0 { 1.0 } else { positive }
}

/// `min.f32`, and `min.NaN.f32` with `NAN`: without, NaN gives way to a number. -0 is below +0.
#[inline(always)]
pub fn min<const NAN: bool>(a: f32, b: f32) -> f32 {
    choose::<NAN>(a, b, a < b, a.to_bits() | b.to_bits())
}

/// `max.f32`, and `max.NaN.f32` with `NAN`.
#[inline(always)]
pub fn max<const NAN: bool>(a: f32, b: f32) -> f32 {
    choose::<NAN>(a, b, a > b, a.to_bits() & b.to_bits())
}

/// `a` if it comes `first`, `tie` of equal operands (their bits differ only if they are zeros), else `b`, but for NaN.
#[inline(always)]
fn choose<const NAN: bool>(a: f32, b: f32, first: bool, tie: u32) -> f32 {
    // With NaN: any operand that is one; without: `a` only where `b` is one.
    let take_a = first || if NAN { a.is_nan() } else { b.is_nan() };
    let chosen = if take_a { a } else { b };
    canonical(if a == b { f32::from_bits(tie) } else { chosen })
}

/// `add.rX.f64`: exact error of the nearest sum decides. Operands whose sum overflows are rounded to nearest, then corrected.
#[inline(always)]
pub fn add_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = a + b;
    let b_part = sum - a;
    let lost = (a - (sum - b_part)) + (b - b_part);
    // A sum that overflowed from finite operands lies beyond every finite value.
    let overflowed = sum.is_infinite() && a.is_finite() && b.is_finite();
    let above = lost < 0.0 || overflowed && sum > 0.0;
    let below = lost > 0.0 || overflowed && sum < 0.0;
    directed(zero_sum(sum, a, b, rounding), above, below, rounding)
}

/// `fma.rn.f64`; `HARDWARE` as in [`fma`].
#[inline(always)]
pub fn fma_f64<const HARDWARE: bool>(a: f64, b: f64, c: f64) -> f64 {
    canonical_f64(if HARDWARE { a.mul_add(b, c) } else { libm::fma(a, b, c) })
}

/// Moves a nearest result to the neighbour that the direction asks for.
#[inline(always)]
fn directed(nearest: f64, above: bool, below: bool, rounding: Rounding) -> f64 {
    let correction = rounding.correction(nearest.is_sign_negative(), above, below);
    canonical_f64(f64::from_bits(nearest.to_bits().wrapping_add_signed(correction.into())))
}
