//! Integer operations off the beaten track.

use super::alu::{Active, write32, write64};
use super::traffic::lanes;
use super::warp::Warp;
use crate::program::op::{Code, Op};

/// Executes an integer operation; `false` for any other.
///
/// Compiled once, for the least host: these are too rare to pay for a copy a level.
pub(super) fn execute(warp: &mut Warp, op: &Op, active: &Active) -> bool {
    let registers = &mut warp.registers;
    macro_rules! word {
        ($f:expr) => {{
            let (a, b, c) = (registers.word(op.a), registers.word(op.b), registers.word(op.c));
            let mut result = [0u32; 32];
            for i in 0..32 {
                result[i] = $f(a[i], b[i], c[i]);
            }
            write32::<false>(registers, op.d, &result, active);
        }};
    }
    macro_rules! double {
        ($f:expr) => {{
            let (a, b) = (registers.double(op.a), registers.double(op.b));
            let mut result = [0u64; 32];
            for i in 0..32 {
                result[i] = $f(a[i], b[i]);
            }
            write64::<false>(registers, op.d, &result, active);
        }};
    }
    // A count or position of a 64-bit value.
    macro_rules! narrow {
        ($f:expr) => {{
            let a = registers.double(op.a);
            let mut result = [0u32; 32];
            for i in 0..32 {
                result[i] = $f(a[i]);
            }
            write32::<false>(registers, op.d, &result, active);
        }};
    }
    // A 64-bit value with two 32-bit operands.
    macro_rules! field64 {
        ($f:expr) => {{
            let (a, b, c) = (registers.double(op.a), registers.word(op.b), registers.word(op.c));
            let mut result = [0u64; 32];
            for i in 0..32 {
                result[i] = $f(a[i], b[i], c[i]);
            }
            write64::<false>(registers, op.d, &result, active);
        }};
    }
    match op.code {
        Code::MulHiS32 => {
            word!(|a: u32, b: u32, _| (i64::from(a as i32) * i64::from(b as i32) >> 32) as u32)
        }
        Code::ShfL => word!(|a: u32, b: u32, c: u32| funnel_left(a, b, c & 31)),
        Code::ShfR => word!(|a: u32, b: u32, c: u32| funnel_right(a, b, c & 31)),
        Code::ShfLClamp => word!(|a: u32, b: u32, c: u32| funnel_left(a, b, c.min(32))),
        Code::ShfRClamp => word!(|a: u32, b: u32, c: u32| funnel_right(a, b, c.min(32))),
        Code::BfeU32 => word!(|a: u32, b: u32, c: u32| extract(u64::from(a), b, c, 32) as u32),
        Code::BfeS32 => {
            word!(|a: u32, b: u32, c: u32| extract_signed(i64::from(a as i32), b, c, 32) as u32)
        }
        Code::BfeU64 => field64!(|a: u64, b: u32, c: u32| extract(a, b, c, 64)),
        Code::BfeS64 => {
            field64!(|a: u64, b: u32, c: u32| extract_signed(a as i64, b, c, 64) as u64)
        }
        Code::Bfi32 => {
            let length = *registers.word(op.aux);
            let (a, b, c) = (registers.word(op.a), registers.word(op.b), registers.word(op.c));
            let mut result = [0u32; 32];
            for i in 0..32 {
                result[i] = insert(u64::from(a[i]), u64::from(b[i]), c[i], length[i], 32) as u32;
            }
            write32::<false>(registers, op.d, &result, active);
        }
        Code::Bfi64 => {
            let length = *registers.word(op.aux);
            let (a, b, c) = (registers.double(op.a), registers.double(op.b), registers.word(op.c));
            let mut result = [0u64; 32];
            for i in 0..32 {
                result[i] = insert(a[i], b[i], c[i], length[i], 64);
            }
            write64::<false>(registers, op.d, &result, active);
        }
        Code::BfindU32 => word!(|a: u32, _, _| position(u64::from(a))),
        Code::BfindS32 => {
            word!(|a: u32, _, _| position(u64::from(if (a as i32) < 0 { !a } else { a })))
        }
        Code::BfindShiftU32 => word!(|a: u32, _, _| shift_amount(position(u64::from(a)), 31)),
        Code::BfindShiftS32 => {
            word!(|a: u32, _, _| shift_amount(position(u64::from(if (a as i32) < 0 { !a } else { a })), 31))
        }
        Code::BfindU64 => narrow!(position),
        Code::BfindS64 => narrow!(|a: u64| position(if (a as i64) < 0 { !a } else { a })),
        Code::BfindShiftU64 => narrow!(|a: u64| shift_amount(position(a), 63)),
        Code::BfindShiftS64 => {
            narrow!(|a: u64| shift_amount(position(if (a as i64) < 0 { !a } else { a }), 63))
        }
        Code::Brev32 => word!(|a: u32, _, _| a.reverse_bits()),
        Code::Popc32 => word!(|a: u32, _, _| a.count_ones()),
        Code::Clz32 => word!(|a: u32, _, _| a.leading_zeros()),
        Code::Popc64 => narrow!(|a: u64| a.count_ones()),
        Code::Clz64 => narrow!(|a: u64| a.leading_zeros()),
        Code::Brev64 => double!(|a: u64, _| a.reverse_bits()),
        Code::Prmt => word!(permute),
        Code::PrmtMode => word!(|a: u32, b: u32, c: u32| permute(a, b, selector(op.aux, c & 3))),
        // Division by zero gives all ones on the chip; the remainder is the dividend.
        Code::DivU32 => word!(|a: u32, b: u32, _| a.checked_div(b).unwrap_or(u32::MAX)),
        Code::RemU32 => word!(|a: u32, b: u32, _| a.checked_rem(b).unwrap_or(a)),
        Code::DivS32 => {
            word!(|a: u32, b: u32, _| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 })
        }
        Code::RemS32 => word!(|a: u32, b: u32, _| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 }),
        Code::DivU64 => double!(|a: u64, b: u64| a.checked_div(b).unwrap_or(u64::MAX)),
        Code::RemU64 => double!(|a: u64, b: u64| a.checked_rem(b).unwrap_or(a)),
        Code::DivS64 => {
            double!(|a: u64, b: u64| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 })
        }
        Code::RemS64 => double!(|a: u64, b: u64| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }),
        Code::SadU32 => word!(|a: u32, b: u32, c: u32| c.wrapping_add(a.abs_diff(b))),
        Code::SadS32 => {
            word!(|a: u32, b: u32, c: u32| c.wrapping_add((a as i32).abs_diff(b as i32)))
        }
        Code::AddSat32 => word!(|a: u32, b: u32, _| (a as i32).saturating_add(b as i32) as u32),
        Code::SubSat32 => word!(|a: u32, b: u32, _| (a as i32).saturating_sub(b as i32) as u32),
        Code::Dp4aUU => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, false)),
        Code::Dp4aSS => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, true)),
        Code::Dp4aUS => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, true)),
        Code::Dp4aSU => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, false)),
        Code::Dp2aLoUU => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, false, false)),
        Code::Dp2aLoSS => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, true, true)),
        Code::Dp2aLoUS => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, false, true)),
        Code::Dp2aLoSU => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, true, false)),
        Code::Dp2aHiUU => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, false, false)),
        Code::Dp2aHiSS => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, true, true)),
        Code::Dp2aHiUS => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, false, true)),
        Code::Dp2aHiSU => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, true, false)),
        Code::Fns => word!(find_nth_set),
        Code::MinS64 => double!(|a: u64, b: u64| (a as i64).min(b as i64) as u64),
        Code::MinU64 => double!(u64::min),
        Code::MaxS64 => double!(|a: u64, b: u64| (a as i64).max(b as i64) as u64),
        Code::MaxU64 => double!(u64::max),
        Code::Not64 => double!(|a: u64, _| !a),
        Code::MulHiU64 => double!(|a: u64, b: u64| (u128::from(a) * u128::from(b) >> 64) as u64),
        Code::MulHiS64 => {
            double!(|a: u64, b: u64| (i128::from(a as i64) * i128::from(b as i64) >> 64) as u64)
        }
        Code::ClampS | Code::ClampU => {
            let bits = op.imm as u32;
            word!(|a: u32, _, _| if op.code == Code::ClampS {
                (a as i32).clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as u32
            } else {
                a.min((1 << bits) - 1)
            });
        }
        Code::ClampS64 | Code::ClampU64 => {
            let (bits, signed_source) = (op.imm as u32, op.aux == 1);
            double!(|a: u64, _| clamp64(a, bits, op.code == Code::ClampS64, signed_source));
        }
        Code::AddCarry | Code::SubCarry | Code::MadCarryLo | Code::MadCarryHiU | Code::MadCarryHiS => {
            carry32(warp, op, active);
        }
        Code::AddCarry64 | Code::SubCarry64 => carry64(warp, op, active),
        _ => return false,
    }
    true
}

