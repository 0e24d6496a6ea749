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
/// Of exact conversions: allowed, without effect; between f16 and bf16 to nearest where absent.
const ANY_ROUNDING: Group = optional(&[Rn, Rz, Rm, Rp]);
const TO_INTEGER: Group = one(&[Rni, Rzi, Rmi, Rpi]);
const TO_INTEGRAL: Group = optional(&[Rni, Rzi, Rmi, Rpi]);
const RN_RZ: Group = one(&[Rn, Rz]);
const RELU: Group = optional(&[Relu]);
const SATFINITE: Group = optional(&[Satfinite]);
const MUST_SATURATE: Group = all(&[Sat]);
const INTEGERS: &[Type] = &[U8, U16, U32, U64, S8, S16, S32, S64];
/// bf16 is not converted to or from bytes.
const NO_BYTES: &[Type] = &[U16, U32, U64, S16, S32, S64];
const FP8: &[Type] = &[E4m3x2, E5m2x2];
const D_F32X2: &[OperandRule] = &[D_WIDE, S1, S1];
/// A conversion may read and write registers wider than its types.
const WIDE: &[OperandRule] = &[D_WIDE, S1_WIDE];
/// Between integers a special register may be the source, too.
const SPECIAL: &[OperandRule] = &[D_WIDE, OperandRule::new(Kind::ReadOrSpecial, Typing::AtLeast(1))];
const EXACT_WIDTH: &[OperandRule] = &[D, S1];
const PIPE: Pipe = Mufu;

