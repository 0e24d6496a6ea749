//! f64 arithmetic in every rounding direction, by way of exact values in 128-bit integers.
//!
//! Rust rounds to nearest only; the other directions are rare enough to be computed with integers.

use super::rounding::{NAN_64, Rounding};

/// `(-1)^negative * significand * 2^exponent`; the last bit of the significand is sticky.
#[derive(Clone, Copy)]
struct Exact {
    negative: bool,
    significand: u128,
    exponent: i32,
}

const FRACTION_BITS: u32 = 52;
/// Exponent of the last bit of a subnormal.
const LEAST_EXPONENT: i32 = -1074;

/// A finite value.
fn decode(value: f64) -> Exact {
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let field = (bits >> FRACTION_BITS & 0x7ff) as i32;
    let significand = if field == 0 { fraction } else { fraction | 1 << FRACTION_BITS };
    Exact {
        negative: value.is_sign_negative(),
        significand: significand.into(),
        exponent: LEAST_EXPONENT + (field - 1).max(0),
    }
}

/// `value` shifted right, lost bits kept as the last one.
fn shift_right(value: u128, amount: u32) -> u128 {
    if amount > 127 {
        return u128::from(value != 0);
    }
    let lost = value & ((1 << amount) - 1) != 0;
    value >> amount | u128::from(lost)
}

impl Exact {
    /// The significand's highest bit brought to bit 125: room for a carry and a sign above it.
    fn raised(self) -> Exact {
        let shift = self.significand.leading_zeros() - 2;
        Exact { significand: self.significand << shift, exponent: self.exponent - shift as i32, ..self }
    }

    /// The nearest f64 in the direction, which an exact zero leaves with its sign.
    fn round(self, rounding: Rounding) -> f64 {
        let sign = u64::from(self.negative) << 63;
        if self.significand == 0 {
            return f64::from_bits(sign);
        }
        // The last kept bit is the 53rd, or that of a subnormal; two more decide.
        let top = 127 - self.significand.leading_zeros() as i32;
        let last = (self.exponent + top - FRACTION_BITS as i32).max(LEAST_EXPONENT);
        let drop = last - 2 - self.exponent;
        let scaled = if drop > 0 { shift_right(self.significand, drop as u32) } else { self.significand << -drop };
        let (kept, rest) = ((scaled >> 2) as u64, (scaled & 3) as u64);
        let up = match rounding {
            Rounding::Nearest => rest + (kept & 1) > 2,
            Rounding::Zero => false,
            Rounding::Down => self.negative && rest != 0,
            Rounding::Up => !self.negative && rest != 0,
        };
        // A carry out of the fraction runs into the exponent, as it should.
        let field = (last - LEAST_EXPONENT) as u64;
        let bits = (field << FRACTION_BITS) + kept + u64::from(up);
        let infinity = f64::INFINITY.to_bits();
        let outward = match rounding {
            Rounding::Nearest => true,
            Rounding::Zero => false,
            Rounding::Down => self.negative,
            Rounding::Up => !self.negative,
        };
        f64::from_bits(sign | if bits < infinity { bits } else { infinity - u64::from(!outward) })
    }

    /// The sum; an exact zero is negative where both are, or where the direction says so.
    fn plus(self, other: Exact, rounding: Rounding) -> Exact {
        let zero_sign = if self.negative == other.negative { self.negative } else { rounding == Rounding::Down };
        let zero = Exact { negative: zero_sign, significand: 0, exponent: 0 };
        let (a, b) = match (self.significand, other.significand) {
            (0, 0) => return zero,
            (0, _) => return other,
            (_, 0) => return self,
            _ => (self.raised(), other.raised()),
        };
        let (large, small) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
        // At least 20 bits below either operand's last: what is lost there never decides after a cancellation.
        let aligned = shift_right(small.significand, (large.exponent - small.exponent) as u32);
        let signed = |value: Exact, significand: u128| {
            if value.negative { -(significand as i128) } else { significand as i128 }
        };
        match signed(large, large.significand) + signed(small, aligned) {
            0 => zero,
            sum => Exact { negative: sum < 0, significand: sum.unsigned_abs(), exponent: large.exponent },
        }
    }

    fn times(self, other: Exact) -> Exact {
        Exact {
            negative: self.negative != other.negative,
            significand: self.significand * other.significand,
            exponent: self.exponent + other.exponent,
        }
    }
}

/// `nearest` unless it is special: NaN, or the result of an infinity or a division by zero, which no direction changes.
fn unless_special(nearest: f64, operands_are_finite: bool, exact: impl FnOnce() -> f64) -> f64 {
    // Asked of the bits, as in `canonical_root`.
    if nearest.abs().to_bits() > f64::INFINITY.to_bits() {
        NAN_64
    } else if operands_are_finite {
        exact()
    } else {
        nearest
    }
}

/// `mul.rX.f64`.
pub fn mul(a: f64, b: f64, rounding: Rounding) -> f64 {
    unless_special(a * b, a.is_finite() && b.is_finite(), || decode(a).times(decode(b)).round(rounding))
}

/// `fma.rX.f64`.
pub fn fma(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    let finite = a.is_finite() && b.is_finite() && c.is_finite();
    // Of special operands only the class and the sign count, which rounding twice leaves alone; but a product of finite
    // values must not overflow on the way.
    let product = if a.is_finite() && b.is_finite() { 0.0 } else { a * b };
    unless_special(if finite { 0.0 } else { product + c }, finite, || {
        decode(a).times(decode(b)).plus(decode(c), rounding).round(rounding)
    })
}

/// `div.rX.f64`, `rcp.rX.f64`.
pub fn div(a: f64, b: f64, rounding: Rounding) -> f64 {
    unless_special(a / b, a.is_finite() && b.is_finite() && b != 0.0, || {
        let (a, b) = (decode(a), decode(b));
        // At least 70 quotient bits for every divisor, however few bits the dividend has.
        let a = if a.significand == 0 { a } else { a.raised() };
        let (quotient, remainder) = (a.significand / b.significand, a.significand % b.significand);
        let quotient = Exact {
            negative: a.negative != b.negative,
            significand: quotient << 1 | u128::from(remainder != 0),
            exponent: a.exponent - b.exponent - 1,
        };
        quotient.round(rounding)
    })
}

/// `sqrt.rX.f64`.
pub fn sqrt(a: f64, rounding: Rounding) -> f64 {
    unless_special(a.sqrt(), a.is_finite() && a != 0.0, || {
        let mut a = decode(a).raised();
        if a.exponent % 2 != 0 {
            (a.significand, a.exponent) = (a.significand << 1, a.exponent - 1);
        }
        let root = a.significand.isqrt();
        let inexact = root * root != a.significand;
        Exact { negative: false, significand: root << 1 | u128::from(inexact), exponent: a.exponent / 2 - 1 }
            .round(rounding)
    })
}
