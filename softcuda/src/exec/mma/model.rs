//! Which arithmetic: operand formats, and the tensor cores' block length and alignment width.

use super::isa::Isa;
use crate::exec::value::half_precision::f16_to_f32;

/// Arithmetic of one generation's tensor cores for 16-bit operands (HARDWARE 1.1).
pub trait Model: Copy {
    /// Products that are summed in one exact step together with the accumulator; 8 or 16.
    const BLOCK: usize;
    /// Fraction bits kept below the largest exponent when terms are aligned.
    const FRACTION_BITS: u32;
    /// Least alignment exponent when the result is f32.
    const FLOOR_F32: i32 = -108 - Self::FRACTION_BITS as i32;
    /// Least alignment exponent when the result is f16.
    const FLOOR_F16: i32 = 4 - Self::FRACTION_BITS as i32;
}

/// Compute capability 8.0, 8.6 and 8.9.
#[derive(Clone, Copy, Debug)]
pub struct Ampere;

/// Compute capability 9.0 (and 10.0 and 12.0 for 16-bit operands).
#[derive(Clone, Copy, Debug)]
pub struct Hopper;

impl Model for Ampere {
    const BLOCK: usize = 8;
    const FRACTION_BITS: u32 = 24;
}

impl Model for Hopper {
    const BLOCK: usize = 16;
    const FRACTION_BITS: u32 = 25;
}

/// A 16-bit operand format, two values to a register.
pub trait Operand: Copy {
    /// Fraction bits stored.
    const FRACTION: u32;
    /// All-ones exponent field.
    const SPECIAL: u16;
    /// Least exponent: of subnormals too.
    const LEAST_EXPONENT: i32;
    /// Whether the product of any two finite values is exact in f32.
    const PRODUCT_FITS_F32: bool;

    /// The value, exactly.
    fn to_f32(bits: u16) -> f32;
    /// Pairs to f32: the low halves, the high halves.
    fn widen<S: Isa>(isa: S, pairs: S::Vector) -> [S::Vector; 2];
    /// 16-bit shift that leaves the exponent field of a magnitude.
    fn exponent_field<S: Isa>(isa: S, magnitudes: S::Vector) -> S::Vector;
}

/// IEEE binary16.
#[derive(Clone, Copy, Debug)]
pub struct F16;

/// bfloat16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

impl Operand for F16 {
    const FRACTION: u32 = 10;
    const SPECIAL: u16 = 31;
    const LEAST_EXPONENT: i32 = -14;
    const PRODUCT_FITS_F32: bool = true;

    #[inline(always)]
    fn to_f32(bits: u16) -> f32 {
        f16_to_f32(bits)
    }
    #[inline(always)]
    fn widen<S: Isa>(isa: S, pairs: S::Vector) -> [S::Vector; 2] {
        isa.widen_f16(pairs)
    }
    #[inline(always)]
    fn exponent_field<S: Isa>(isa: S, magnitudes: S::Vector) -> S::Vector {
        isa.shift_right16::<10>(magnitudes)
    }
}

impl Operand for Bf16 {
    const FRACTION: u32 = 7;
    const SPECIAL: u16 = 255;
    const LEAST_EXPONENT: i32 = -126;
    const PRODUCT_FITS_F32: bool = false;

    #[inline(always)]
    fn to_f32(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
    #[inline(always)]
    fn widen<S: Isa>(isa: S, pairs: S::Vector) -> [S::Vector; 2] {
        [isa.shift_left::<16>(pairs), isa.and(pairs, isa.splat(0xffff_0000))]
    }
    #[inline(always)]
    fn exponent_field<S: Isa>(isa: S, magnitudes: S::Vector) -> S::Vector {
        isa.shift_right16::<7>(magnitudes)
    }
}
