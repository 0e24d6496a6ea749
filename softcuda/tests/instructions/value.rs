//! Values of run-lines: from text to bits, and the comparison of what came out with what was expected.

use half::{bf16, f16};

/// Element types of run-lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Unsigned(u32),
    Signed(u32),
    Bits(u32),
    F16,
    Bf16,
    F32,
    F64,
    E4m3,
    E5m2,
}

impl Element {
    /// By its name in PTX.
    pub(crate) fn from_name(name: &str) -> Option<Element> {
        match name {
            "f16" => Some(Element::F16),
            "bf16" => Some(Element::Bf16),
            "f32" => Some(Element::F32),
            "f64" => Some(Element::F64),
            "e4m3" => Some(Element::E4m3),
            "e5m2" => Some(Element::E5m2),
            _ => {
                let bits: u32 = name.get(1..)?.parse().ok().filter(|bits| [8, 16, 32, 64, 128].contains(bits))?;
                match &name[..1] {
                    "u" => Some(Element::Unsigned(bits)),
                    "s" => Some(Element::Signed(bits)),
                    "b" => Some(Element::Bits(bits)),
                    _ => None,
                }
            }
        }
    }

    /// Width.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Element::Unsigned(bits) | Element::Signed(bits) | Element::Bits(bits) => bits,
            Element::F64 => 64,
            Element::F32 => 32,
            Element::F16 | Element::Bf16 => 16,
            Element::E4m3 | Element::E5m2 => 8,
        }
    }

    fn is_float(self) -> bool {
        !matches!(self, Element::Unsigned(_) | Element::Signed(_) | Element::Bits(_))
    }

    /// The number that a bit pattern of a float type stands for; exact, since f64 holds all of them.
    fn decode(self, bits: u128) -> f64 {
        match self {
            Element::F64 => f64::from_bits(bits as u64),
            Element::F32 => f64::from(f32::from_bits(bits as u32)),
            Element::F16 => f16::from_bits(bits as u16).to_f64(),
            Element::Bf16 => bf16::from_bits(bits as u16).to_f64(),
            Element::E5m2 => f16::from_bits((bits as u16) << 8).to_f64(),
            _ => {
                let (exponent, fraction) = (bits as i32 >> 3 & 15, (bits & 7) as f64);
                let size = match exponent {
                    15 if bits & 7 == 7 => f64::NAN,
                    0 => fraction * 2f64.powi(-9),
                    _ => (8.0 + fraction) * 2f64.powi(exponent - 10),
                };
                if bits & 0x80 == 0 { size } else { -size }
            }
        }
    }

    /// The bits of a number, which the type must hold exactly if it is one of 8 bits.
    fn encode(self, text: &str) -> Option<u128> {
        let number: f64 = text.parse().ok()?;
        let bits = match self {
            Element::F64 => number.to_bits().into(),
            Element::F32 => text.parse::<f32>().ok()?.to_bits().into(),
            Element::F16 => f16::from_f64(number).to_bits().into(),
            Element::Bf16 => bf16::from_f64(number).to_bits().into(),
            _ => {
                let same = |&bits: &u128| {
                    let value = self.decode(bits);
                    value == number && value.is_sign_negative() == number.is_sign_negative()
                        || value.is_nan() && number.is_nan()
                };
                (0..256).find(same)?
            }
        };
        Some(bits)
    }

    /// The bits of a literal.
    pub(crate) fn parse(self, text: &str) -> Option<u128> {
        let mask = u128::MAX >> (128 - self.bits());
        if let Some(digits) = text.strip_prefix("0x") {
            return u128::from_str_radix(digits, 16).ok().filter(|&bits| bits <= mask);
        }
        if self.is_float() {
            return self.encode(text);
        }
        let bits = self.bits();
        let number: i128 = text.parse().ok()?;
        let low = if matches!(self, Element::Unsigned(_)) { 0 } else { -1i128 << (bits.min(127) - 1) };
        let high = match self {
            Element::Signed(_) => !low,
            _ if bits == 128 => i128::MAX,
            _ => (1i128 << bits) - 1,
        };
        (low <= number && number <= high).then_some(number as u128 & mask)
    }

    /// How far two floats of one sign convention lie apart, in steps of the format.
    fn distance(self, a: u128, b: u128) -> u128 {
        let sign = 1u128 << (self.bits() - 1);
        let order = |bits: u128| if bits & sign == 0 { bits as i128 } else { -((bits ^ sign) as i128) };
        order(a).abs_diff(order(b))
    }

    /// Text of a bit pattern for a message.
    pub(crate) fn show(self, bits: u128) -> String {
        match self {
            Element::Signed(width) => format!("{}", (bits << (128 - width)) as i128 >> (128 - width)),
            Element::Unsigned(_) => bits.to_string(),
            _ if self.is_float() => format!("{:?} ({bits:#x})", self.decode(bits)),
            _ => format!("{bits:#x}"),
        }
    }
}

/// What an element of an output must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// `*`
    Anything,
    /// `nan`: whatever its payload.
    Nan,
    /// These bits, or as near as the line allows.
    Bits(u128),
}

impl Expected {
    /// Whether `bits` is what was expected.
    pub(crate) fn admits(self, element: Element, bits: u128, steps: u128) -> bool {
        match self {
            Expected::Anything => true,
            Expected::Nan => element.decode(bits).is_nan(),
            Expected::Bits(expected) if steps == 0 || element.decode(expected).is_nan() => bits == expected,
            Expected::Bits(expected) => !element.decode(bits).is_nan() && element.distance(bits, expected) <= steps,
        }
    }
}

/// The values of a line: `1`, `0x3f`, `nan`, `7*32` for 32 sevens, `0..32` for 0 to 31, `*` for anything.
///
/// # Errors
/// The first word that is none of these.
pub(crate) fn values(element: Element, text: &str) -> Result<Vec<Expected>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let wrong = || format!("`{word}` is no value of this type");
        if let Some((first, end)) = word.split_once("..") {
            let (first, end): (i64, i64) = (first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?);
            for number in first..end {
                values.push(Expected::Bits(element.parse(&number.to_string()).ok_or_else(wrong)?));
            }
            continue;
        }
        let (value, count) = match word.split_once('*') {
            Some((value, count)) if !value.is_empty() => (value, count.parse().map_err(|_| wrong())?),
            Some(("", count)) if !count.is_empty() => ("*", count.parse().map_err(|_| wrong())?),
            _ => (word, 1),
        };
        let value = match value {
            "*" => Expected::Anything,
            "nan" if element.is_float() => Expected::Nan,
            _ => Expected::Bits(element.parse(value).ok_or_else(wrong)?),
        };
        values.extend(std::iter::repeat_n(value, count));
    }
    Ok(values)
}

/// The bits of an input line, which names every value.
///
/// # Errors
/// A word that is no value.
pub(crate) fn inputs(element: Element, text: &str) -> Result<Vec<u128>, String> {
    let bits = |value| match value {
        Expected::Bits(bits) => Ok(bits),
        Expected::Nan => element.encode("nan").ok_or_else(|| "this type has no NaN".to_owned()),
        Expected::Anything => Err("an input must be given".to_owned()),
    };
    values(element, text)?.into_iter().map(bits).collect()
}
