//! What each instruction computes, in plain Rust.

use half::{bf16, f16};

/// What an operation computes from three 64-bit inputs.
pub(crate) type Reference = fn(u64, u64, u64) -> u64;

/// An operation: PTX with `{d}`, `{a}`, `{b}`, `{c}`; bits of each; its definition.
pub(crate) struct Case(pub(crate) &'static str, pub(crate) [u32; 4], pub(crate) Reference);

pub(crate) const W: [u32; 4] = [32; 4];
pub(crate) const D: [u32; 4] = [64; 4];
pub(crate) const H: [u32; 4] = [16; 4];

pub(crate) fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}
pub(crate) fn g(bits: u64) -> f64 {
    f64::from_bits(bits)
}
pub(crate) fn w(value: f32) -> u64 {
    u64::from(value.to_bits())
}
pub(crate) fn flag(value: bool) -> u64 {
    u64::from(value)
}
pub(crate) fn pair(a: u64, b: u64, op: fn(f16, f16) -> f16) -> u64 {
    let half = |bits: u64, shift: u32| f16::from_bits((bits >> shift) as u16);
    u64::from(op(half(a, 0), half(b, 0)).to_bits()) | u64::from(op(half(a, 16), half(b, 16)).to_bits()) << 16
}
pub(crate) fn brain(a: u64, b: u64, op: fn(f32, f32) -> f32) -> u64 {
    let half = |bits: u64, shift: u32| bf16::from_bits((bits >> shift) as u16).to_f32();
    let one = |shift| u64::from(bf16::from_f32(op(half(a, shift), half(b, shift))).to_bits());
    one(0) | one(16) << 16
}
/// The sum rounded to odd, so that rounding it again to fewer bits rounds it once.
pub(crate) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    if !sum.is_finite() || error == 0.0 {
        return sum;
    }
    let below = if (error < 0.0) == (sum < 0.0) { sum.to_bits() } else { sum.to_bits() - 1 };
    f64::from_bits(below | 1)
}
pub(crate) fn bytes(value: u64) -> [i32; 4] {
    (value as u32).to_le_bytes().map(i32::from)
}
pub(crate) fn signed_bytes(value: u64) -> [i32; 4] {
    (value as u32).to_le_bytes().map(|byte| i32::from(byte as i8))
}
pub(crate) fn prmt(a: u64, b: u64, control: u64) -> u64 {
    let pool = (a & 0xffff_ffff) | b << 32;
    (0..4).fold(0, |result, i| {
        let pick = control >> (4 * i);
        let byte = pool >> (8 * (pick & 7)) & 0xff;
        let byte = if pick & 8 == 0 {
            byte
        } else if byte & 0x80 == 0 {
            0
        } else {
            0xff
        };
        result | byte << (8 * i)
    })
}
pub(crate) fn bfe(value: i128, bits: u32, position: u64, length: u64, sign: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let bit = |at: u64| if at < u64::from(bits) { value >> at & 1 } else { 0 };
    let last = (position + length).saturating_sub(1).min(u64::from(bits) - 1);
    let fill = if sign && length > 0 { bit(last) } else { 0 };
    (0..u64::from(bits)).fold(0, |result, i| {
        let at = position + i;
        let value = if i < length && at < u64::from(bits) { bit(at) } else { fill };
        result | (value as u64) << i
    })
}
pub(crate) fn bfi(a: u64, b: u64, position: u64, length: u64, bits: u64) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    (0..bits).fold(0, |result, i| {
        let inside = i >= position && i - position < length;
        result | (if inside { a >> (i - position) } else { b >> i } & 1) << i
    })
}