fn funnel_left(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) << amount >> 32) as u32
}

fn funnel_right(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) >> amount) as u32
}

/// `bfe`: position and length are taken modulo 256; bits beyond the value are zero.
fn extract(value: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 || position >= width {
        return 0;
    }
    let shifted = value >> position;
    if length >= 64 { shifted } else { shifted & ((1 << length) - 1) }
}

/// Signed `bfe`: bits beyond the value, and above the field, are copies of the sign of the field.
fn extract_signed(value: i64, position: u32, length: u32, width: u32) -> i64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let sign = value >> (position + length - 1).min(width - 1) & 1;
    let mut result = 0i64;
    for bit in 0..width {
        let source = position + bit;
        let value = if bit < length && source < width { value >> source & 1 } else { sign };
        result |= value << bit;
    }
    result
}

fn insert(field: u64, into: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if position >= width || length == 0 {
        return into;
    }
    let mask = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    into & !(mask << position) | (field & mask) << position
}

/// Position of the highest set bit; all ones when there is none.
fn position(value: u64) -> u32 {
    if value == 0 { u32::MAX } else { 63 - value.leading_zeros() }
}

fn shift_amount(position: u32, top: u32) -> u32 {
    if position == u32::MAX { position } else { top - position }
}

/// `prmt`: each selector nibble picks a byte of {b, a}; its top bit replicates that byte's sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |result, i| {
        let nibble = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (nibble & 7)) & 0xff) as u32;
        let byte = if nibble & 8 == 0 {
            byte
        } else if byte & 0x80 != 0 {
            0xff
        } else {
            0
        };
        result | byte << (8 * i)
    })
}

