//! Rounding: directions, and the one trick behind all of them.
//!
//! A result is first formed in f64 with its last bit *sticky* ("rounded to odd": if bits were lost, the last bit is 1). Such a
//! value rounds to f32, f16 or bf16 in any direction as the exact result would, for f64 has more than two bits to spare.

/// `.rn`, `.rz`, `.rm`, `.rp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Toward zero.
    Zero,
    /// Toward negative infinity.
    Down,
    /// Toward positive infinity.
    Up,
}

impl Rounding {
    /// How far the bits of a nearest result must move in magnitude, given whether it lies `above` or `below` the exact value.
    #[inline(always)]
    pub(super) fn correction(self, negative: bool, above: bool, below: bool) -> i32 {
        let (too_large, too_small) = if negative { (below, above) } else { (above, below) };
        let (outward, inward) = match self {
            Self::Nearest => (false, false),
            Self::Zero => (false, too_large),
            Self::Down => (negative && too_small, !negative && too_large),
            Self::Up => (!negative && too_small, negative && too_large),
        };
        i32::from(outward) - i32::from(inward)
    }
}

/// Canonical NaN of f32.
pub const NAN_32: f32 = f32::from_bits(0x7fff_ffff);
/// Canonical NaN of f64.
pub const NAN_64: f64 = f64::from_bits(0x7fff_ffff_ffff_ffff);

/// The canonical NaN in place of any other.
#[inline(always)]
pub fn canonical(value: f32) -> f32 {
    // A choice of bits: as floating point, one NaN is as good as another to the compiler.
    f32::from_bits(if value.is_nan() { 0x7fff_ffff } else { value.to_bits() })
}

/// The same for a square root. Whether a root is NaN is a question that the optimiser answers by the root's operand, and has
/// been seen to answer wrongly; bits are asked here.
#[inline(always)]
pub fn canonical_root(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

/// f64 has payloads: a NaN result is the first NaN among the operands, quiet; without one it is the chip's own.
#[inline(always)]
pub fn propagate_f64(result: f64, operands: &[f64]) -> f64 {
    const QUIET: u64 = 1 << 51;
    const DEFAULT: u64 = 0xfff8_0000_0000_0000;
    if !result.is_nan() {
        return result;
    }
    let first = operands.iter().find(|operand| operand.is_nan());
    f64::from_bits(first.map_or(DEFAULT, |operand| operand.to_bits() | QUIET))
}

/// The canonical NaN in place of any other.
#[inline(always)]
pub fn canonical_f64(value: f64) -> f64 {
    let bits = value.to_bits();
    let is_nan = bits & 0x7fff_ffff_ffff_ffff > 0x7ff0_0000_0000_0000;
    f64::from_bits(if is_nan { NAN_64.to_bits() } else { bits })
}

/// `cvt.rX.f32.f64`; NaN becomes canonical, overflow is as the direction says.
#[inline(always)]
pub fn f64_to_f32(value: f64, rounding: Rounding) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let correction = rounding.correction(value.is_sign_negative(), back > value, back < value);
    canonical(f32::from_bits(nearest.to_bits().wrapping_add_signed(correction)))
}

/// f64 to f32 with a sticky last bit; finite values stay finite or become infinite as in rounding to nearest.
#[inline(always)]
pub fn f64_to_odd_f32(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let inexact = back != value && value.is_finite();
    // Toward zero, then the last bit set.
    let toward_zero = nearest.to_bits() - u32::from(inexact && back.abs() > value.abs());
    f32::from_bits(toward_zero | u32::from(inexact))
}

/// As [`f64_to_odd_f32`], for values that are normal in f32, zero, infinite or NaN: cheaper.
#[inline(always)]
pub fn f64_to_odd_normal_f32(value: f64) -> f32 {
    // The 29 bits that f32 lacks become one.
    const LOST: u64 = (1 << 29) - 1;
    let bits = value.to_bits();
    let sticky = ((bits & LOST) + LOST) & (LOST + 1);
    f64::from_bits((bits | sticky) & !LOST) as f32
}

/// `a + b` in f64 with a sticky last bit. Exponents of the operands must be far from f64's limits (f32 values and their products are).
#[inline(always)]
pub fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // What was lost, exactly (Knuth's two-sum); NaN where the sum is not finite, which compares as nothing lost.
    let b_part = sum - a;
    let lost = (a - (sum - b_part)) + (b - b_part);
    let bits = sum.to_bits();
    let outward = (lost > 0.0) == (sum > 0.0);
    let step = if outward { 1 } else { u64::MAX };
    // NaN, of an infinite sum, loses nothing.
    let wanted = lost.abs() > 0.0 && bits & 1 == 0;
    f64::from_bits(bits.wrapping_add(if wanted { step } else { 0 }))
}

/// `a * b + c` of f32 values in f64 with a sticky last bit.
#[inline(always)]
pub fn multiply_add_to_odd(a: f32, b: f32, c: f32) -> f64 {
    add_to_odd(f64::from(a) * f64::from(b), f64::from(c))
}
