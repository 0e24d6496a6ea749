//! Integer operations off the beaten track.

use super::alu::{Active, write32, write64};
use super::traffic::lanes;
use super::value::bits::*;
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
        Code::BfeU64 => field64!(|a: u64, b: u32, c: u32| extract(a, b, c, 64)),
        Code::BfeS64 => {
            field64!(|a: u64, b: u32, c: u32| extract_signed(a as i64, b, c, 64) as u64)
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
        Code::Dp2aLoUU => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, false, false)),
        Code::Dp2aLoSS => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, true, true)),
        Code::Dp2aLoUS => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, false, true)),
        Code::Dp2aLoSU => word!(|a: u32, b: u32, c: u32| dot2(a, b, c, true, false)),
        Code::Dp2aHiUU => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, false, false)),
        Code::Dp2aHiSS => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, true, true)),
        Code::Dp2aHiUS => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, false, true)),
        Code::Dp2aHiSU => word!(|a: u32, b: u32, c: u32| dot2(a, b >> 16, c, true, false)),
        Code::Fns => word!(find_nth_set),
        Code::AddU16x2 => word!(|a: u32, b: u32, _| halves(a, b, u16::wrapping_add)),
        Code::MinU16x2 => word!(|a: u32, b: u32, _| halves(a, b, u16::min)),
        Code::MaxU16x2 => word!(|a: u32, b: u32, _| halves(a, b, u16::max)),
        Code::MinS16x2 => word!(|a: u32, b: u32, _| halves(a, b, |a, b| (a as i16).min(b as i16) as u16)),
        Code::MaxS16x2 => word!(|a: u32, b: u32, _| halves(a, b, |a, b| (a as i16).max(b as i16) as u16)),
        Code::BmskClamp => word!(|a: u32, b: u32, _| bit_mask::<true>(a, b)),
        Code::BmskWrap => word!(|a: u32, b: u32, _| bit_mask::<false>(a, b)),
        Code::SzextU => word!(|a: u32, b: u32, _| extend(a, b, false, op.aux == 1)),
        Code::SzextS => word!(|a: u32, b: u32, _| extend(a, b, true, op.aux == 1)),
        Code::CvtPack => word!(|a: u32, b: u32, c: u32| convert_and_pack(a, b, c, op.imm as u32, op.aux == 1)),
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
        Code::AddCarry64 | Code::SubCarry64 | Code::MadCarryLo64 | Code::MadCarryHiU64 | Code::MadCarryHiS64 => {
            carry64(warp, op, active)
        }
        _ => return false,
    }
    true
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
    let is_mad = !matches!(op.code, Code::AddCarry64 | Code::SubCarry64);
    let c = if is_mad { *warp.registers.double(op.c) } else { [0; 32] };
    let mut carry = 0;
    let mut result = [0; 32];
    for lane in lanes(active.mask) {
        let into = op.aux & 1 == 1 && warp.carry >> lane & 1 == 1;
        let (x, y) = (a[lane], b[lane]);
        let (first, second) = match op.code {
            Code::AddCarry64 | Code::SubCarry64 => (x, y),
            Code::MadCarryLo64 => (x.wrapping_mul(y), c[lane]),
            Code::MadCarryHiU64 => ((u128::from(x) * u128::from(y) >> 64) as u64, c[lane]),
            _ => ((i128::from(x as i64) * i128::from(y as i64) >> 64) as u64, c[lane]),
        };
        let (sum, over) = if op.code == Code::SubCarry64 {
            let (part, first_over) = first.overflowing_sub(second);
            let (whole, second_over) = part.overflowing_sub(u64::from(into));
            (whole, first_over | second_over)
        } else {
            let (part, first_over) = first.overflowing_add(second);
            let (whole, second_over) = part.overflowing_add(u64::from(into));
            (whole, first_over | second_over)
        };
        result[lane] = sum;
        carry |= u32::from(over) << lane;
    }
    write64::<false>(&mut warp.registers, op.d, &result, active);
    if op.aux & 2 != 0 {
        warp.carry = warp.carry & !active.mask | carry;
    }
}
