//! Rounding by its definition, with integers: a value is `(-1)^negative * magnitude * 2^unit`, plus something smaller if `sticky`.

use softcuda::exec::value::rounding::Rounding;

/// A number format by its fields.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) fraction: u32,
    pub(crate) exponent_bits: u32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent_bits: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent_bits: 8 };
pub(crate) const F32: Format = Format { fraction: 23, exponent_bits: 8 };
/// e5m2 has infinities and NaNs as the others have them; e4m3, in [`crate::kinds`], has not.
pub(crate) const E5M2: Format = Format { fraction: 2, exponent_bits: 5 };
pub(crate) const TF32: Format = Format { fraction: 10, exponent_bits: 8 };
pub(crate) const F64: Format = Format { fraction: 52, exponent_bits: 11 };

pub(crate) const ROUNDINGS: [Rounding; 4] = [Rounding::Nearest, Rounding::Zero, Rounding::Down, Rounding::Up];

/// An exact finite value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) negative: bool,
    pub(crate) magnitude: u128,
    pub(crate) unit: i32,
    pub(crate) sticky: bool,
}

impl Format {
    pub(crate) fn width(self) -> u32 {
        1 + self.exponent_bits + self.fraction
    }

    pub(crate) fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.fraction
    }

    pub(crate) fn nan(self) -> u64 {
        (1 << (self.width() - 1)) - 1
    }

    pub(crate) fn is_nan(self, bits: u64) -> bool {
        bits & self.nan() > self.infinity()
    }

    pub(crate) fn is_infinite(self, bits: u64) -> bool {
        bits & self.nan() == self.infinity()
    }

    fn least_exponent(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1))
    }

    /// A finite value.
    pub(crate) fn decode(self, bits: u64) -> Exact {
        assert!(!self.is_nan(bits) && !self.is_infinite(bits));
        let field = (bits & self.nan()) >> self.fraction;
        let fraction = u128::from(bits & ((1 << self.fraction) - 1));
        let hidden = if field == 0 { 0 } else { 1 << self.fraction };
        Exact {
            negative: bits >> (self.width() - 1) == 1,
            magnitude: fraction | hidden,
            unit: self.least_exponent() + (field.max(1) as i32 - 1) - self.fraction as i32,
            sticky: false,
        }
    }

    /// Rounds; an exact zero gets its sign from `negative`.
    pub(crate) fn round(self, value: Exact, rounding: Rounding) -> u64 {
        let Exact { negative, mut magnitude, mut unit, sticky } = value;
        let sign = u64::from(negative) << (self.width() - 1);
        if magnitude == 0 && !sticky {
            return sign;
        }
        // Room below for the sticky part.
        if magnitude < 1 << 100 {
            magnitude <<= 8;
            unit -= 8;
        }
        magnitude |= u128::from(sticky);
        let leading = 127 - magnitude.leading_zeros() as i32 + unit;
        let exponent = leading.max(self.least_exponent());
        let drop = exponent - self.fraction as i32 - unit;
        let (mut kept, rest, half) = match drop {
            ..=0 => (magnitude << -drop, 0, 1),
            1..=127 => (magnitude >> drop, magnitude & ((1 << drop) - 1), 1 << (drop - 1)),
            _ => (0, 1, 2),
        };
        let up = match rounding {
            Rounding::Nearest => rest > half || rest == half && kept & 1 == 1,
            Rounding::Zero => false,
            Rounding::Down => negative && rest != 0,
            Rounding::Up => !negative && rest != 0,
        };
        kept += u128::from(up);
        let field = (exponent - self.least_exponent()) as u128;
        let packed = kept + (field << self.fraction);
        let infinity = u128::from(self.infinity());
        if packed < infinity {
            return packed as u64 | sign;
        }
        let to_infinity = match rounding {
            Rounding::Nearest => true,
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
        (self.infinity() - u64::from(!to_infinity)) | sign
    }
}

/// The product.
pub(crate) fn product(a: Exact, b: Exact) -> Exact {
    Exact {
        negative: a.negative != b.negative,
        magnitude: a.magnitude * b.magnitude,
        unit: a.unit + b.unit,
        sticky: false,
    }
}

/// The sum, far smaller operands as a sticky part; the sign of an exact zero as IEEE 754 wants it for `rounding`.
pub(crate) fn sum(a: Exact, b: Exact, rounding: Rounding) -> Exact {
    assert!(!a.sticky && !b.sticky);
    if a.magnitude == 0 && b.magnitude == 0 {
        let negative = if a.negative == b.negative { a.negative } else { rounding == Rounding::Down };
        return Exact { negative, magnitude: 0, unit: 0, sticky: false };
    }
    if a.magnitude == 0 || b.magnitude == 0 {
        return if a.magnitude == 0 { b } else { a };
    }
    let top = |x: Exact| 128 - x.magnitude.leading_zeros() as i32 + x.unit;
    let (large, small) = if top(a) >= top(b) { (a, b) } else { (b, a) };
    // A unit 70 bits below the larger operand's last: below it, only that something is there matters.
    let unit = small.unit.min(large.unit).max(large.unit - 70);
    let signed = |x: Exact| {
        if x.negative { -(x.magnitude as i128) } else { x.magnitude as i128 }
    };
    let aligned = |x: Exact| {
        if x.unit >= unit {
            signed(x) << (x.unit - unit)
        } else {
            let shift = (unit - x.unit).min(127);
            let lost = x.magnitude & ((1u128 << shift) - 1) != 0;
            let kept = (x.magnitude >> shift) << 1 | u128::from(lost);
            // Twice the unit's resolution, the last bit sticky.
            if x.negative { -(kept as i128) } else { kept as i128 }
        }
    };
    let total = if small.unit >= unit {
        (aligned(large) + aligned(small)) << 1
    } else {
        (aligned(large) << 1) + aligned(small)
    };
    if total == 0 {
        return Exact { negative: rounding == Rounding::Down, magnitude: 0, unit: 0, sticky: false };
    }
    Exact { negative: total < 0, magnitude: total.unsigned_abs(), unit: unit - 1, sticky: false }
}

/// The quotient of nonzero values of at most 53 bits.
pub(crate) fn quotient(a: Exact, b: Exact) -> Exact {
    // At least 74 bits of it.
    let shift = a.magnitude.leading_zeros().min(127) as i32 - 1;
    let shifted = a.magnitude << shift;
    Exact {
        negative: a.negative != b.negative,
        magnitude: shifted / b.magnitude,
        unit: a.unit - b.unit - shift,
        sticky: !shifted.is_multiple_of(b.magnitude),
    }
}

/// The square root of a value of at most 53 bits.
pub(crate) fn square_root(a: Exact) -> Exact {
    // An even exponent, and as many bits as fit.
    let room = a.magnitude.leading_zeros().min(127) as i32 - 2;
    let shift = room + ((a.unit - room) & 1);
    let radicand = a.magnitude << shift;
    let root = radicand.isqrt();
    Exact { negative: a.negative, magnitude: root, unit: (a.unit - shift) / 2, sticky: root * root != radicand }
}
