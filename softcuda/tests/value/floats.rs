//! Floating-point arithmetic as PTX, in every rounding, flushing and saturating mode, against exact arithmetic.

use crate::launch::execute;
use crate::ptx::FLOAT_ROUNDINGS;
use crate::{LIMITS, Random, reference::*};
use softcuda::exec::value::rounding::Rounding;

/// An operation of at most three operands, of which the later may be unused.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Operation {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Rcp,
    Sqrt,
}

use Operation::*;

impl Operation {
    fn name(self) -> &'static str {
        ["add", "sub", "mul", "fma", "div", "rcp", "sqrt"][self as usize]
    }

    fn count(self) -> usize {
        [2, 2, 2, 3, 2, 1, 1][self as usize]
    }

    /// The result of special operands, which no rounding changes; NaN, too, where there is nothing special.
    fn special(self, [a, b, c]: [f64; 3]) -> f64 {
        match self {
            Add => a + b,
            Sub => a - b,
            Mul => a * b,
            Fma => a * b + c,
            Div => a / b,
            Rcp => 1.0 / a,
            Sqrt => a.sqrt(),
        }
    }

    /// The exact result of finite operands, none of them a divisor of zero or a negative radicand.
    fn exact(self, [a, b, c]: [Exact; 3], rounding: Rounding) -> Exact {
        let one = Exact { negative: false, magnitude: 1, unit: 0, sticky: false };
        match self {
            Add => sum(a, b, rounding),
            Sub => sum(a, Exact { negative: !b.negative, ..b }, rounding),
            Mul => product(a, b),
            Fma => sum(product(a, b), c, rounding),
            Div => quotient(a, b),
            Rcp => quotient(one, a),
            Sqrt => square_root(a),
        }
    }
}

/// What an instruction does around rounding.
#[derive(Clone, Copy, Default)]
struct Mode {
    ftz: bool,
    sat: bool,
    relu: bool,
}

/// A format as its instructions see it.
struct Machine {
    format: Format,
    to_f64: fn(u64) -> f64,
}

impl Machine {
    fn flush(&self, bits: u64) -> u64 {
        let sign = 1 << (self.format.width() - 1);
        if bits & self.format.infinity() == 0 { bits & sign } else { bits }
    }

    fn compute(&self, operation: Operation, operands: [u64; 3], rounding: Rounding, mode: Mode) -> u64 {
        let format = self.format;
        let x = operands.map(|bits| if mode.ftz { self.flush(bits) } else { bits });
        let used = &x[..operation.count()];
        let zero = |bits: u64| bits & format.nan() == 0;
        let sign = 1u64 << (format.width() - 1);
        let is_special = used.iter().any(|&bits| bits & format.nan() >= format.infinity())
            || operation == Div && zero(x[1])
            || operation == Rcp && zero(x[0])
            || operation == Sqrt && (zero(x[0]) || x[0] & sign != 0);
        let mut result = if is_special {
            let value = operation.special(x.map(self.to_f64));
            match value {
                value if value.is_nan() => format.nan(),
                value if value.is_infinite() => format.infinity() | if value < 0.0 { sign } else { 0 },
                value if value == 0.0 => {
                    if value.is_sign_negative() {
                        sign
                    } else {
                        0
                    }
                }
                // A finite operand that comes out as it is: of a sum with nothing special there is none.
                value => panic!("{operation:?} of {x:x?} is {value:e}"),
            }
        } else {
            let mut exact = [Exact { negative: false, magnitude: 0, unit: 0, sticky: false }; 3];
            for (exact, &bits) in exact.iter_mut().zip(used) {
                *exact = format.decode(bits);
            }
            format.round(operation.exact(exact, rounding), rounding)
        };
        if mode.ftz {
            result = self.flush(result);
        }
        let is_nan = format.is_nan(result);
        if mode.sat {
            let one = ((1 << (format.exponent_bits - 1)) - 1) << format.fraction;
            result = if is_nan || result & sign != 0 { 0 } else { result.min(one) };
        }
        if mode.relu && result & sign != 0 {
            result = 0;
        }
        result
    }
}

fn f32_of(bits: u64) -> f64 {
    f32::from_bits(bits as u32).into()
}