const CLAMPED: &str = "d = a, clamped to the range of the type";
const TO_WHOLE: &str = "d = a rounded to an integer, clamped to the range of the type";
const ROUNDED: &str = "d = a rounded";
const ROUNDED_SAT: &str = "d = a rounded, clamped to [0, 1] with .sat";
const ROUNDED_RELU: &str = "d = a rounded; negative values become 0 with .relu; values beyond the largest finite one become that with .satfinite";
const INTEGRAL_SAT: &str = "d = a rounded to an integral value, clamped to [0, 1] with .sat";
const EXACT_SAT: &str = "d = a, clamped to [0, 1] with .sat";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Cvt, "cvt", &[], &[INTEGERS, INTEGERS], SPECIAL, Alu, "d = a, extended or cut off"),
    // .sat is there where some value of the source lies outside the destination's range.
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[U8], &[S8, U16, S16, U32, S32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[S8], &[U8, U16, S16, U32, S32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[U16], &[S8, S16, U32, S32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[S16], &[U16, U32, S32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[U32], &[S8, S16, S32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[S32], &[U32, U64, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[U64], &[S8, S16, S32, S64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[MUST_SATURATE], &[&[S64], &[U64]], WIDE, Alu, CLAMPED),
    row(Opcode::Cvt, "cvt", &[ROUNDING, SAT], &[&[F16, F64], INTEGERS], WIDE, PIPE, ROUNDED_SAT),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F32], INTEGERS], WIDE, PIPE, ROUNDED_SAT),
    row(Opcode::Cvt, "cvt", &[ROUNDING], &[&[Bf16], NO_BYTES], WIDE, PIPE, ROUNDED),
    row(Opcode::Cvt, "cvt", &[TO_INTEGER, FTZ, SAT], &[INTEGERS, &[F32]], WIDE, PIPE, TO_WHOLE),
    row(Opcode::Cvt, "cvt", &[TO_INTEGER, SAT], &[INTEGERS, &[F16, F64]], WIDE, PIPE, TO_WHOLE),
    row(Opcode::Cvt, "cvt", &[TO_INTEGER], &[NO_BYTES, &[Bf16]], WIDE, PIPE, TO_WHOLE),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL, FTZ, SAT], &[&[F32], &[F32]], WIDE, PIPE, INTEGRAL_SAT),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL, SAT], &[&[F64], &[F64]], WIDE, PIPE, INTEGRAL_SAT),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL, SAT], &[&[F16], &[F16]], WIDE, PIPE, INTEGRAL_SAT),
    row(Opcode::Cvt, "cvt", &[TO_INTEGRAL], &[&[Bf16], &[Bf16]], WIDE, PIPE, "d = a rounded to an integral value"),
    row(Opcode::Cvt, "cvt", &[FTZ, SAT], &[&[F32], &[F16]], WIDE, PIPE, EXACT_SAT),
    row(Opcode::Cvt, "cvt", &[ANY_ROUNDING, FTZ], &[&[F32], &[Bf16]], WIDE, PIPE, "d = a"),
    row(Opcode::Cvt, "cvt", &[FTZ, SAT], &[&[F64], &[F32]], WIDE, PIPE, EXACT_SAT),
    row(Opcode::Cvt, "cvt", &[SAT], &[&[F64], &[F16]], WIDE, PIPE, EXACT_SAT),
    row(Opcode::Cvt, "cvt", &[ANY_ROUNDING], &[&[F64], &[Bf16]], WIDE, PIPE, "d = a"),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F32], &[F64]], WIDE, PIPE, ROUNDED_SAT),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ, SAT], &[&[F16], &[F32]], WIDE, PIPE, ROUNDED_SAT),
    row(Opcode::Cvt, "cvt", &[ROUNDING, SAT], &[&[F16], &[F64]], WIDE, PIPE, ROUNDED_SAT),
    row(Opcode::Cvt, "cvt", &[ROUNDING], &[&[Bf16], &[F64]], WIDE, PIPE, ROUNDED),
    row(Opcode::Cvt, "cvt", &[ANY_ROUNDING], &[&[Bf16], &[F16]], WIDE, PIPE, ROUNDED),
    row(Opcode::Cvt, "cvt", &[ANY_ROUNDING], &[&[F16], &[Bf16]], WIDE, PIPE, ROUNDED),
    row(Opcode::Cvt, "cvt", &[ROUNDING, FTZ], &[&[Bf16], &[F32]], WIDE, PIPE, ROUNDED),
    row(Opcode::Cvt, "cvt", &[RN_RZ, all(&[Relu]), SATFINITE], &[&[F16, Bf16], &[F32]], WIDE, PIPE, ROUNDED_RELU),
    row(Opcode::Cvt, "cvt", &[RN_RZ, all(&[Satfinite])], &[&[F16, Bf16], &[F32]], WIDE, PIPE, "d = a rounded; values beyond the largest finite one become that"),
    row(Opcode::Cvt, "cvt", &[RN_RZ, RELU, SATFINITE], &[&[F16x2, Bf16x2], &[F32]], D_F32X2, PIPE, "d = (a, b) rounded, a in the upper half; .relu and .satfinite as above"),
    row(Opcode::Cvt, "cvt", &[all(&[Rna]), SATFINITE], &[&[Tf32], &[F32]], EXACT_WIDTH, PIPE, "d = a rounded to nearest, ties away from zero; .satfinite as above"),
    row(Opcode::Cvt, "cvt", &[RN_RZ, RELU], &[&[Tf32], &[F32]], EXACT_WIDTH, PIPE, "d = a rounded; negative values become 0 with .relu"),
    row(Opcode::Cvt, "cvt", &[all(&[Rn, Satfinite]), RELU], &[FP8, &[F32]], &[D, S1, S1], PIPE, "d = (a, b) rounded, a in the upper byte; values beyond the largest finite one become that; negative ones 0 with .relu"),
    row(Opcode::Cvt, "cvt", &[all(&[Rn, Satfinite]), RELU], &[FP8, &[F16x2]], EXACT_WIDTH, PIPE, "d = both halves of a rounded; .satfinite and .relu as above"),
    row(Opcode::Cvt, "cvt", &[all(&[Rn]), RELU], &[&[F16x2], FP8], EXACT_WIDTH, PIPE, "d = both bytes of a; negative values become 0 with .relu"),
    row(Opcode::Cvt, "cvt", &[all(&[Pack, Sat])], &[&[U16, S16], &[S32]], &[D_B32, S1, S1], PIPE, "d = (a, b) clamped to the range of the type, a in the upper half"),
    row(Opcode::Cvt, "cvt", &[all(&[Pack, Sat])], &[&[U8, S8, U4, S4, U2, S2], &[S32], &[B32]], &[D_B32, S1, S1, OperandRule::new(Kind::Read, Typing::Of(2))], PIPE, "d = a and b clamped to the range of the type, b lowest, above them c"),
];
