//! f16 and bf16 against f32: `cvt` and what half-precision arithmetic is built from.
//!
//! Values are bits (`u16`). A NaN result of a narrowing is PTX's canonical 0x7fff.

use super::rounding::{Rounding, canonical};

/// Canonical NaN of f16 and bf16.
pub const NAN_16: u16 = 0x7fff;
/// Bits of infinity in f16.
pub const F16_INFINITY: u16 = 0x7c00;
/// Bits of infinity in bf16.
pub const BF16_INFINITY: u16 = 0x7f80;

/// f16 to f32, exact; a NaN keeps its sign and payload and becomes quiet.
#[inline(always)]
pub fn f16_to_f32(value: u16) -> f32 {
    let sign = u32::from(value & 0x8000) << 16;
    let magnitude = u32::from(value & 0x7fff);
    // The significand at f32's place, the exponent still with f16's bias.
    let shifted = magnitude << 13;
    let normal = shifted + (112 << 23);
    let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
    let special = shifted | 0x7f80_0000 | quiet;
    // Subnormals are fewer than 2^10 times 2^-24: an exact product.
    let subnormal = (magnitude as i32 as f32 * f32::from_bits(103 << 23)).to_bits();
    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    let bits = if magnitude >= 0x7c00 { special } else { finite };
    f32::from_bits(sign | bits)
}

/// `cvt.f32.f16`: as [`f16_to_f32`] with the canonical NaN.
#[inline(always)]
pub fn cvt_f32_f16(value: u16) -> f32 {
    canonical(f16_to_f32(value))
}

/// `cvt.f32.bf16`, exact; bits move, a NaN's too.
#[inline(always)]
pub fn bf16_to_f32(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// `cvt.rn.f16.f32`: from 65520 on infinity.
#[inline(always)]
pub fn f32_to_f16_rn(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Normal results: rebias, add half an ulp less one plus the last kept bit, drop 13 bits; a carry runs into the exponent.
    let rebased = magnitude.wrapping_sub(112 << 23);
    let normal = rebased.wrapping_add(0x0fff + ((magnitude >> 13) & 1)) >> 13;
    // Subnormal results: 1/2 has ulp 2^-24, so the sum's last bits are the multiple of it, rounded to nearest even.
    let small = f32::from_bits(magnitude.min(113 << 23));
    let subnormal = (small + 0.5).to_bits() - 0.5_f32.to_bits();
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    let result = if magnitude >= 0x477f_f000 { 0x7c00 } else { finite };
    let is_nan = magnitude > 0x7f80_0000;
    (if is_nan { u32::from(NAN_16) } else { sign | result }) as u16
}

/// `cvt.rn.bf16.f32`.
#[inline(always)]
pub fn f32_to_bf16_rn(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if is_nan { u32::from(NAN_16) } else { rounded }) as u16
}

/// `cvt.rX.f16.f32`.
#[inline(always)]
pub fn f32_to_f16(value: f32, rounding: Rounding) -> u16 {
    let nearest = f32_to_f16_rn(value);
    directed(value, nearest, f16_to_f32(nearest), rounding)
}

/// `cvt.rX.bf16.f32`.
#[inline(always)]
pub fn f32_to_bf16(value: f32, rounding: Rounding) -> u16 {
    let nearest = f32_to_bf16_rn(value);
    directed(value, nearest, bf16_to_f32(nearest), rounding)
}

/// Moves the nearest result, equal to `back`, where the direction asks for a neighbour.
#[inline(always)]
fn directed(value: f32, nearest: u16, back: f32, rounding: Rounding) -> u16 {
    let correction = rounding.correction(value.is_sign_negative(), back > value, back < value);
    nearest.wrapping_add_signed(correction as i16)
}

/// `.relu` on f16 or bf16 bits: anything with a sign becomes +0; NaN stays (canonical NaN has none).
#[inline(always)]
pub fn relu(value: u16) -> u16 {
    if value & 0x8000 != 0 { 0 } else { value }
}

/// `.satfinite` on a result: infinity, given by its bits, becomes the largest finite value of its sign.
#[inline(always)]
pub fn saturate_finite(value: u16, infinity: u16) -> u16 {
    value - u16::from(value & 0x7fff == infinity)
}

/// The sign of a product for the result of `min` or `max` of magnitudes (`.xorsign.abs`); NaN, given by infinity's bits, stays.
#[inline(always)]
pub fn xorsign(result: u16, a: u16, b: u16, infinity: u16) -> u16 {
    if result > infinity { result } else { result | (a ^ b) & 0x8000 }
}

/// `.sat` on f16 bits: clamped to [0, 1]; NaN becomes +0.
#[inline(always)]
pub fn saturate_f16(value: u16) -> u16 {
    clamp_to_one(value, F16_INFINITY, 0x3c00)
}

/// `.sat` on bf16 bits: clamped to [0, 1]; NaN becomes +0.
#[inline(always)]
pub fn saturate_bf16(value: u16) -> u16 {
    clamp_to_one(value, BF16_INFINITY, 0x3f80)
}

#[inline(always)]
fn clamp_to_one(value: u16, infinity: u16, one: u16) -> u16 {
    let is_nan = value & 0x7fff > infinity;
    if value & 0x8000 != 0 || is_nan { 0 } else { value.min(one) }
}

/// `.ftz` on f16 bits: subnormals become zeros of their sign.
#[inline(always)]
pub fn flush_f16(value: u16) -> u16 {
    if value & 0x7c00 == 0 { value & 0x8000 } else { value }
}

/// Two 16-bit values as a register: `cvt.rn.f16x2.f32 d, a, b` puts `a` in the high half.
#[inline(always)]
pub fn pack(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// The low half.
#[inline(always)]
pub fn low(pair: u32) -> u16 {
    pair as u16
}

/// The high half.
#[inline(always)]
pub fn high(pair: u32) -> u16 {
    (pair >> 16) as u16
}

/// `cvt.rn.f16x2.f32 d, a, b`.
#[inline(always)]
pub fn f32_to_f16x2_rn(a: f32, b: f32) -> u32 {
    pack(f32_to_f16_rn(b), f32_to_f16_rn(a))
}

/// `cvt.rn.bf16x2.f32 d, a, b`.
#[inline(always)]
pub fn f32_to_bf16x2_rn(a: f32, b: f32) -> u32 {
    pack(f32_to_bf16_rn(b), f32_to_bf16_rn(a))
}
