//! Integer instructions as PTX, against arithmetic in 128 bits.

use crate::{Random, launch::execute};

const COUNT: usize = 4000;

/// Corners, and random values of every size.
fn column(random: &mut Random, bits: u32) -> Vec<u64> {
    let mask = u64::MAX >> (64 - bits);
    let top = 1u64 << (bits - 1);
    let corners = [0, 1, 2, 3, 7, 8, top - 1, top, top + 1, mask, mask - 1, 1 << (bits / 2), (1 << (bits / 2)) - 1];
    (0..COUNT)
        .map(|_| {
            let (choice, value) = (random.bits(), random.bits());
            match choice % 3 {
                0 => corners[(value % corners.len() as u64) as usize],
                _ => value >> (choice >> 8 & 63) & mask,
            }
        })
        .collect()
}

/// A type: its name, width, and whether it has a sign.
#[derive(Clone, Copy)]
struct Integer {
    name: &'static str,
    bits: u32,
    signed: bool,
}

const TYPES: [Integer; 6] = [
    Integer { name: "u16", bits: 16, signed: false },
    Integer { name: "s16", bits: 16, signed: true },
    Integer { name: "u32", bits: 32, signed: false },
    Integer { name: "s32", bits: 32, signed: true },
    Integer { name: "u64", bits: 64, signed: false },
    Integer { name: "s64", bits: 64, signed: true },
];

impl Integer {
    fn value(self, bits: u64) -> i128 {
        let shift = 64 - self.bits;
        if self.signed { i128::from((bits << shift) as i64 >> shift) } else { i128::from(bits << shift >> shift) }
    }

    fn clamp(self, value: i128) -> i128 {
        let one = 1i128;
        match self.signed {
            true => value.clamp(-(one << (self.bits - 1)), (one << (self.bits - 1)) - 1),
            false => value.clamp(0, (one << self.bits) - 1),
        }
    }
}

/// Checks `opcode` for operands of these widths; the definition gets the columns' bits, none where the result is undefined.
fn check(opcode: &str, from: &[u32], to: u32, definition: impl Fn(&[u64]) -> Option<i128>) {
    let mut random = Random(opcode.bytes().fold(77, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte)));
    let columns: Vec<Vec<u64>> = from.iter().map(|&bits| column(&mut random, bits)).collect();
    let results = execute(opcode, from, to, &columns);
    for (row, &got) in results.iter().enumerate() {
        let operands: Vec<u64> = columns.iter().map(|column| column[row]).collect();
        if let Some(wanted) = definition(&operands) {
            let wanted = wanted as u64 & (u64::MAX >> (64 - to));
            assert_eq!(got, wanted, "{opcode} of {operands:x?}: {got:#x}, expected {wanted:#x}");
        }
    }
}

#[test]
fn integer_arithmetic_equals_that_in_128_bits() {
    for ty in TYPES {
        let Integer { name, bits, signed } = ty;
        let v = |bits: u64| ty.value(bits);
        let (one, two, three) = ([bits], [bits; 2], [bits; 3]);
        check(&format!("add.{name}"), &two, bits, |x| Some(v(x[0]) + v(x[1])));
        check(&format!("sub.{name}"), &two, bits, |x| Some(v(x[0]) - v(x[1])));
        check(&format!("mul.lo.{name}"), &two, bits, |x| Some(v(x[0]).wrapping_mul(v(x[1]))));
        // An i128 holds the product's upper half even of u64.
        let high = |a: i128, b: i128| if signed { a * b >> bits } else { (a as u128 * b as u128 >> bits) as i128 };
        check(&format!("mul.hi.{name}"), &two, bits, |x| Some(high(v(x[0]), v(x[1]))));
        check(&format!("mad.lo.{name}"), &three, bits, |x| Some(v(x[0]).wrapping_mul(v(x[1])).wrapping_add(v(x[2]))));
        check(&format!("mad.hi.{name}"), &three, bits, |x| Some(high(v(x[0]), v(x[1])) + v(x[2])));
        check(&format!("sad.{name}"), &three, bits, |x| Some((v(x[0]) - v(x[1])).abs() + v(x[2])));
        // The quotient by zero is not defined.
        check(&format!("div.{name}"), &two, bits, |x| (x[1] != 0).then(|| v(x[0]) / v(x[1])));
        check(&format!("rem.{name}"), &two, bits, |x| (x[1] != 0).then(|| v(x[0]) % v(x[1])));
        check(&format!("min.{name}"), &two, bits, |x| Some(v(x[0]).min(v(x[1]))));
        check(&format!("max.{name}"), &two, bits, |x| Some(v(x[0]).max(v(x[1]))));
        if signed {
            check(&format!("abs.{name}"), &one, bits, |x| Some(v(x[0]).abs()));
            check(&format!("neg.{name}"), &one, bits, |x| Some(-v(x[0])));
        }
        if bits < 64 {
            check(&format!("mul.wide.{name}"), &two, 2 * bits, |x| Some(v(x[0]) * v(x[1])));
            check(&format!("mad.wide.{name}"), &[bits, bits, 2 * bits], 2 * bits, |x| {
                Some(v(x[0]) * v(x[1]) + i128::from(x[2]))
            });
        }
        let amount = |x: u64| (x as u32).min(bits);
        check(&format!("shr.{name}"), &[bits, 32], bits, |x| Some(v(x[0]) >> amount(x[1])));
        check(&format!("shl.b{bits}"), &[bits, 32], bits, |x| Some(i128::from(x[0]) << amount(x[1])));
    }
}