#[rustfmt::skip]
pub(crate) const INTEGERS: &[Case] = &[
    Case("add.s32 {d}, {a}, {b};", W, |a, b, _| a.wrapping_add(b)),
    Case("sub.u32 {d}, {a}, {b};", W, |a, b, _| a.wrapping_sub(b)),
    Case("add.u16 {d}, {a}, {b};", H, |a, b, _| a.wrapping_add(b)),
    Case("sub.s16 {d}, {a}, {b};", H, |a, b, _| a.wrapping_sub(b)),
    Case("add.s64 {d}, {a}, {b};", D, |a, b, _| a.wrapping_add(b)),
    Case("sub.u64 {d}, {a}, {b};", D, |a, b, _| a.wrapping_sub(b)),
    Case("add.sat.s32 {d}, {a}, {b};", W, |a, b, _| (a as i32).saturating_add(b as i32) as u64),
    Case("sub.sat.s32 {d}, {a}, {b};", W, |a, b, _| (a as i32).saturating_sub(b as i32) as u64),
    Case("mul.lo.s16 {d}, {a}, {b};", H, |a, b, _| a.wrapping_mul(b)),
    Case("mul.hi.s16 {d}, {a}, {b};", H, |a, b, _| (i32::from(a as i16) * i32::from(b as i16) >> 16) as u64),
    Case("mul.hi.u16 {d}, {a}, {b};", H, |a, b, _| u64::from(a as u16) * u64::from(b as u16) >> 16),
    Case("mul.lo.u32 {d}, {a}, {b};", W, |a, b, _| a.wrapping_mul(b)),
    Case("mul.hi.s32 {d}, {a}, {b};", W, |a, b, _| (i64::from(a as i32) * i64::from(b as i32) >> 32) as u64),
    Case("mul.hi.u32 {d}, {a}, {b};", W, |a, b, _| u64::from(a as u32) * u64::from(b as u32) >> 32),
    Case("mul.lo.u64 {d}, {a}, {b};", D, |a, b, _| a.wrapping_mul(b)),
    Case("mul.hi.u64 {d}, {a}, {b};", D, |a, b, _| (u128::from(a) * u128::from(b) >> 64) as u64),
    Case("mul.hi.s64 {d}, {a}, {b};", D, |a, b, _| (i128::from(a as i64) * i128::from(b as i64) >> 64) as u64),
    Case("mul.wide.s16 {d}, {a}, {b};", [32, 16, 16, 16], |a, b, _| (i32::from(a as i16) * i32::from(b as i16)) as u64),
    Case("mul.wide.u16 {d}, {a}, {b};", [32, 16, 16, 16], |a, b, _| u64::from(a as u16) * u64::from(b as u16)),
    Case("mul.wide.s32 {d}, {a}, {b};", [64, 32, 32, 32], |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64),
    Case("mul.wide.u32 {d}, {a}, {b};", [64, 32, 32, 32], |a, b, _| u64::from(a as u32) * u64::from(b as u32)),
    Case("mad.wide.s32 {d}, {a}, {b}, {c};", [64, 32, 32, 64], |a, b, c| (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64) as u64),
    Case("mad.wide.u16 {d}, {a}, {b}, {c};", [32, 16, 16, 32], |a, b, c| (u64::from(a as u16) * u64::from(b as u16)).wrapping_add(c)),
    Case("mad.lo.s32 {d}, {a}, {b}, {c};", W, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
    Case("mad.hi.u32 {d}, {a}, {b}, {c};", W, |a, b, c| (u64::from(a as u32) * u64::from(b as u32) >> 32).wrapping_add(c)),
    Case("mad.lo.u16 {d}, {a}, {b}, {c};", H, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
    Case("mad.lo.s64 {d}, {a}, {b}, {c};", D, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
    Case("sad.s32 {d}, {a}, {b}, {c};", W, |a, b, c| u64::from((a as i32).abs_diff(b as i32)).wrapping_add(c)),
    Case("sad.u16 {d}, {a}, {b}, {c};", H, |a, b, c| u64::from((a as u16).abs_diff(b as u16)).wrapping_add(c)),
    Case("div.s32 {d}, {a}, {b};", W, |a, b, _| if b as u32 == 0 { u64::MAX } else { (a as i32).wrapping_div(b as i32) as u64 }),
    Case("div.u32 {d}, {a}, {b};", W, |a, b, _| (a as u32).checked_div(b as u32).unwrap_or(u32::MAX).into()),
    Case("rem.s32 {d}, {a}, {b};", W, |a, b, _| if b as u32 == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u64 }),
    Case("div.u64 {d}, {a}, {b};", D, |a, b, _| a.checked_div(b).unwrap_or(u64::MAX)),
    Case("rem.u64 {d}, {a}, {b};", D, |a, b, _| a.checked_rem(b).unwrap_or(a)),
    Case("div.s64 {d}, {a}, {b};", D, |a, b, _| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 }),
    Case("abs.s32 {d}, {a};", W, |a, _, _| (a as i32).wrapping_abs() as u64),
    Case("abs.s16 {d}, {a};", H, |a, _, _| (a as i16).wrapping_abs() as u64),
    Case("neg.s64 {d}, {a};", D, |a, _, _| (a as i64).wrapping_neg() as u64),
    Case("min.s32 {d}, {a}, {b};", W, |a, b, _| (a as i32).min(b as i32) as u64),
    Case("max.u32 {d}, {a}, {b};", W, |a, b, _| (a as u32).max(b as u32).into()),
    Case("min.s16 {d}, {a}, {b};", H, |a, b, _| (a as i16).min(b as i16) as u64),
    Case("max.u16 {d}, {a}, {b};", H, |a, b, _| (a as u16).max(b as u16).into()),
    Case("max.s64 {d}, {a}, {b};", D, |a, b, _| (a as i64).max(b as i64) as u64),
    Case("min.u64 {d}, {a}, {b};", D, |a, b, _| a.min(b)),
    Case("and.b16 {d}, {a}, {b};", H, |a, b, _| a & b),
    Case("not.b16 {d}, {a};", H, |a, _, _| !a),
    Case("xor.b64 {d}, {a}, {b};", D, |a, b, _| a ^ b),
    Case("cnot.b32 {d}, {a};", W, |a, _, _| flag(a as u32 == 0)),
    Case("shl.b32 {d}, {a}, {b};", W, |a, b, _| (a as u32).checked_shl(b as u32).unwrap_or(0).into()),
    Case("shr.u32 {d}, {a}, {b};", W, |a, b, _| (a as u32).checked_shr(b as u32).unwrap_or(0).into()),
    Case("shr.s32 {d}, {a}, {b};", W, |a, b, _| ((a as i32) >> (b as u32).min(31)) as u64),
    Case("shl.b64 {d}, {a}, {b};", [64, 64, 32, 32], |a, b, _| a.checked_shl(b as u32).unwrap_or(0)),
    Case("shr.u64 {d}, {a}, {b};", [64, 64, 32, 32], |a, b, _| a.checked_shr(b as u32).unwrap_or(0)),
    Case("shr.s64 {d}, {a}, {b};", [64, 64, 32, 32], |a, b, _| ((a as i64) >> (b as u32).min(63)) as u64),
    Case("shl.b16 {d}, {a}, {b};", [16, 16, 32, 32], |a, b, _| if b as u32 > 15 { 0 } else { a << b as u32 }),
    Case("shr.s16 {d}, {a}, {b};", [16, 16, 32, 32], |a, b, _| ((a as i16) >> (b as u32).min(15)) as u64),
    Case("shf.l.wrap.b32 {d}, {a}, {b}, {c};", W, |a, b, c| ((b << 32 | a & 0xffff_ffff) << (c & 31)) >> 32),
    Case("shf.r.wrap.b32 {d}, {a}, {b}, {c};", W, |a, b, c| (b << 32 | a & 0xffff_ffff) >> (c & 31)),
    Case("shf.l.clamp.b32 {d}, {a}, {b}, {c};", W, |a, b, c| ((u128::from(b as u32) << 32 | u128::from(a as u32)) << (c as u32).min(32) >> 32) as u64),
    Case("shf.r.clamp.b32 {d}, {a}, {b}, {c};", W, |a, b, c| (b << 32 | a & 0xffff_ffff) >> (c as u32).min(32)),
    Case("lop3.b32 {d}, {a}, {b}, {c}, 0xe8;", W, |a, b, c| a & b | b & c | a & c),
    Case("lop3.b32 {d}, {a}, {b}, {c}, 0x1b;", W, |a, b, c| (0..32).fold(0, |d, i| { let index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1; d | (0x1bu64 >> index & 1) << i })),
    Case("prmt.b32 {d}, {a}, {b}, {c};", W, prmt),
    Case("prmt.b32.f4e {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x3210, 0x4321, 0x5432, 0x6543][c as usize & 3])),
    Case("prmt.b32.b4e {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x5670, 0x6701, 0x7012, 0x0123][c as usize & 3])),
    Case("prmt.b32.rc8 {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x0000, 0x1111, 0x2222, 0x3333][c as usize & 3])),
    Case("prmt.b32.ecl {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x3210, 0x3211, 0x3222, 0x3333][c as usize & 3])),
    Case("prmt.b32.ecr {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x0000, 0x1110, 0x2210, 0x3210][c as usize & 3])),
    Case("prmt.b32.rc16 {d}, {a}, {b}, {c};", W, |a, b, c| prmt(a, b, [0x1010, 0x3232, 0x1010, 0x3232][c as usize & 3])),
    Case("bfe.u32 {d}, {a}, {b}, {c};", W, |a, b, c| bfe(i128::from(a as u32), 32, b, c, false)),
    Case("bfe.s32 {d}, {a}, {b}, {c};", W, |a, b, c| bfe(i128::from(a as i32), 32, b, c, true)),
    Case("bfe.s64 {d}, {a}, {b}, {c};", [64, 64, 32, 32], |a, b, c| bfe(i128::from(a as i64), 64, b, c, true)),
    Case("bfe.u64 {d}, {a}, {b}, {c};", [64, 64, 32, 32], |a, b, c| bfe(i128::from(a), 64, b, c, false)),
    Case("bfi.b32 {d}, {a}, {b}, {c}, 7;", W, |a, b, c| bfi(a, b, c, 7, 32)),
    Case("bfi.b64 {d}, {a}, {b}, {c}, 40;", [64, 64, 64, 32], |a, b, c| bfi(a, b, c, 40, 64)),
    Case("popc.b32 {d}, {a};", W, |a, _, _| (a as u32).count_ones().into()),
    Case("popc.b64 {d}, {a};", [32, 64, 64, 64], |a, _, _| a.count_ones().into()),
    Case("clz.b32 {d}, {a};", W, |a, _, _| (a as u32).leading_zeros().into()),
    Case("clz.b64 {d}, {a};", [32, 64, 64, 64], |a, _, _| a.leading_zeros().into()),
    Case("brev.b32 {d}, {a};", W, |a, _, _| (a as u32).reverse_bits().into()),
    Case("brev.b64 {d}, {a};", D, |a, _, _| a.reverse_bits()),
    Case("bfind.u32 {d}, {a};", W, |a, _, _| 31u64.wrapping_sub((a as u32).leading_zeros().into())),
    Case("bfind.shiftamt.u32 {d}, {a};", W, |a, _, _| if a as u32 == 0 { u64::MAX } else { (a as u32).leading_zeros().into() }),
    Case("bfind.s32 {d}, {a};", W, |a, _, _| { let a = a as i32; 31u64.wrapping_sub((a ^ a >> 31).leading_zeros().into()) }),
    Case("bfind.u64 {d}, {a};", [32, 64, 64, 64], |a, _, _| 63u64.wrapping_sub(a.leading_zeros().into())),
    Case("dp4a.u32.u32 {d}, {a}, {b}, {c};", W, |a, b, c| bytes(a).iter().zip(bytes(b)).fold(c as i32, |s, (x, y)| s.wrapping_add(x * y)) as u64),
    Case("dp4a.s32.s32 {d}, {a}, {b}, {c};", W, |a, b, c| signed_bytes(a).iter().zip(signed_bytes(b)).fold(c as i32, |s, (x, y)| s.wrapping_add(x * y)) as u64),
    Case("dp4a.s32.u32 {d}, {a}, {b}, {c};", W, |a, b, c| signed_bytes(a).iter().zip(bytes(b)).fold(c as i32, |s, (x, y)| s.wrapping_add(x * y)) as u64),
    Case("dp2a.lo.s32.s32 {d}, {a}, {b}, {c};", W, |a, b, c| { let b = signed_bytes(b); i32::from(a as i16).wrapping_mul(b[0]).wrapping_add(i32::from((a >> 16) as i16).wrapping_mul(b[1])).wrapping_add(c as i32) as u64 }),
    Case("dp2a.hi.s32.u32 {d}, {a}, {b}, {c};", W, |a, b, c| { let b = bytes(b); i32::from(a as i16).wrapping_mul(b[2]).wrapping_add(i32::from((a >> 16) as i16).wrapping_mul(b[3])).wrapping_add(c as i32) as u64 }),
    // 128-bit sums and differences through the carry.
    Case("add.cc.u32 %r50, {a}, {b}; addc.u32 {d}, {a}, {c};", W, |a, b, c| a.wrapping_add(c).wrapping_add((u64::from(a as u32) + u64::from(b as u32)) >> 32)),
    Case("sub.cc.u32 %r50, {a}, {b}; subc.u32 {d}, {a}, {c};", W, |a, b, c| a.wrapping_sub(c).wrapping_sub(flag((a as u32) < b as u32))),
    Case("add.cc.u64 %d30, {a}, {b}; addc.cc.u64 %d30, {c}, {b}; addc.u64 {d}, 0, 0;", D, |a, b, c| { let carry = a.checked_add(b).is_none(); flag(u128::from(c) + u128::from(b) + u128::from(carry) > u128::from(u64::MAX)) }),
    Case("mad.lo.cc.u32 %r50, {a}, {b}, {c}; madc.hi.u32 {d}, {a}, {b}, 5;", W, |a, b, c| { let product = u64::from(a as u32) * u64::from(b as u32); (product >> 32) + 5 + ((product & 0xffff_ffff) + u64::from(c as u32) >> 32) }),
    Case("mad.hi.cc.s32 %r50, {a}, {b}, {c}; addc.u32 {d}, 0, 0;", W, |a, b, c| { let high = (i64::from(a as i32) * i64::from(b as i32) >> 32) as u32; flag(high.checked_add(c as u32).is_none()) }),
    Case("selp.b32 {d}, {a}, {b}, %p8;", W, |a, _, _| a),
    Case("selp.b64 {d}, {a}, {b}, !%p8;", D, |_, b, _| b),
    Case("slct.b32.s32 {d}, {a}, {b}, {c};", W, |a, b, c| if c as i32 >= 0 { a } else { b }),
    Case("slct.b64.f32 {d}, {a}, {b}, {c};", [64, 64, 64, 32], |a, b, c| if f(c) >= 0.0 { a } else { b }),
    Case("fns.b32 {d}, {a}, 0, 1;", W, |a, _, _| if a as u32 == 0 { u64::MAX } else { (a as u32).trailing_zeros().into() }),
    Case("mov.b64 %d30, {{ {a}, {b} }}; mov.b64 {{ {d}, %r50 }}, %d30;", W, |a, _, _| a),
    Case("mov.b32 %r50, {{ {a}, {b} }}; add.u32 {d}, %r50, 0;", [32, 16, 16, 16], |a, b, _| a & 0xffff | (b & 0xffff) << 16),
    Case("cvt.s32.s8 {d}, {a};", W, |a, _, _| i32::from(a as i8) as u64),
    Case("cvt.u64.u16 {d}, {a};", [64, 16, 16, 16], |a, _, _| a & 0xffff),
    Case("cvt.s64.s32 {d}, {a};", [64, 32, 32, 32], |a, _, _| i64::from(a as i32) as u64),
    Case("cvt.u16.u32 {d}, {a};", [16, 32, 32, 32], |a, _, _| a & 0xffff),
    Case("cvt.sat.s8.s32 {d}, {a};", W, |a, _, _| (a as i32).clamp(-128, 127) as u64),
    Case("cvt.sat.u16.s32 {d}, {a};", [16, 32, 32, 32], |a, _, _| (a as i32).clamp(0, 65535) as u64),
    Case("cvt.sat.s32.u64 {d}, {a};", [32, 64, 64, 64], |a, _, _| a.min(i32::MAX as u64)),
    Case("setp.lo.u32 %p1, {a}, {b}; selp.u32 {d}, 1, 0, %p1;", W, |a, b, _| flag((a as u32) < b as u32)),
    Case("setp.ge.s16 %p1, {a}, {b}; selp.u16 {d}, 1, 0, %p1;", H, |a, b, _| flag(a as i16 >= b as i16)),
    Case("setp.hi.u64 %p1, {a}, {b}; selp.u64 {d}, 1, 0, %p1;", D, |a, b, _| flag(a > b)),
    Case("setp.le.s64 %p1, {a}, {b}; selp.u64 {d}, 1, 0, %p1;", D, |a, b, _| flag(a as i64 <= b as i64)),
    Case("setp.ne.b16 %p1, {a}, {b}; selp.u16 {d}, 1, 0, %p1;", H, |a, b, _| flag(a as u16 != b as u16)),
    Case("setp.gt.s32 %p3, {b}, {c}; setp.lt.and.s32 %p1|%p2, {a}, {b}, !%p3; selp.u32 %r50, 1, 0, %p1; selp.u32 %r51, 2, 0, %p2; or.b32 {d}, %r50, %r51;", W, |a, b, c| {
        let (less, third) = ((a as i32) < b as i32, b as i32 > c as i32);
        flag(less && !third) | flag(!less && !third) << 1
    }),
    Case("set.lt.u32.s32 {d}, {a}, {b};", W, |a, b, _| if (a as i32) < b as i32 { u64::MAX } else { 0 }),
];

/// Whether a comparison holds.
pub(crate) type Comparison = fn(f64, f64) -> bool;

#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "an unordered comparison is the negation of an ordered one")]
/// All fourteen comparisons of floats, NaN included, packed into the bits of `{d}`.
pub(crate) const COMPARISONS: [(&str, Comparison); 14] = [
    ("eq", |a, b| a == b),
    ("ne", |a, b| a.partial_cmp(&b).is_some_and(|order| order.is_ne())),
    ("lt", |a, b| a < b),
    ("le", |a, b| a <= b),
    ("gt", |a, b| a > b),
    ("ge", |a, b| a >= b),
    ("equ", |a, b| a.partial_cmp(&b).is_none_or(|order| order.is_eq())),
    ("neu", |a, b| a != b),
    ("ltu", |a, b| !(a >= b)),
    ("leu", |a, b| !(a > b)),
    ("gtu", |a, b| !(a <= b)),
    ("geu", |a, b| !(a < b)),
    ("num", |a, b| !a.is_nan() && !b.is_nan()),
    ("nan", |a, b| a.is_nan() || b.is_nan()),
];

pub(crate) fn compared(a: f64, b: f64) -> u64 {
    COMPARISONS.iter().enumerate().fold(0, |bits, (i, (_, holds))| bits | flag(holds(a, b)) << i)
}

#[rustfmt::skip]
pub(crate) const FLOATS: &[Case] = &[
    Case("add.f32 {d}, {a}, {b};", W, |a, b, _| w(f(a) + f(b))),
    Case("sub.rn.f32 {d}, {a}, {b};", W, |a, b, _| w(f(a) - f(b))),
    Case("mul.f32 {d}, {a}, {b};", W, |a, b, _| w(f(a) * f(b))),
    Case("fma.rn.f32 {d}, {a}, {b}, {c};", W, |a, b, c| w(f(a).mul_add(f(b), f(c)))),
    Case("div.rn.f32 {d}, {a}, {b};", W, |a, b, _| w(f(a) / f(b))),
    Case("sqrt.rn.f32 {d}, {a};", W, |a, _, _| w(f(a).sqrt())),
    Case("rcp.rn.f32 {d}, {a};", W, |a, _, _| w(1.0 / f(a))),
    Case("abs.f32 {d}, {a};", W, |a, _, _| w(f(a).abs())),
    Case("neg.f32 {d}, {a};", W, |a, _, _| w(-f(a))),
    Case("min.f32 {d}, {a}, {b};", W, |a, b, _| w(if f(a) == f(b) { if f(a).is_sign_negative() { f(a) } else { f(b) } } else { f(a).min(f(b)) })),
    Case("max.f32 {d}, {a}, {b};", W, |a, b, _| w(if f(a) == f(b) { if f(a).is_sign_negative() { f(b) } else { f(a) } } else { f(a).max(f(b)) })),
    Case("max.NaN.f32 {d}, {a}, {b};", W, |a, b, _| w(if f(a).is_nan() || f(b).is_nan() { f32::NAN } else if f(a) == f(b) { if f(a).is_sign_negative() { f(b) } else { f(a) } } else { f(a).max(f(b)) })),
    Case("add.sat.f32 {d}, {a}, {b};", W, |a, b, _| { let s = f(a) + f(b); w(if s.is_nan() || s <= 0.0 { 0.0 } else { s.min(1.0) }) }),
    Case("mul.ftz.f32 {d}, {a}, {b};", W, |a, b, _| { let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x }; w(flush(flush(f(a)) * flush(f(b)))) }),
    Case("copysign.f32 {d}, {a}, {b};", W, |a, b, _| w(f(b).copysign(f(a)))),
    Case("add.f64 {d}, {a}, {b};", D, |a, b, _| (g(a) + g(b)).to_bits()),
    Case("mul.f64 {d}, {a}, {b};", D, |a, b, _| (g(a) * g(b)).to_bits()),
    Case("fma.rn.f64 {d}, {a}, {b}, {c};", D, |a, b, c| g(a).mul_add(g(b), g(c)).to_bits()),
    Case("div.rn.f64 {d}, {a}, {b};", D, |a, b, _| (g(a) / g(b)).to_bits()),
    Case("sqrt.rn.f64 {d}, {a};", D, |a, _, _| g(a).sqrt().to_bits()),
    Case("add.f16x2 {d}, {a}, {b};", W, |a, b, _| pair(a, b, |a, b| f16::from_f64(a.to_f64() + b.to_f64()))),
    Case("mul.f16x2 {d}, {a}, {b};", W, |a, b, _| pair(a, b, |a, b| f16::from_f64(a.to_f64() * b.to_f64()))),
    Case("sub.f16 {d}, {a}, {b};", H, |a, b, _| pair(a & 0xffff, b & 0xffff, |a, b| f16::from_f64(a.to_f64() - b.to_f64())) & 0xffff),
    Case("neg.f16x2 {d}, {a};", W, |a, _, _| a ^ 0x8000_8000),
    Case("fma.rn.bf16x2 {d}, {a}, {b}, {c};", W, |a, b, c| {
        let half = |bits: u64, shift: u32| f64::from(bf16::from_bits((bits >> shift) as u16).to_f32());
        let one = |shift| u64::from(bf16::from_f64(sum_to_odd(half(a, shift) * half(b, shift), half(c, shift))).to_bits());
        one(0) | one(16) << 16
    }),
    Case("max.bf16x2 {d}, {a}, {b};", W, |a, b, _| brain(a, b, |a, b| if a == b { if a.is_sign_negative() { b } else { a } } else { a.max(b) })),
    Case("cvt.rn.f16.f32 {d}, {a};", [16, 32, 32, 32], |a, _, _| f16::from_f32(f(a)).to_bits().into()),
    Case("cvt.rn.bf16.f32 {d}, {a};", [16, 32, 32, 32], |a, _, _| bf16::from_f32(f(a)).to_bits().into()),
    Case("cvt.rn.f16x2.f32 {d}, {a}, {b};", W, |a, b, _| u64::from(f16::from_f32(f(b)).to_bits()) | u64::from(f16::from_f32(f(a)).to_bits()) << 16),
    Case("cvt.rn.relu.bf16x2.f32 {d}, {a}, {b};", W, |a, b, _| { let relu = |x: f32| bf16::from_f32(if x <= 0.0 { 0.0 } else { x }).to_bits(); u64::from(relu(f(b))) | u64::from(relu(f(a))) << 16 }),
    Case("cvt.f32.f16 {d}, {a};", [32, 16, 16, 16], |a, _, _| w(f16::from_bits(a as u16).to_f32())),
    Case("cvt.f32.bf16 {d}, {a};", [32, 16, 16, 16], |a, _, _| w(bf16::from_bits(a as u16).to_f32())),
    Case("cvt.f64.f32 {d}, {a};", [64, 32, 32, 32], |a, _, _| f64::from(f(a)).to_bits()),
    Case("cvt.rn.f32.f64 {d}, {a};", [32, 64, 64, 64], |a, _, _| w(g(a) as f32)),
    Case("cvt.rzi.s32.f32 {d}, {a};", W, |a, _, _| if f(a).is_nan() { 0 } else { f(a) as i32 as u64 }),
    Case("cvt.rni.s64.f64 {d}, {a};", D, |a, _, _| if g(a).is_nan() { 1 << 63 } else { g(a).round_ties_even() as i64 as u64 }),
    Case("cvt.rmi.f32.f32 {d}, {a};", W, |a, _, _| w(f(a).floor())),
    Case("cvt.rn.f32.s32 {d}, {a};", W, |a, _, _| w(a as i32 as f32)),
    Case("cvt.rn.f32.u64 {d}, {a};", [32, 64, 64, 64], |a, _, _| w(a as f32)),
    Case("cvt.rn.f64.s64 {d}, {a};", D, |a, _, _| (a as i64 as f64).to_bits()),
    Case("cvt.rn.f16.s32 {d}, {a};", [16, 32, 32, 32], |a, _, _| f16::from_f64(f64::from(a as i32)).to_bits().into()),
    Case("set.gt.f16x2.f16x2 {d}, {a}, {b};", W, |a, b, _| pair(a, b, |a, b| if a > b { f16::ONE } else { f16::ZERO })),
    Case("setp.lt.f16x2 %p1|%p2, {a}, {b}; selp.u32 %r50, 1, 0, %p1; selp.u32 %r51, 2, 0, %p2; or.b32 {d}, %r50, %r51;", W, |a, b, _| {
        let half = |bits: u64, shift: u32| f16::from_bits((bits >> shift) as u16);
        flag(half(a, 0) < half(b, 0)) | flag(half(a, 16) < half(b, 16)) << 1
    }),
];
