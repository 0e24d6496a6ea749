//! Conversions.

use super::{
    super::{
        Modifier::*,
        Opcode,
        Pipe::{self, Alu, Mufu},
        Row,
        rules::*,
    },
    FTZ, SAT, row,
};
use crate::ptx::ast::Type::{self, *};

const ROUNDING: Group = one(&[Rn, Rz, Rm, Rp]);
const TO_INTEGER: Group = one(&[Rni, Rzi, Rmi, Rpi]);
const TO_INTEGRAL: Group = optional(&[Rni, Rzi, Rmi, Rpi]);
const RELU: Group = optional(&[Relu]);
const INTEGERS: &[Type] = &[U8, U16, U32, U64, S8, S16, S32, S64];
const D_F32X2: &[OperandRule] = &[D_WIDE, S1, S1];
/// A conversion may read and write registers wider than its types.
const WIDE: &[OperandRule] = &[D_WIDE, S1_WIDE];
/// Between integers a special register may be the source, too.
const SPECIAL: &[OperandRule] = &[D_WIDE, OperandRule::new(Kind::ReadOrSpecial, Typing::AtLeast(1))];
const PIPE: Pipe = Mufu;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Cvt, "cvt", &[SAT], &[INTEGERS, INTEGERS], SPECIAL, Alu, "d = a, extended, cut off, or clamped with .sat"),
    row(Opcode::Cvt, "cvt", &[ROUNDING], &[&[F64], INTEGERS], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[ROUNDING], &[&[F16], &[U8, U16, U32, S8, S16, S32]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F32], INTEGERS], WIDE, PIPE, "d = a rounded, clamped to [0, 1] with .sat"),
    row(Opcode::Cvt, "cvt", &[TO_INTEGER, FTZ, SAT], &[INTEGERS, &[F32]], WIDE, PIPE, "d = a rounded to an integer, clamped to the range of the type"),
    row(Opcode::Cvt, "cvt", &[TO_INTEGER, SAT], &[INTEGERS, &[F16, Bf16, F64]], WIDE, PIPE, "d = a rounded to an integer, clamped to the range of the type"),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL, FTZ, SAT], &[&[F32], &[F32]], WIDE, PIPE, "d = a rounded to an integral value, clamped to [0, 1] with .sat"),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL], &[&[F64], &[F64]], WIDE, PIPE, "d = a rounded to an integral value"),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL, FTZ, SAT], &[&[F16], &[F16]], WIDE, PIPE, "d = a rounded to an integral value, clamped to [0, 1] with .sat"),
    row(Opcode::Cvt, "cvt", &[FTZ, SAT], &[&[F32], &[F16, Bf16]], WIDE, PIPE, "d = a"),
    row(Opcode::Cvt, "cvt", &[FTZ], &[&[F64], &[F32]], WIDE, PIPE, "d = a"),
    row(Opcode::Cvt, "cvt", &[], &[&[F64], &[F16, Bf16]], WIDE, PIPE, "d = a"),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F32], &[F64]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F16], &[F32]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[ROUNDING, SAT], &[&[F16], &[F64]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[one(&[Rn, Rz]), all(&[Relu])], &[&[F16], &[F32]], WIDE, PIPE, "d = a rounded; negative values become 0"),
    row(Opcode::Cvt, "cvt", &[one(&[Rn, Rz]), RELU], &[&[Bf16], &[F32]], WIDE, PIPE, "d = a rounded; negative values become 0 with .relu"),
    row(Opcode::Cvt, "cvt", &[one(&[Rn, Rz, Rm, Rp])], &[&[Bf16], &[F16]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[one(&[Rn, Rz, Rm, Rp])], &[&[F16], &[Bf16]], WIDE, PIPE, "d = a rounded"),
    row(Opcode::Cvt, "cvt", &[one(&[Rn, Rz]), RELU], &[&[F16x2, Bf16x2], &[F32]], D_F32X2, PIPE, "d = (a, b) rounded, a in the upper half; negative values become 0 with .relu"),
];
