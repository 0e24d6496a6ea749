//! Fields of words: shifts of pairs, bit fields, bytes picked, dot products of bytes. What quantised products are made of, so it
//! is compiled for each level, without branches in the lanes.

use super::alu::{Active, write32};
use super::value::bits::*;
use super::warp::Warp;
use crate::program::op::{Code, Op};

/// Executes such an operation; `false` for any other.
#[inline(always)]
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
    match op.code {
        Code::ShfL => word!(|a: u32, b: u32, c: u32| funnel_left(a, b, c & 31)),
        Code::ShfR => word!(|a: u32, b: u32, c: u32| funnel_right(a, b, c & 31)),
        Code::ShfLClamp => word!(|a: u32, b: u32, c: u32| funnel_left(a, b, c.min(32))),
        Code::ShfRClamp => word!(|a: u32, b: u32, c: u32| funnel_right(a, b, c.min(32))),
        Code::BfeU32 => word!(extract_word),
        Code::BfeS32 => word!(extract_signed_word),
        Code::Bfi32 => {
            let length = *registers.word(op.aux);
            let (a, b, c) = (registers.word(op.a), registers.word(op.b), registers.word(op.c));
            let mut result = [0u32; 32];
            for i in 0..32 {
                result[i] = insert_word(a[i], b[i], c[i], length[i]);
            }
            write32::<false>(registers, op.d, &result, active);
        }
        Code::Prmt => word!(permute),
        Code::PrmtMode => word!(|a: u32, b: u32, c: u32| permute(a, b, selector(op.aux, c & 3))),
        Code::Dp4aUU => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, false)),
        Code::Dp4aSS => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, true)),
        Code::Dp4aUS => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, false, true)),
        Code::Dp4aSU => word!(|a: u32, b: u32, c: u32| dot4(a, b, c, true, false)),
        _ => return false,
    }
    true
}
