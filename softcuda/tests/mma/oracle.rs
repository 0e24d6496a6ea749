//! Tensor-core arithmetic as its definition reads (HARDWARE 1.1), with integers only: what the library is compared with.

/// A number format by its fields.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) fraction: u32,
    pub(crate) exponent_bits: u32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent_bits: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent_bits: 8 };
pub(crate) const F32: Format = Format { fraction: 23, exponent_bits: 8 };

enum Value {
    Nan,
    Infinity(bool),
    /// (-1)^negative * significand * 2^(exponent - fraction of the format)
    Finite {
        negative: bool,
        significand: i128,
        exponent: i32,
    },
}

fn decode(format: Format, bits: u32) -> Value {
    let negative = bits >> (format.fraction + format.exponent_bits) & 1 == 1;
    let ones = (1 << format.exponent_bits) - 1;
    let field = bits >> format.fraction & ones;
    let fraction = i128::from(bits & ((1 << format.fraction) - 1));
    let bias = (1 << (format.exponent_bits - 1)) - 1;
    match (field, fraction) {
        (f, 0) if f == ones => Value::Infinity(negative),
        (f, _) if f == ones => Value::Nan,
        (0, _) => Value::Finite { negative, significand: fraction, exponent: 1 - bias },
        (f, _) => Value::Finite { negative, significand: fraction | 1 << format.fraction, exponent: f as i32 - bias },
    }
}

/// `d` of one output element; `a` and `b` as long as k. F16 or F32 accumulates.
pub(crate) fn dot(input: Format, output: Format, block: usize, bits: i32, a: &[u32], b: &[u32], c: u32) -> u32 {
    a.chunks(block).zip(b.chunks(block)).fold(c, |c, (a, b)| step(input, output, bits, a, b, c))
}

fn step(input: Format, output: Format, kept: i32, a: &[u32], b: &[u32], c: u32) -> u32 {
    // (negative, significand, exponent, fraction bits of the significand)
    let mut terms = Vec::new();
    let (mut nan, mut infinities) = (false, [false; 2]);
    for (&a, &b) in a.iter().zip(b) {
        match (decode(input, a), decode(input, b)) {
            (Value::Nan, _) | (_, Value::Nan) => nan = true,
            (Value::Infinity(_), Value::Finite { significand: 0, .. })
            | (Value::Finite { significand: 0, .. }, Value::Infinity(_)) => nan = true,
            (Value::Infinity(s), Value::Infinity(t) | Value::Finite { negative: t, .. })
            | (Value::Finite { negative: t, .. }, Value::Infinity(s)) => infinities[usize::from(s != t)] = true,
            (
                Value::Finite { negative: s, significand: x, exponent: e },
                Value::Finite { negative: t, significand: y, exponent: f },
            ) => terms.push((s != t, x * y, e + f, 2 * input.fraction as i32)),
        }
    }
    match decode(output, c) {
        Value::Nan => nan = true,
        Value::Infinity(s) => infinities[usize::from(s)] = true,
        Value::Finite { negative, significand, exponent } => {
            terms.push((negative, significand, exponent, output.fraction as i32));
        }
    }
    let one = (1 << output.exponent_bits) - 1;
    let infinity = one << output.fraction;
    let sign = output.fraction + output.exponent_bits;
    if nan || infinities == [true; 2] {
        return (1 << sign) - 1;
    }
    if infinities != [false; 2] {
        return infinity | u32::from(infinities[1]) << sign;
    }
    terms.retain(|term| term.1 != 0);
    let floor = if output.fraction == 10 { 4 - kept } else { -108 - kept };
    let largest = terms.iter().map(|term| term.2).max().unwrap_or(floor).max(floor);
    let unit = largest - kept;
    let sum: i128 = terms
        .iter()
        .map(|&(negative, significand, exponent, fraction)| {
            let shift = exponent - fraction - unit;
            let magnitude = if shift >= 0 { significand << shift } else { significand >> (-shift).min(100) };
            if negative { -magnitude } else { magnitude }
        })
        .sum();
    if sum == 0 {
        return 0;
    }
    let magnitude = sum.unsigned_abs();
    let least = 2 - (1 << (output.exponent_bits - 1));
    let exponent = (127 - magnitude.leading_zeros() as i32 + unit).max(least);
    let quantum = exponent - output.fraction as i32;
    let drop = quantum - unit;
    let mut result = if drop <= 0 { magnitude << -drop } else { magnitude >> drop.min(100) };
    if output.fraction == 10 && drop > 0 {
        let rest = magnitude - (result << drop);
        let half = 1 << (drop - 1);
        if rest > half || rest == half && result % 2 == 1 {
            result += 1;
        }
    }
    // The hidden bit of a normal result adds one to the exponent field; so does a carry out of the fraction.
    let field = (exponent - least) as u128;
    let packed = (result + (field << output.fraction)).min(u128::from(infinity));
    packed as u32 | u32::from(sum < 0) << sign
}