/// The selector of a `prmt` mode (f4e, b4e, rc8, ecl, ecr, rc16) for control c.
fn selector(mode: u16, c: u32) -> u32 {
    let table: [[u32; 4]; 6] = [
        [0x3210, 0x4321, 0x5432, 0x6543],
        [0x5670, 0x6701, 0x7012, 0x0123],
        [0x0000, 0x1111, 0x2222, 0x3333],
        [0x3210, 0x3211, 0x3222, 0x3333],
        [0x0000, 0x1110, 0x2210, 0x3210],
        [0x1010, 0x3232, 0x1010, 0x3232],
    ];
    table[usize::from(mode).min(5)][c as usize]
}

fn part(value: u32, shift: u32, bits: u32, signed: bool) -> i32 {
    let field = value >> shift << (32 - bits);
    if signed { field as i32 >> (32 - bits) } else { (field >> (32 - bits)) as i32 }
}

fn dot4(a: u32, b: u32, c: u32, signed_a: bool, signed_b: bool) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add((part(a, 8 * i, 8, signed_a) * part(b, 8 * i, 8, signed_b)) as u32))
}

/// Two 16-bit values of a with the two low bytes of b.
fn dot2(a: u32, b: u32, c: u32, signed_a: bool, signed_b: bool) -> u32 {
    (0..2).fold(c, |sum, i| sum.wrapping_add((part(a, 16 * i, 16, signed_a) * part(b, 8 * i, 8, signed_b)) as u32))
}

