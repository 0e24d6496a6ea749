//! Logic, shifts, permutations and moves.

use super::{
    super::{
        Modifier::*,
        Opcode,
        Pipe::{Alu, Move},
        Row,
        rules::*,
    },
    B16_32_64, row,
};
use crate::ptx::ast::Type::{self, *};

const PREDICATE: &[&[Type]] = &[&[Pred]];
const SHIFTS_RIGHT: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64];
const MOVES: &[Type] = &[B16, B32, B64, B128, U16, U32, U64, S16, S32, S64, F32, F64];
const ADDRESS_SPACE: Group = one(&[Global, Shared, Local, Const, Param]);
const TO_TYPES: &[&[Type]] = &[&[U64]];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::And, "and", &[], PREDICATE, &[D_PRED, P, P], Alu, "d = a and b"),
    row(Opcode::Or, "or", &[], PREDICATE, &[D_PRED, P, P], Alu, "d = a or b"),
    row(Opcode::Xor, "xor", &[], PREDICATE, &[D_PRED, P, P], Alu, "d = a unequal b"),
    row(Opcode::Not, "not", &[], PREDICATE, &[D_PRED, P], Alu, "d = not a"),
    row(Opcode::And, "and", &[], &[B16_32_64], &[D, S, S], Alu, "d = a & b"),
    row(Opcode::Or, "or", &[], &[B16_32_64], &[D, S, S], Alu, "d = a | b"),
    row(Opcode::Xor, "xor", &[], &[B16_32_64], &[D, S, S], Alu, "d = a ^ b"),
    row(Opcode::Not, "not", &[], &[B16_32_64], &[D, S], Alu, "d = ~a"),
    row(Opcode::Cnot, "cnot", &[], &[B16_32_64], &[D, S], Alu, "d = 1 if a is zero, else 0"),
    row(Opcode::Shl, "shl", &[], &[B16_32_64], &[D, S, S_U32], Alu, "d = a << b; zero where b reaches the width"),
    row(Opcode::Shr, "shr", &[], &[SHIFTS_RIGHT], &[D, S, S_U32], Alu, "d = a >> b, filled with the sign if signed; b is clamped to the width"),
    row(Opcode::Shf, "shf", &[one(&[L, R]), one(&[Clamp, Wrap])], &[&[B32]], &[D, S, S, S_U32], Alu, "d = 32 bits of (b, a) shifted by c"),
    row(Opcode::Lop3, "lop3", &[], &[&[B32]], &[D, S, S, S, fixed(Kind::Immediate(0, 255), U32)], Alu, "d = the logic function of a, b, c with this truth table"),
    row(Opcode::Lop3, "lop3", &[one(&[And, Or])], &[&[B32]], &[OperandRule::new(Kind::WriteBoth, Typing::Of(0)), S, S, S, fixed(Kind::Immediate(0, 255), U32), P], Alu, "d = the logic function of a, b, c with this truth table; p = (d is not zero) combined with the last operand"),
    row(Opcode::Prmt, "prmt", &[optional(&[ModeF4e, ModeB4e, ModeRc8, ModeEcl, ModeEcr, ModeRc16]).after_types()], &[&[B32]], &[D, S, S, S], Alu, "d = four bytes picked from a and b"),
    row(Opcode::Mov, "mov", &[], PREDICATE, &[D_PRED, P], Move, "d = a"),
    row(Opcode::Mov, "mov", &[], &[MOVES], &[fixed_to_type(Kind::WriteOrUnpack), fixed_to_type(Kind::ReadOrPack)], Move, "d = a: a register, a constant, a special register, an address, or parts put together or taken apart"),
    row(Opcode::Cvta, "cvta", &[ADDRESS_SPACE], TO_TYPES, &[D, fixed_to_type(Kind::ReadOrSymbol)], Move, "d = generic address of a, an address in the space"),
    row(Opcode::Cvta, "cvta", &[all(&[To]), ADDRESS_SPACE], TO_TYPES, &[D, fixed_to_type(Kind::ReadOrSymbol)], Move, "d = address in the space of a, a generic address"),
    row(Opcode::Isspacep, "isspacep", &[ADDRESS_SPACE], &[], &[D_PRED, fixed(Kind::Read, U64)], Alu, "d = whether the generic address a lies in the space"),
];

/// An operand of the first type.
const fn fixed_to_type(kind: Kind) -> OperandRule {
    OperandRule::new(kind, Typing::Of(0))
}