#[test]
fn f32_arithmetic_in_every_mode() {
    let machine = Machine { format: F32, to_f64: f32_of };
    let mut random = Random(41);
    let mut columns = vec![Vec::new(), Vec::new(), Vec::new()];
    for a in LIMITS {
        for b in LIMITS {
            for c in [1.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, -a * b, f32::NAN] {
                [a, b, c].iter().zip(&mut columns).for_each(|(x, column)| column.push(x.to_bits().into()));
            }
        }
    }
    for _ in 0..12_000 {
        let a = random.f32(1.0);
        let b = random.f32(a);
        let c = if random.bits() & 1 == 0 { random.f32(a * b) } else { random.f32(-b) };
        [a, b, c].iter().zip(&mut columns).for_each(|(x, column)| column.push(x.to_bits().into()));
    }
    for operation in [Add, Sub, Mul, Fma, Div, Rcp, Sqrt] {
        let count = operation.count();
        for (name, rounding) in FLOAT_ROUNDINGS {
            for (word, mode) in [
                ("", Mode::default()),
                (".ftz", Mode { ftz: true, ..Mode::default() }),
                (".sat", Mode { sat: true, ..Mode::default() }),
                (".ftz.sat", Mode { ftz: true, sat: true, ..Mode::default() }),
            ] {
                if mode.sat && matches!(operation, Div | Rcp | Sqrt) {
                    continue;
                }
                let opcode = format!("{}.{name}{word}.f32", operation.name());
                let results = execute(&opcode, &vec![32; count], 32, &columns[..count]);
                for (row, got) in results.into_iter().enumerate() {
                    let x = [0, 1, 2].map(|i| columns[i][row]);
                    let wanted = machine.compute(operation, x, rounding, mode);
                    assert_eq!(got, wanted, "{opcode} of {x:x?}: {got:#x}, expected {wanted:#x}");
                }
            }
        }
    }
}

#[test]
fn half_arithmetic_in_every_mode() {
    let machines = [
        ("f16", Machine { format: F16, to_f64: |bits| half::f16::from_bits(bits as u16).to_f64() }),
        ("bf16", Machine { format: BF16, to_f64: |bits| half::bf16::from_bits(bits as u16).to_f64() }),
    ];
    for (ty, machine) in machines {
        // Every value beside one of nearby size, one of any bits and a special one.
        let mut random = Random(43);
        let infinity = machine.format.infinity();
        let specials = [0, 0x8000, infinity, infinity | 0x8000, 0x7fff, 1, 0x8001, 0x3c00, 0xbf80, infinity - 1];
        let mut columns = vec![Vec::new(), Vec::new(), Vec::new()];
        for a in 0..=0xffffu64 {
            let bits = random.bits();
            let near = (a as u16 & 0x7fff).wrapping_add_signed((bits >> 32) as i16 % 3000) & 0x7fff;
            let b = match a % 4 {
                0 => specials[(bits % 10) as usize],
                1 => bits & 0xffff,
                _ => u64::from(near) | bits & 0x8000,
            };
            let c = if a % 3 == 0 { specials[(bits >> 8) as usize % 10] } else { bits >> 48 };
            [a, b, c].into_iter().zip(&mut columns).for_each(|(x, column)| column.push(x));
        }
        for operation in [Add, Sub, Mul, Fma] {
            let count = operation.count();
            for (word, mode) in [
                ("", Mode::default()),
                (".ftz", Mode { ftz: true, ..Mode::default() }),
                (".sat", Mode { sat: true, ..Mode::default() }),
                (".ftz.sat", Mode { ftz: true, sat: true, ..Mode::default() }),
                (".relu", Mode { relu: true, ..Mode::default() }),
                (".ftz.relu", Mode { ftz: true, relu: true, ..Mode::default() }),
            ] {
                if mode.relu && operation != Fma || ty == "bf16" && (mode.ftz || mode.sat) {
                    continue;
                }
                let opcode = format!("{}.rn{word}.{ty}", operation.name());
                let single = execute(&opcode, &vec![16; count], 16, &columns[..count]);
                // The pair holds the neighbour's operands in its upper half.
                let pairs: Vec<Vec<u64>> = columns[..count]
                    .iter()
                    .map(|column| (0..column.len()).map(|i| column[i] | column[(i + 1) % column.len()] << 16).collect())
                    .collect();
                let packed = execute(&format!("{opcode}x2"), &vec![32; count], 32, &pairs);
                for row in 0..single.len() {
                    let x = [0, 1, 2].map(|i| columns[i][row]);
                    let wanted = machine.compute(operation, x, Rounding::Nearest, mode);
                    let got = single[row];
                    assert_eq!(got, wanted, "{opcode} of {x:x?}: {got:#x}, expected {wanted:#x}");
                    let both = single[row] | single[(row + 1) % single.len()] << 16;
                    assert_eq!(packed[row], both, "{opcode}x2 of {x:x?}");
                }
            }
        }
    }
}

