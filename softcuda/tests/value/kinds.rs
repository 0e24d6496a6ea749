//! What a conversion gives, by definition: decode, round, clamp.

use crate::reference::{self, Exact, Format};
use softcuda::exec::value::rounding::Rounding;

/// What a form does beyond rounding.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extra {
    pub(crate) sat: bool,
    pub(crate) relu: bool,
    pub(crate) satfinite: bool,
    /// Ties away from zero.
    pub(crate) away: bool,
    pub(crate) ftz: bool,
}

/// A value of any source.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Nan,
    Infinite(bool),
    Finite(Exact),
}

/// Which values a register holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    Tf32,
    E4m3,
    E5m2,
    Unsigned(u32),
    Signed(u32),
}

use Kind::*;

pub(crate) const INTEGERS: [Kind; 8] =
    [Unsigned(8), Unsigned(16), Unsigned(32), Unsigned(64), Signed(8), Signed(16), Signed(32), Signed(64)];

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            F16 => "f16".into(),
            Bf16 => "bf16".into(),
            F32 => "f32".into(),
            F64 => "f64".into(),
            Tf32 => "tf32".into(),
            E4m3 => "e4m3".into(),
            E5m2 => "e5m2".into(),
            Unsigned(bits) => format!("u{bits}"),
            Signed(bits) => format!("s{bits}"),
        }
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            F16 | Bf16 => 16,
            F32 | Tf32 => 32,
            F64 => 64,
            E4m3 | E5m2 => 8,
            Unsigned(bits) | Signed(bits) => bits,
        }
    }

    pub(crate) fn format(self) -> Option<Format> {
        match self {
            F16 => Some(reference::F16),
            Bf16 => Some(reference::BF16),
            F32 => Some(reference::F32),
            F64 => Some(reference::F64),
            Tf32 => Some(reference::TF32),
            E5m2 => Some(reference::E5M2),
            _ => None,
        }
    }

    pub(crate) fn decode(self, bits: u64) -> Source {
        let Some(format) = self.format() else {
            if self == E4m3 {
                // As a format with infinity, whose numbers end one binade later.
                let (field, fraction) = (bits >> 3 & 15, u128::from(bits & 7));
                let hidden = if field == 0 { 0 } else { 8 };
                let value = Exact {
                    negative: bits >> 7 == 1,
                    magnitude: fraction | hidden,
                    unit: field.max(1) as i32 - 10,
                    sticky: false,
                };
                return if bits & 0x7f == 0x7f { Source::Nan } else { Source::Finite(value) };
            }
            let width = self.bits();
            let value = match self {
                Signed(_) => i128::from((bits << (64 - width)) as i64 >> (64 - width)),
                _ => i128::from(bits & (u64::MAX >> (64 - width))),
            };
            let (negative, magnitude) = (value < 0, value.unsigned_abs());
            return Source::Finite(Exact { negative, magnitude, unit: 0, sticky: false });
        };
        if format.is_nan(bits) {
            Source::Nan
        } else if format.is_infinite(bits) {
            Source::Infinite(bits >> (format.width() - 1) == 1)
        } else {
            Source::Finite(format.decode(bits))
        }
    }

    /// The bits of a value converted to this kind, from one of `wide_nan` (an f64, or to 64 bits).
    pub(crate) fn convert(self, source: Source, rounding: Rounding, extra: Extra, wide_nan: bool) -> u64 {
        let zero = |value: &Exact| value.magnitude == 0;
        if let (true, Source::Infinite(true)) = (extra.relu, source) {
            return 0;
        }
        if let (true, Source::Finite(value)) = (extra.relu, source)
            && value.negative
        {
            return 0;
        }
        match self {
            Unsigned(width) | Signed(width) => {
                let (low, high) = match self {
                    Signed(_) => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
                    _ => (0, (1i128 << width) - 1),
                };
                let whole = match source {
                    Source::Nan if wide_nan => return 1 << (width - 1),
                    Source::Nan => 0,
                    Source::Infinite(negative) => {
                        if negative {
                            low
                        } else {
                            high
                        }
                    }
                    Source::Finite(value) => integral(value, rounding),
                };
                whole.clamp(low, high) as u64 & (u64::MAX >> (64 - width))
            }
            E4m3 => match source {
                Source::Nan => 0x7f,
                Source::Infinite(negative) => 0x7e | u64::from(negative) << 7,
                Source::Finite(value) => {
                    // Rounded as a format of five exponent bits with e4m3's bias would be, then cut off at 448.
                    let wide = Format { fraction: 3, exponent_bits: 8 };
                    let bits = wide.round(Exact { unit: value.unit - 120, ..value }, rounding);
                    (bits & 0x7fff_ffff & ((1 << 11) - 1)).min(0x7e) | u64::from(value.negative) << 7
                }
            },
            _ => {
                let format = self.format().expect("a format");
                let pad = if self == Tf32 { 13 } else { 0 };
                let sign = |negative: bool| u64::from(negative) << (format.width() - 1);
                let bits = match source {
                    Source::Nan if extra.sat => 0,
                    Source::Nan if self == Tf32 => return 0x7fff_ffff,
                    Source::Nan if self == E5m2 => 0x7f,
                    Source::Nan => format.nan(),
                    Source::Infinite(negative) => format.infinity() | sign(negative),
                    Source::Finite(value) if extra.away => away(format, value),
                    Source::Finite(value) => format.round(value, rounding),
                };
                let is_infinite = !matches!(source, Source::Nan) && format.is_infinite(bits);
                let bits = if extra.satfinite && is_infinite { bits - 1 } else { bits };
                let negative = matches!(source, Source::Infinite(true))
                    || matches!(source, Source::Finite(v) if v.negative || zero(&v));
                let one = ((1 << (format.exponent_bits - 1)) - 1) << format.fraction;
                let bits = match extra.sat {
                    true if negative => 0,
                    true => bits.min(one),
                    false => bits,
                };
                bits << pad
            }
        }
    }
}

/// The nearest integer in a direction.
pub(crate) fn integral(value: Exact, rounding: Rounding) -> i128 {
    let whole = match value.unit {
        // Beyond every integer type, but within i128.
        unit if unit >= 0 => {
            value.magnitude.checked_shl(unit.min(126) as u32).filter(|_| unit < 70).unwrap_or(1 << 100)
        }
        ..-120 => {
            let up = match rounding {
                Rounding::Down => value.negative && value.magnitude != 0,
                Rounding::Up => !value.negative && value.magnitude != 0,
                _ => false,
            };
            u128::from(up)
        }
        unit => {
            let (whole, rest, half) =
                (value.magnitude >> -unit, value.magnitude & ((1 << -unit) - 1), 1u128 << (-unit - 1));
            let up = match rounding {
                Rounding::Nearest => rest > half || rest == half && whole & 1 == 1,
                Rounding::Zero => false,
                Rounding::Down => value.negative && rest != 0,
                Rounding::Up => !value.negative && rest != 0,
            };
            whole + u128::from(up)
        }
    };
    if value.negative { -(whole as i128) } else { whole as i128 }
}

/// To nearest, ties away from zero: half of the last place added in magnitude, the rest dropped.
pub(crate) fn away(format: Format, value: Exact) -> u64 {
    let down = format.round(value, Rounding::Zero);
    let finer = Format { fraction: format.fraction + 1, ..format };
    let half = finer.round(value, Rounding::Zero) & 1;
    down + half
}