#[test]
fn saturating_narrow_and_packed_arithmetic_equals_its_definition() {
    let s32 = TYPES[3];
    let v = |bits: u64| s32.value(bits);
    check("add.sat.s32", &[32; 2], 32, |x| Some(s32.clamp(v(x[0]) + v(x[1]))));
    check("sub.sat.s32", &[32; 2], 32, |x| Some(s32.clamp(v(x[0]) - v(x[1]))));
    check("mad.hi.sat.s32", &[32; 3], 32, |x| Some(s32.clamp((v(x[0]) * v(x[1]) >> 32) + v(x[2]))));
    check("min.relu.s32", &[32; 2], 32, |x| Some(v(x[0]).min(v(x[1])).max(0)));
    check("max.relu.s32", &[32; 2], 32, |x| Some(v(x[0]).max(v(x[1])).max(0)));
    for (name, signed) in [("u32", false), ("s32", true)] {
        let low = |bits: u64| {
            let value = i128::from(bits as u32 & 0xff_ffff);
            if signed && value >> 23 == 1 { value - (1 << 24) } else { value }
        };
        let ty = TYPES[2 + usize::from(signed)];
        let part = |product: i128, high: bool| if high { product >> 16 } else { product };
        for (mode, high) in [("lo", false), ("hi", true)] {
            check(&format!("mul24.{mode}.{name}"), &[32; 2], 32, |x| Some(part(low(x[0]) * low(x[1]), high)));
            check(&format!("mad24.{mode}.{name}"), &[32; 3], 32, |x| {
                Some(part(low(x[0]) * low(x[1]), high) + ty.value(x[2]))
            });
        }
        if signed {
            check("mad24.hi.sat.s32", &[32; 3], 32, |x| Some(ty.clamp((low(x[0]) * low(x[1]) >> 16) + ty.value(x[2]))));
        }
    }
    for (name, signed) in [("u16x2", false), ("s16x2", true)] {
        let ty = TYPES[usize::from(signed)];
        let halves = |x: &[u64], op: fn(i128, i128) -> i128| {
            let half = |shift: u32| op(ty.value(x[0] >> shift), ty.value(x[1] >> shift)) as u64 & 0xffff;
            Some(i128::from(half(0) | half(16) << 16))
        };
        check(&format!("add.{name}"), &[32; 2], 32, |x| halves(x, |a, b| a + b));
        check(&format!("min.{name}"), &[32; 2], 32, |x| halves(x, i128::min));
        check(&format!("max.{name}"), &[32; 2], 32, |x| halves(x, i128::max));
        if signed {
            check("min.relu.s16x2", &[32; 2], 32, |x| halves(x, |a, b| a.min(b).max(0)));
            check("max.relu.s16x2", &[32; 2], 32, |x| halves(x, |a, b| a.max(b).max(0)));
        }
    }
}

#[test]
fn masks_and_packed_saturation_equal_their_definitions() {
    let ones = |count: u64| (1i128 << count.min(64)) - 1;
    check("bmsk.clamp.b32", &[32; 2], 32, |x| Some(if x[0] > 31 { 0 } else { ones(x[1]) << x[0] }));
    check("bmsk.wrap.b32", &[32; 2], 32, |x| Some(ones(x[1] % 32) << (x[0] % 32)));
    for (name, signed) in [("u32", false), ("s32", true)] {
        let extend = |value: u64, length: u64| match length {
            0 => 0,
            length => {
                let low = i128::from(value) & ones(length);
                if signed && low >> (length - 1) == 1 { low - (1 << length) } else { low }
            }
        };
        check(&format!("szext.wrap.{name}"), &[32; 2], 32, |x| Some(extend(x[0], x[1] % 32)));
        check(&format!("szext.clamp.{name}"), &[32; 2], 32, |x| Some(extend(x[0], x[1].min(32))));
    }
    for (name, bits, signed) in
        [("u8", 8, false), ("s8", 8, true), ("u4", 4, false), ("s4", 4, true), ("u2", 2, false), ("s2", 2, true)]
    {
        let ty = Integer { name, bits, signed };
        let part = |x: u64| ty.clamp(TYPES[3].value(x)) & ones(bits.into());
        check(&format!("cvt.pack.sat.{name}.s32.b32"), &[32; 3], 32, |x| {
            Some(part(x[1]) | part(x[0]) << bits | i128::from(x[2]) << (2 * bits))
        });
    }
    for ty in &TYPES[..2] {
        let part = |x: u64| ty.clamp(TYPES[3].value(x)) & 0xffff;
        check(&format!("cvt.pack.sat.{}.s32", ty.name), &[32; 2], 32, |x| Some(part(x[1]) | part(x[0]) << 16));
    }
}