/// `fns`: position of the n-th set bit of `mask` from `base` upwards (n > 0), downwards (n < 0), or at it (n = 0).
fn find_nth_set(mask: u32, base: u32, offset: u32) -> u32 {
    let (base, offset) = (base as i32, offset as i32);
    let set = |position: i32| mask >> position & 1 == 1;
    if offset == 0 {
        return if (0..32).contains(&base) && set(base) { base as u32 } else { u32::MAX };
    }
    let (step, mut left) = (offset.signum(), offset.abs());
    let mut at = base;
    while (0..32).contains(&at) {
        if set(at) {
            left -= 1;
            if left == 0 {
                return at as u32;
            }
        }
        at += step;
    }
    u32::MAX
}

fn clamp64(value: u64, bits: u32, signed: bool, signed_source: bool) -> u64 {
    let value = if signed_source { i128::from(value as i64) } else { i128::from(value) };
    let (low, high) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    value.clamp(low, high) as u64
}

fn carry32(warp: &mut Warp, op: &Op, active: &Active) {
    let (a, b, c) = (*warp.registers.word(op.a), *warp.registers.word(op.b), *warp.registers.word(op.c));
    let mut carry = 0;
    let mut result = [0; 32];
    for lane in lanes(active.mask) {
        let into = if op.aux & 1 == 1 { u64::from(warp.carry >> lane & 1) } else { 0 };
        let (x, y) = (u64::from(a[lane]), u64::from(b[lane]));
        let sum = match op.code {
            Code::AddCarry => x + y + into,
            // The carry of a subtraction is its borrow.
            Code::SubCarry => x.wrapping_sub(y).wrapping_sub(into) & 0x1_ffff_ffff,
            Code::MadCarryLo => (x * y & 0xffff_ffff) + u64::from(c[lane]) + into,
            Code::MadCarryHiU => (x * y >> 32) + u64::from(c[lane]) + into,
            _ => {
                u64::from((i64::from(a[lane] as i32) * i64::from(b[lane] as i32) >> 32) as u32)
                    + u64::from(c[lane])
                    + into
            }
        };
        result[lane] = sum as u32;
        carry |= ((sum >> 32 & 1) as u32) << lane;
    }
    write32::<false>(&mut warp.registers, op.d, &result, active);
    if op.aux & 2 != 0 {
        warp.carry = warp.carry & !active.mask | carry;
    }
}

fn carry64(warp: &mut Warp, op: &Op, active: &Active) {
    let (a, b) = (*warp.registers.double(op.a), *warp.registers.double(op.b));
    let mut carry = 0;
    let mut result = [0; 32];
    for lane in lanes(active.mask) {
        let into = if op.aux & 1 == 1 { warp.carry >> lane & 1 } else { 0 } == 1;
        let (first, second, over);
        if op.code == Code::AddCarry64 {
            (first, over) = a[lane].overflowing_add(b[lane]);
            second = first.overflowing_add(u64::from(into));
        } else {
            (first, over) = a[lane].overflowing_sub(b[lane]);
            second = first.overflowing_sub(u64::from(into));
        }
        result[lane] = second.0;
        carry |= u32::from(over | second.1) << lane;
    }
    write64::<false>(&mut warp.registers, op.d, &result, active);
    if op.aux & 2 != 0 {
        warp.carry = warp.carry & !active.mask | carry;
    }
}