#[test]
fn f64_arithmetic_in_every_rounding_and_payloads() {
    let machine = Machine { format: F64, to_f64: f64::from_bits };
    let mut random = Random(47);
    let mut columns = [Vec::new(), Vec::new()];
    for _ in 0..20_000 {
        let a = random.bits();
        let near = a ^ (random.bits() & 0x803f_ffff_ffff_ffff);
        columns[0].push(a);
        columns[1].push(if a & 1 == 0 { near } else { random.bits() });
    }
    for a in LIMITS {
        for b in LIMITS {
            columns[0].push(f64::from(a).to_bits());
            columns[1].push(f64::from(b).to_bits());
        }
    }
    for operation in [Add, Sub, Mul, Div, Rcp, Sqrt] {
        let count = operation.count();
        for (name, rounding) in FLOAT_ROUNDINGS {
            let opcode = format!("{}.{name}.f64", operation.name());
            let results = execute(&opcode, &vec![64; count], 64, &columns[..count]);
            for (row, got) in results.into_iter().enumerate() {
                let x = [columns[0][row], columns[1][row], 0];
                let mut wanted = machine.compute(operation, x, rounding, Mode::default());
                if F64.is_nan(wanted) {
                    // The first NaN operand, quiet; else the chip's own NaN.
                    let operand = x[..count].iter().find(|&&bits| F64.is_nan(bits));
                    wanted = operand.map_or(0xfff8 << 48, |bits| bits | 1 << 51);
                }
                assert_eq!(got, wanted, "{opcode} of {x:x?}: {got:#x}, expected {wanted:#x}");
            }
        }
    }
}

#[test]
fn min_and_max_in_every_mode() {
    for (ty, format, bits) in [("f32", F32, 32), ("f16", F16, 16), ("bf16", BF16, 16)] {
        let machine = Machine { format, to_f64: |_| 0.0 };
        let sign = 1u64 << (bits - 1);
        let mut random = Random(53);
        let infinity = format.infinity();
        let specials =
            [0, sign, 1, sign | 1, infinity, infinity | sign, infinity + 1, format.nan() | sign, infinity - 1];
        let mut columns = vec![Vec::new(), Vec::new()];
        for _ in 0..20_000 {
            let (choice, value) = (random.bits(), random.bits() & (sign * 2 - 1));
            let first = if choice % 4 == 0 { specials[(choice >> 8) as usize % 9] } else { value };
            let second = match choice % 5 {
                0 => specials[(choice >> 16) as usize % 9],
                1 => first,
                2 => first ^ sign,
                _ => random.bits() & (sign * 2 - 1),
            };
            columns[0].push(first);
            columns[1].push(second);
        }
        // Orders all numbers, -0 below +0.
        let order = |x: u64| if x & sign == 0 { x as i64 } else { -((x ^ sign) as i64) - 1 };
        for name in ["min", "max"] {
            for flags in 0..8 {
                let (ftz, nan, xorsign) = (flags & 1 == 1, flags & 2 == 2, flags & 4 == 4);
                if ftz && ty == "bf16" {
                    continue;
                }
                let word = |flag: bool, text| if flag { text } else { "" };
                let opcode =
                    format!("{name}{}{}{}.{ty}", word(ftz, ".ftz"), word(nan, ".NaN"), word(xorsign, ".xorsign.abs"));
                let results = execute(&opcode, &[bits; 2], bits, &columns);
                for (row, got) in results.into_iter().enumerate() {
                    let [a, b] = [0, 1].map(|i| columns[i][row]).map(|x| if ftz { machine.flush(x) } else { x });
                    let [x, y] = [a, b].map(|x| if xorsign { x & !sign } else { x });
                    let first = if name == "min" { order(x) < order(y) } else { order(x) > order(y) };
                    let chosen = match (format.is_nan(x), format.is_nan(y)) {
                        (true, true) => None,
                        (true, false) => (!nan).then_some(y),
                        (false, true) => (!nan).then_some(x),
                        (false, false) => Some(if first { x } else { y }),
                    };
                    let with_sign = |x: u64| if xorsign { x | (a ^ b) & sign } else { x };
                    let wanted = chosen.map_or(format.nan(), with_sign);
                    assert_eq!(got, wanted, "{opcode} of {a:#x} {b:#x}: {got:#x}, expected {wanted:#x}");
                }
            }
        }
    }
}
