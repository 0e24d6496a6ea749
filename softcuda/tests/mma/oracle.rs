//! Tensor-core arithmetic as its definition reads (HARDWARE 1.1), with integers only: what the library is compared with.

use softcuda::exec::mma::Element;

/// A number format by its fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    pub(crate) fraction: u32,
    pub(crate) exponent_bits: u32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent_bits: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent_bits: 8 };
pub(crate) const TF32: Format = Format { fraction: 10, exponent_bits: 8 };
pub(crate) const E4M3: Format = Format { fraction: 3, exponent_bits: 4 };
pub(crate) const E5M2: Format = Format { fraction: 2, exponent_bits: 5 };
pub(crate) const F32: Format = Format { fraction: 23, exponent_bits: 8 };

/// The format of an element of A or B. Of tf32 the bits above the ignored ones.
pub(crate) fn format(element: Element) -> Format {
    match element {
        Element::F16 => F16,
        Element::Bf16 => BF16,
        Element::Tf32 => TF32,
        Element::E4m3 => E4M3,
        Element::E5m2 => E5M2,
        other => panic!("{other:?} is no float of A or B"),
    }
}

/// How a chip forms sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Products of one step.
    pub(crate) block: usize,
    /// Fraction bits kept in the alignment.
    pub(crate) kept: i32,
    /// Format of the accumulator and of the result.
    pub(crate) output: Format,
    /// Fraction bits of a result, rounded toward zero; f16 results are rounded to nearest even.
    pub(crate) result_fraction: u32,
}

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
        // e4m3 has one NaN and uses the rest of its largest exponent.
        (15, 7) if format == E4M3 => Value::Nan,
        (f, 0) if f == ones && format != E4M3 => Value::Infinity(negative),
        (f, _) if f == ones && format != E4M3 => Value::Nan,
        (0, _) => Value::Finite { negative, significand: fraction, exponent: 1 - bias },
        (f, _) => Value::Finite { negative, significand: fraction | 1 << format.fraction, exponent: f as i32 - bias },
    }
}

/// `d` of one output element; `a` and `b` as long as k.
pub(crate) fn dot(rule: Rule, inputs: [Format; 2], a: &[u32], b: &[u32], c: u32) -> u32 {
    a.chunks(rule.block).zip(b.chunks(rule.block)).fold(c, |c, (a, b)| step(rule, inputs, a, b, c))
}

fn step(rule: Rule, inputs: [Format; 2], a: &[u32], b: &[u32], c: u32) -> u32 {
    let output = rule.output;
    // (negative, significand, exponent, fraction bits of the significand)
    let mut terms = Vec::new();
    let (mut nan, mut infinities) = (false, [false; 2]);
    for (&a, &b) in a.iter().zip(b) {
        match (decode(inputs[0], a), decode(inputs[1], b)) {
            (Value::Nan, _) | (_, Value::Nan) => nan = true,
            (Value::Infinity(_), Value::Finite { significand: 0, .. })
            | (Value::Finite { significand: 0, .. }, Value::Infinity(_)) => nan = true,
            (Value::Infinity(s), Value::Infinity(t) | Value::Finite { negative: t, .. })
            | (Value::Finite { negative: t, .. }, Value::Infinity(s)) => infinities[usize::from(s != t)] = true,
            (
                Value::Finite { negative: s, significand: x, exponent: e },
                Value::Finite { negative: t, significand: y, exponent: f },
            ) => terms.push((s != t, x * y, e + f, (inputs[0].fraction + inputs[1].fraction) as i32)),
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
    // The floors of the models with 24 and 25 bits; those with fewer have none that could matter.
    let floor = if output == F16 { 4 - rule.kept.max(24) } else { -108 - if rule.kept == 24 { 24 } else { 25 } };
    let largest = terms.iter().map(|term| term.2).max().unwrap_or(floor).max(floor);
    let unit = largest - rule.kept;
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
    let quantum = exponent - rule.result_fraction as i32;
    let drop = quantum - unit;
    let mut result = if drop <= 0 { magnitude << -drop } else { magnitude >> drop.min(100) };
    if output == F16 && drop > 0 {
        let rest = magnitude - (result << drop);
        let half = 1 << (drop - 1);
        if rest > half || rest == half && result % 2 == 1 {
            result += 1;
        }
    }
    // The hidden bit of a normal result adds one to the exponent field; so does a carry out of the fraction.
    result <<= output.fraction - rule.result_fraction;
    let field = (exponent - least) as u128;
    let packed = (result + (field << output.fraction)).min(u128::from(infinity));
    packed as u32 | u32::from(sum < 0) << sign
}
