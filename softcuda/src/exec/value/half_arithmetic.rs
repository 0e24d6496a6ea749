//! Arithmetic of f16 and bf16 (bits), rounded once, to nearest even; `x2` forms apply it to both halves ([`both`]).
//!
//! Sums and f16 products are formed in f32, whose 24 bits are more than twice theirs plus two, so that rounding twice is
//! rounding once. Fused results, and bf16 products (they may be subnormal in f32), go through f64 and sticky f32.

#![allow(clippy::needless_range_loop, reason = "loops over lanes read several registers")]

use super::{
    Lanes,
    half_precision::{
        BF16_INFINITY, F16_INFINITY, NAN_16, bf16_to_f32, f16_to_f32, f32_to_bf16_rn, f32_to_f16_rn, high, low, pack,
    },
    rounding::{f64_to_odd_f32, f64_to_odd_normal_f32, multiply_add_to_odd},
};

/// Applies a 16-bit operation to both halves of two registers.
#[inline(always)]
pub fn both(a: u32, b: u32, operation: impl Fn(u16, u16) -> u16) -> u32 {
    pack(operation(low(a), low(b)), operation(high(a), high(b)))
}

/// Applies a 16-bit operation to both halves of three registers.
#[inline(always)]
pub fn both3(a: u32, b: u32, c: u32, operation: impl Fn(u16, u16, u16) -> u16) -> u32 {
    pack(operation(low(a), low(b), low(c)), operation(high(a), high(b), high(c)))
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
    f32_to_f16_rn(fma_to_odd(f16_to_f32(a), f16_to_f32(b), f16_to_f32(c)))
}

/// `fma.rn.f16x2` of a warp, in steps that each become vector code (as one expression a lane it stays scalar).
#[inline(always)]
pub fn fma_f16x2(a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
    let mut result = Lanes::ZERO;
    for half in [0, 16] {
        let mut wide = [[0.0_f32; 32]; 3];
        for (values, lanes) in wide.iter_mut().zip([a, b, c]) {
            for lane in 0..32 {
                values[lane] = f16_to_f32((lanes.0[lane] >> half) as u16);
            }
        }
        let mut sums = [0.0_f32; 32];
        for lane in 0..32 {
            sums[lane] = fma_to_odd(wide[0][lane], wide[1][lane], wide[2][lane]);
        }
        for lane in 0..32 {
            result.0[lane] |= u32::from(f32_to_f16_rn(sums[lane])) << half;
        }
    }
    result
}

/// `a * b + c` of f16 values with a sticky last bit.
#[inline(always)]
fn fma_to_odd(a: f32, b: f32, c: f32) -> f32 {
    // Exact in f64 wherever its bits count: only a product far below c's last bit can lose some.
    f64_to_odd_normal_f32(f64::from(a) * f64::from(b) + f64::from(c))
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
