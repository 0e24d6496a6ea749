//! Arithmetic of f16 and bf16 (bits), rounded once, to nearest even; `x2` forms apply it to both halves ([`both`]).
//!
//! Sums and f16 products are formed in f32, whose 24 bits are more than twice theirs plus two, so that rounding twice is
//! rounding once. Fused results, and bf16 products (they may be subnormal in f32), go through sticky f64 and f32.

use super::{
    half_precision::{
        BF16_INFINITY, F16_INFINITY, NAN_16, bf16_to_f32, f16_to_f32, f32_to_bf16_rn,
        f32_to_f16_rn, high, low, pack,
    },
    rounding::{f64_to_odd_f32, multiply_add_to_odd},
};

/// Applies a 16-bit operation to both halves of two registers.
#[inline(always)]
pub fn both(a: u32, b: u32, operation: impl Fn(u16, u16) -> u16) -> u32 {
    pack(operation(low(a), low(b)), operation(high(a), high(b)))
}

/// Applies a 16-bit operation to both halves of three registers.
#[inline(always)]
pub fn both3(a: u32, b: u32, c: u32, operation: impl Fn(u16, u16, u16) -> u16) -> u32 {
    pack(
        operation(low(a), low(b), low(c)),
        operation(high(a), high(b), high(c)),
    )
}

/// `add.f16`.
#[inline(always)]
pub fn add_f16(a: u16, b: u16) -> u16 {
    f32_to_f16_rn(f16_to_f32(a) + f16_to_f32(b))
}

/// `sub.f16`.
#[inline(always)]
pub fn sub_f16(a: u16, b: u16) -> u16 {
    f32_to_f16_rn(f16_to_f32(a) - f16_to_f32(b))
}

/// `mul.f16`.
#[inline(always)]
pub fn mul_f16(a: u16, b: u16) -> u16 {
    f32_to_f16_rn(f16_to_f32(a) * f16_to_f32(b))
}

/// `fma.rn.f16`.
#[inline(always)]
pub fn fma_f16(a: u16, b: u16, c: u16) -> u16 {
    let sum = multiply_add_to_odd(f16_to_f32(a), f16_to_f32(b), f16_to_f32(c));
    f32_to_f16_rn(f64_to_odd_f32(sum))
}

/// `add.bf16`.
#[inline(always)]
pub fn add_bf16(a: u16, b: u16) -> u16 {
    f32_to_bf16_rn(bf16_to_f32(a) + bf16_to_f32(b))
}

/// `sub.bf16`.
#[inline(always)]
pub fn sub_bf16(a: u16, b: u16) -> u16 {
    f32_to_bf16_rn(bf16_to_f32(a) - bf16_to_f32(b))
}

/// `mul.bf16`.
#[inline(always)]
pub fn mul_bf16(a: u16, b: u16) -> u16 {
    let product = f64::from(bf16_to_f32(a)) * f64::from(bf16_to_f32(b));
    f32_to_bf16_rn(f64_to_odd_f32(product))
}

/// `fma.rn.bf16`.
#[inline(always)]
pub fn fma_bf16(a: u16, b: u16, c: u16) -> u16 {
    let sum = multiply_add_to_odd(bf16_to_f32(a), bf16_to_f32(b), bf16_to_f32(c));
    f32_to_bf16_rn(f64_to_odd_f32(sum))
}

/// `neg.f16`, `neg.bf16`.
#[inline(always)]
pub fn neg(a: u16) -> u16 {
    a ^ 0x8000
}

/// `abs.f16`, `abs.bf16`.
#[inline(always)]
pub fn abs(a: u16) -> u16 {
    a & 0x7fff
}

/// `min.f16`, and `min.NaN.f16` with `NAN`: without, NaN gives way to a number. -0 is below +0.
#[inline(always)]
pub fn min_f16<const NAN: bool>(a: u16, b: u16) -> u16 {
    choose::<NAN>(a, b, order(a) < order(b), F16_INFINITY)
}

/// `max.f16`, and `max.NaN.f16` with `NAN`.
#[inline(always)]
pub fn max_f16<const NAN: bool>(a: u16, b: u16) -> u16 {
    choose::<NAN>(a, b, order(a) > order(b), F16_INFINITY)
}

/// `min.bf16`, and `min.NaN.bf16` with `NAN`.
#[inline(always)]
pub fn min_bf16<const NAN: bool>(a: u16, b: u16) -> u16 {
    choose::<NAN>(a, b, order(a) < order(b), BF16_INFINITY)
}

/// `max.bf16`, and `max.NaN.bf16` with `NAN`.
#[inline(always)]
pub fn max_bf16<const NAN: bool>(a: u16, b: u16) -> u16 {
    choose::<NAN>(a, b, order(a) > order(b), BF16_INFINITY)
}

/// Orders all values, -0 below +0.
#[inline(always)]
fn order(value: u16) -> i16 {
    let bits = value as i16;
    bits ^ ((bits >> 15) & 0x7fff)
}

#[inline(always)]
fn choose<const NAN: bool>(a: u16, b: u16, first: bool, infinity: u16) -> u16 {
    let (a_nan, b_nan) = (abs(a) > infinity, abs(b) > infinity);
    let chosen = if first { a } else { b };
    if NAN {
        return if a_nan || b_nan { NAN_16 } else { chosen };
    }
    let number = if a_nan { b } else { chosen };
    let number = if b_nan { a } else { number };
    if a_nan && b_nan { NAN_16 } else { number }
}
