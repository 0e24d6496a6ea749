//! Conversions to and from the formats that only tensor cores compute with: tf32, e4m3, e5m2.
//!
//! tf32 is an f32 whose last 13 bits are zero; its NaN is f32's canonical one. e4m3 (no infinity, one NaN) and e5m2 (f16's
//! upper byte) are bytes, in pairs the second value in the low byte.

use super::{
    half_precision::{F16_INFINITY, NAN_16, high, low, pack},
    rounding::{NAN_32, Rounding},
};

/// How `cvt` to tf32 rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tf32Rounding {
    /// `.rn`, `.rz`.
    Direction(Rounding),
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
}

/// Bits of f32 that tf32 does not have.
const LOST: u32 = (1 << 13) - 1;

/// `cvt.rX{.relu}{.satfinite}.tf32.f32`.
pub fn f32_to_tf32(value: f32, rounding: Tf32Rounding, relu: bool, satfinite: bool) -> f32 {
    let bits = value.to_bits();
    if value.is_nan() {
        return NAN_32;
    }
    if relu && value.is_sign_negative() {
        return 0.0;
    }
    let last = bits >> 13 & 1;
    let added = match rounding {
        Tf32Rounding::NearestAway => 1 << 12,
        Tf32Rounding::Direction(Rounding::Zero) => 0,
        Tf32Rounding::Direction(Rounding::Nearest) => LOST / 2 + last,
        Tf32Rounding::Direction(Rounding::Down) => {
            if value < 0.0 {
                LOST
            } else {
                0
            }
        }
        Tf32Rounding::Direction(Rounding::Up) => {
            if value > 0.0 {
                LOST
            } else {
                0
            }
        }
    };
    let rounded = f32::from_bits((bits + if value.is_infinite() { 0 } else { added }) & !LOST);
    if satfinite && rounded.is_infinite() { f32::from_bits(rounded.to_bits() - LOST - 1) } else { rounded }
}

/// A byte format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp8 {
    /// 4 exponent and 3 fraction bits: up to 448; 0x7f is NaN.
    E4m3,
    /// 5 exponent and 2 fraction bits: up to 57344, infinity, NaN: f16 without its last byte.
    E5m2,
}

/// NaN of both formats.
const NAN_8: u8 = 0x7f;

/// `cvt.rn.satfinite{.relu}` of one value.
pub fn f32_to_fp8(value: f32, format: Fp8, relu: bool) -> u8 {
    let (fraction, bias, largest) = match format {
        Fp8::E4m3 => (3, 7, 0x7e),
        Fp8::E5m2 => (2, 15, 0x7b),
    };
    if value.is_nan() {
        return NAN_8;
    }
    if relu && value.is_sign_negative() {
        return 0;
    }
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let (shift, least_normal) = (23 - fraction, (128 - bias) << 23);
    let rounded = if magnitude < least_normal {
        // A sum with 2^n, whose last bit is worth as much as the last of a subnormal, rounds to it.
        let one = f32::from_bits((128 - bias + shift) << 23);
        (f32::from_bits(magnitude) + one).to_bits() - one.to_bits()
    } else {
        let rebased = magnitude - ((127 - bias) << 23);
        rebased.saturating_add((1 << (shift - 1)) - 1 + (rebased >> shift & 1)) >> shift
    };
    rounded.min(largest) as u8 | (bits >> 24 & 0x80) as u8
}

/// `cvt.rn{.relu}.f16x2.e4m3x2` and `.e5m2x2` of one value, exact.
pub fn fp8_to_f16(value: u8, format: Fp8, relu: bool) -> u16 {
    let magnitude = u16::from(value & 0x7f);
    let sign = u16::from(value & 0x80) << 8;
    let is_nan = match format {
        Fp8::E4m3 => magnitude == 0x7f,
        Fp8::E5m2 => magnitude > 0x7c,
    };
    if is_nan {
        return NAN_16;
    }
    if relu && sign != 0 {
        return 0;
    }
    let bits = match format {
        Fp8::E5m2 => magnitude << 8,
        // Eight exponents lie between the biases.
        Fp8::E4m3 if magnitude >= 8 => (magnitude << 7) + (8 << 10),
        // Multiples of 2^-9, all of them normal in f16.
        Fp8::E4m3 if magnitude > 0 => {
            let top = 15 - magnitude.leading_zeros() as u16;
            (top + 6) << 10 | (magnitude << (10 - top)) & 0x3ff
        }
        Fp8::E4m3 => 0,
    };
    debug_assert!(bits <= F16_INFINITY, "a number");
    bits | sign
}

/// Two values as bytes, `b` in the low one.
pub fn f32_to_fp8x2(a: f32, b: f32, format: Fp8, relu: bool) -> u32 {
    u32::from(u16::from_le_bytes([f32_to_fp8(b, format, relu), f32_to_fp8(a, format, relu)]))
}

/// Both bytes of the low half as f16.
pub fn fp8x2_to_f16x2(pair: u32, format: Fp8, relu: bool) -> u32 {
    let [first, second] = low(pair).to_le_bytes();
    pack(fp8_to_f16(first, format, relu), fp8_to_f16(second, format, relu))
}

/// Both f16 values of a register as bytes.
pub fn f16x2_to_fp8x2(pair: u32, format: Fp8, relu: bool) -> u32 {
    let wide = super::half_precision::f16_to_f32;
    f32_to_fp8x2(wide(high(pair)), wide(low(pair)), format, relu)
}
