//! Conversions between floating point and integers, and rounding to integral values.
//!
//! Float to integer saturates. NaN becomes 0 when the source is f32 or f16 and the result has at most 32 bits; else only the top bit is set.

use super::rounding::{Rounding, canonical, canonical_f64, f64_to_f32, f64_to_odd_f32};

/// `cvt.rXi.f32.f32`: to an integral value; zero results keep the sign.
#[inline(always)]
pub fn round_f32(value: f32, rounding: Rounding) -> f32 {
    canonical(match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    })
}

/// `cvt.rXi.f64.f64`.
#[inline(always)]
pub fn round_f64(value: f64, rounding: Rounding) -> f64 {
    canonical_f64(match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    })
}

/// Declares `cvt.rXi` from one float type to one integer type.
macro_rules! to_integer {
    ($(#[$doc:meta])* $name:ident, $float:ty, $round:ident, $integer:ty, $nan:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(value: $float, rounding: Rounding) -> $integer {
            // `as` saturates, and takes NaN to 0.
            let integer = $round(value, rounding) as $integer;
            if value.is_nan() { $nan } else { integer }
        }
    };
}

to_integer!(/** `cvt.rXi.s8.f32`. */ f32_to_i8, f32, round_f32, i8, 0);
to_integer!(/** `cvt.rXi.u8.f32`. */ f32_to_u8, f32, round_f32, u8, 0);
to_integer!(/** `cvt.rXi.s16.f32`. */ f32_to_i16, f32, round_f32, i16, 0);
to_integer!(/** `cvt.rXi.u16.f32`. */ f32_to_u16, f32, round_f32, u16, 0);
to_integer!(/** `cvt.rXi.s32.f32`. */ f32_to_i32, f32, round_f32, i32, 0);
to_integer!(/** `cvt.rXi.u32.f32`. */ f32_to_u32, f32, round_f32, u32, 0);
to_integer!(/** `cvt.rXi.s64.f32`. */ f32_to_i64, f32, round_f32, i64, i64::MIN);
to_integer!(/** `cvt.rXi.u64.f32`. */ f32_to_u64, f32, round_f32, u64, 1 << 63);
to_integer!(/** `cvt.rXi.s8.f64`. */ f64_to_i8, f64, round_f64, i8, i8::MIN);
to_integer!(/** `cvt.rXi.u8.f64`. */ f64_to_u8, f64, round_f64, u8, 1 << 7);
to_integer!(/** `cvt.rXi.s16.f64`. */ f64_to_i16, f64, round_f64, i16, i16::MIN);
to_integer!(/** `cvt.rXi.u16.f64`. */ f64_to_u16, f64, round_f64, u16, 1 << 15);
to_integer!(/** `cvt.rXi.s32.f64`. */ f64_to_i32, f64, round_f64, i32, i32::MIN);
to_integer!(/** `cvt.rXi.u32.f64`. */ f64_to_u32, f64, round_f64, u32, 1 << 31);
to_integer!(/** `cvt.rXi.s64.f64`. */ f64_to_i64, f64, round_f64, i64, i64::MIN);
to_integer!(/** `cvt.rXi.u64.f64`. */ f64_to_u64, f64, round_f64, u64, 1 << 63);

/// `cvt.rX.f32.s32`, and of the shorter signed types.
#[inline(always)]
pub fn i32_to_f32(value: i32, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Nearest => value as f32,
        _ => f64_to_f32(f64::from(value), rounding),
    }
}

/// `cvt.rX.f32.u32`, and of the shorter unsigned types.
#[inline(always)]
pub fn u32_to_f32(value: u32, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Nearest => value as f32,
        _ => f64_to_f32(f64::from(value), rounding),
    }
}

/// `cvt.rX.f32.s64`.
#[inline(always)]
pub fn i64_to_f32(value: i64, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Nearest => value as f32,
        _ => f64_to_f32(odd_f64(value.into()), rounding),
    }
}

/// `cvt.rX.f32.u64`.
#[inline(always)]
pub fn u64_to_f32(value: u64, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Nearest => value as f32,
        _ => f64_to_f32(odd_f64(value.into()), rounding),
    }
}

/// `cvt.rX.f64.s64`.
#[inline(always)]
pub fn i64_to_f64(value: i64, rounding: Rounding) -> f64 {
    wide_to_f64(value.into(), rounding)
}

/// `cvt.rX.f64.u64`.
#[inline(always)]
pub fn u64_to_f64(value: u64, rounding: Rounding) -> f64 {
    wide_to_f64(value.into(), rounding)
}

/// An integer as f32 with a sticky last bit, to be rounded to f16 or bf16 in any direction: `cvt.rX.f16.s64` and all other integer types.
#[inline(always)]
pub fn integer_to_odd_f32(value: i128) -> f32 {
    f64_to_odd_f32(odd_f64(value))
}

/// 64-bit integers, of either sign, to f64.
#[inline(always)]
fn wide_to_f64(value: i128, rounding: Rounding) -> f64 {
    let nearest = value as f64;
    let back = nearest as i128;
    let correction = rounding.correction(value < 0, back > value, back < value);
    f64::from_bits(nearest.to_bits().wrapping_add_signed(correction.into()))
}

/// 64-bit integers, of either sign, to f64 with a sticky last bit.
#[inline(always)]
fn odd_f64(value: i128) -> f64 {
    let toward_zero = wide_to_f64(value, Rounding::Zero);
    let inexact = toward_zero as i128 != value;
    f64::from_bits(toward_zero.to_bits() | u64::from(inexact))
}

/// `cvt.f64.f32`, exact.
#[inline(always)]
pub fn f32_to_f64(value: f32) -> f64 {
    canonical_f64(value.into())
}
