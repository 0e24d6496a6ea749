//! Integer arithmetic and bit fields.

use super::{
    super::{Modifier::*, Opcode, Pipe::Alu, Row, rules::*},
    B32_64, I16_32_64, I32, I32_64, S16_32_64, row,
};
use crate::ptx::ast::Type;

const CC: Group = optional(&[Cc]);
const LO_HI: Group = one(&[Lo, Hi]);
const PACKED: &[Type] = &[Type::U16x2, Type::S16x2];
const WITH_RELU: &[Type] = &[Type::S32, Type::S16x2];
const CLAMP_WRAP: Group = one(&[Clamp, Wrap]);
const NARROW: &[Type] = &[Type::U16, Type::S16, Type::U32, Type::S32];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Add, "add", &[], &[I16_32_64], &[D, S, S], Alu, "d = a + b"),
    row(Opcode::Add, "add", &[all(&[Sat])], &[&[Type::S32]], &[D, S, S], Alu, "d = a + b, clamped to the range of the type"),
    row(Opcode::Add, "add", &[all(&[Cc])], &[I32_64], &[D, S, S], Alu, "d = a + b; the carry goes to the condition code"),
    row(Opcode::Add, "add", &[], &[PACKED], &[D, S, S], Alu, "d = a + b, each half for itself"),
    row(Opcode::Addc, "addc", &[CC], &[I32_64], &[D, S, S], Alu, "d = a + b + carry"),
    row(Opcode::Sub, "sub", &[], &[I16_32_64], &[D, S, S], Alu, "d = a - b"),
    row(Opcode::Sub, "sub", &[all(&[Sat])], &[&[Type::S32]], &[D, S, S], Alu, "d = a - b, clamped to the range of the type"),
    row(Opcode::Sub, "sub", &[all(&[Cc])], &[I32_64], &[D, S, S], Alu, "d = a - b; the borrow goes to the condition code"),
    row(Opcode::Subc, "subc", &[CC], &[I32_64], &[D, S, S], Alu, "d = a - b - borrow"),
    row(Opcode::Mul, "mul", &[LO_HI], &[I16_32_64], &[D, S, S], Alu, "d = lower or upper half of a * b"),
    row(Opcode::Mul, "mul", &[all(&[Wide])], &[NARROW], &[D_TWICE, S, S], Alu, "d = a * b at twice the width"),
    row(Opcode::Mad, "mad", &[LO_HI], &[I16_32_64], &[D, S, S, S], Alu, "d = half of a * b, plus c"),
    row(Opcode::Mad, "mad", &[all(&[Wide])], &[NARROW], &[D_TWICE, S, S, S_TWICE], Alu, "d = a * b + c at twice the width"),
    row(Opcode::Mad, "mad", &[all(&[Hi, Sat])], &[&[Type::S32]], &[D, S, S, S], Alu, "d = upper half of a * b, plus c, clamped to the range of the type"),
    row(Opcode::Mad, "mad", &[LO_HI, all(&[Cc])], &[I32_64], &[D, S, S, S], Alu, "d = half of a * b, plus c; the carry goes to the condition code"),
    row(Opcode::Madc, "madc", &[LO_HI, CC], &[I32_64], &[D, S, S, S], Alu, "d = half of a * b, plus c, plus carry"),
    row(Opcode::Mul24, "mul24", &[LO_HI], &[I32], &[D, S, S], Alu, "d = bits 0 to 31 or 16 to 47 of the product of the low 24 bits of a and b"),
    row(Opcode::Mad24, "mad24", &[LO_HI], &[I32], &[D, S, S, S], Alu, "d = bits 0 to 31 or 16 to 47 of the product of the low 24 bits of a and b, plus c"),
    row(Opcode::Mad24, "mad24", &[all(&[Hi, Sat])], &[&[Type::S32]], &[D, S, S, S], Alu, "d = bits 16 to 47 of the product of the low 24 bits of a and b, plus c, clamped to the range of the type"),
    row(Opcode::Sad, "sad", &[], &[I16_32_64], &[D, S, S, S], Alu, "d = |a - b| + c"),
    row(Opcode::Div, "div", &[], &[I16_32_64], &[D, S, S], Alu, "d = a / b, rounded towards zero"),
    row(Opcode::Rem, "rem", &[], &[I16_32_64], &[D, S, S], Alu, "d = remainder of a / b, with the sign of a"),
    row(Opcode::Abs, "abs", &[], &[S16_32_64], &[D, S], Alu, "d = |a|"),
    row(Opcode::Neg, "neg", &[], &[S16_32_64], &[D, S], Alu, "d = -a"),
    row(Opcode::Min, "min", &[], &[I16_32_64], &[D, S, S], Alu, "d = the smaller of a and b"),
    row(Opcode::Max, "max", &[], &[I16_32_64], &[D, S, S], Alu, "d = the larger of a and b"),
    row(Opcode::Min, "min", &[], &[PACKED], &[D, S, S], Alu, "d = the smaller of a and b, each half for itself"),
    row(Opcode::Max, "max", &[], &[PACKED], &[D, S, S], Alu, "d = the larger of a and b, each half for itself"),
    row(Opcode::Min, "min", &[all(&[Relu])], &[WITH_RELU], &[D, S, S], Alu, "d = the smaller of a and b, or 0 if that is negative"),
    row(Opcode::Max, "max", &[all(&[Relu])], &[WITH_RELU], &[D, S, S], Alu, "d = the larger of a and b, or 0 if that is negative"),
    row(Opcode::Popc, "popc", &[], &[B32_64], &[D_U32, S], Alu, "d = number of ones in a"),
    row(Opcode::Clz, "clz", &[], &[B32_64], &[D_U32, S], Alu, "d = number of leading zeros of a"),
    row(Opcode::Bfind, "bfind", &[optional(&[Shiftamt])], &[I32_64], &[D_U32, S], Alu, "d = position of the leading non-sign bit of a, or the shift that brings it to the top; all ones if there is none"),
    row(Opcode::Fns, "fns", &[], &[&[Type::B32]], &[D, S, S_B32, fixed(Kind::Read, Type::S32)], Alu, "d = position of the n-th set bit of a, from a base"),
    row(Opcode::Brev, "brev", &[], &[B32_64], &[D, S], Alu, "d = the bits of a in reverse order"),
    row(Opcode::Bmsk, "bmsk", &[CLAMP_WRAP], &[&[Type::B32]], &[D, S_U32, S_U32], Alu, "d = b ones from bit a upwards; position and length clamped, or modulo 32"),
    row(Opcode::Szext, "szext", &[CLAMP_WRAP], &[I32], &[D, S, S_U32], Alu, "d = the low b bits of a, extended by their sign if signed; b clamped, or modulo 32"),
    row(Opcode::Bfe, "bfe", &[], &[I32_64], &[D, S, S_U32, S_U32], Alu, "d = bit field of a, extended by its sign if signed"),
    row(Opcode::Bfi, "bfi", &[], &[B32_64], &[D, S, S, S_U32, S_U32], Alu, "d = b with a bit field replaced by a"),
    row(Opcode::Dp4a, "dp4a", &[], &[I32, I32], &[fixed(Kind::Write, Type::B32), S_B32, S_B32, S_B32], Alu, "d = dot product of four bytes of a and b, plus c"),
    row(Opcode::Dp2a, "dp2a", &[LO_HI], &[I32, I32], &[fixed(Kind::Write, Type::B32), S_B32, S_B32, S_B32], Alu, "d = dot product of two halves of a and two bytes of b, plus c"),
];
