//! Floating-point arithmetic.

use super::{
    super::{
        Modifier::*,
        Opcode,
        Pipe::{self, Fp64, Mufu},
        Row,
        rules::*,
    },
    BRAIN, FTZ, HALF, SAT, row,
};
use crate::ptx::ast::Type;

const ROUNDING: Group = optional(&[Rn, Rz, Rm, Rp]);
const NEEDS_ROUNDING: Group = one(&[Rn, Rz, Rm, Rp]);
const RN: Group = optional(&[Rn]);
const NEEDS_RN: Group = all(&[Rn]);
const APPROX: Group = all(&[Approx]);
const NAN: Group = optional(&[Nan]);
const XORSIGN: Group = together(&[Xorsign, Abs]);
const SINGLE: &[&[Type]] = &[&[Type::F32]];
const DOUBLE: &[&[Type]] = &[&[Type::F64]];
const SINGLE_OR_DOUBLE: &[&[Type]] = &[&[Type::F32, Type::F64]];
const HALVES: &[&[Type]] = &[HALF];
const BRAINS: &[&[Type]] = &[BRAIN];
const FMA: Pipe = Pipe::Fma;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Add, "add", &[ROUNDING, FTZ, SAT], SINGLE, &[D, S, S], FMA, "d = a + b"),
    row(Opcode::Sub, "sub", &[ROUNDING, FTZ, SAT], SINGLE, &[D, S, S], FMA, "d = a - b"),
    row(Opcode::Mul, "mul", &[ROUNDING, FTZ, SAT], SINGLE, &[D, S, S], FMA, "d = a * b"),
    row(Opcode::Fma, "fma", &[NEEDS_ROUNDING, FTZ, SAT], SINGLE, &[D, S, S, S], FMA, "d = a * b + c, rounded once"),
    row(Opcode::Mad, "mad", &[NEEDS_ROUNDING, FTZ, SAT], SINGLE, &[D, S, S, S], FMA, "d = a * b + c, rounded once"),
    row(Opcode::Add, "add", &[ROUNDING], DOUBLE, &[D, S, S], Fp64, "d = a + b"),
    row(Opcode::Sub, "sub", &[ROUNDING], DOUBLE, &[D, S, S], Fp64, "d = a - b"),
    row(Opcode::Mul, "mul", &[ROUNDING], DOUBLE, &[D, S, S], Fp64, "d = a * b"),
    row(Opcode::Fma, "fma", &[NEEDS_ROUNDING], DOUBLE, &[D, S, S, S], Fp64, "d = a * b + c, rounded once"),
    row(Opcode::Mad, "mad", &[NEEDS_ROUNDING], DOUBLE, &[D, S, S, S], Fp64, "d = a * b + c, rounded once"),
    row(Opcode::Add, "add", &[RN, FTZ, SAT], HALVES, &[D, S, S], FMA, "d = a + b"),
    row(Opcode::Sub, "sub", &[RN, FTZ, SAT], HALVES, &[D, S, S], FMA, "d = a - b"),
    row(Opcode::Mul, "mul", &[RN, FTZ, SAT], HALVES, &[D, S, S], FMA, "d = a * b"),
    row(Opcode::Fma, "fma", &[NEEDS_RN, FTZ, optional(&[Sat, Relu])], HALVES, &[D, S, S, S], FMA, "d = a * b + c, rounded once; negative results become 0 with .relu"),
    row(Opcode::Add, "add", &[RN], BRAINS, &[D, S, S], FMA, "d = a + b"),
    row(Opcode::Sub, "sub", &[RN], BRAINS, &[D, S, S], FMA, "d = a - b"),
    row(Opcode::Mul, "mul", &[RN], BRAINS, &[D, S, S], FMA, "d = a * b"),
    row(Opcode::Fma, "fma", &[NEEDS_RN, optional(&[Relu])], BRAINS, &[D, S, S, S], FMA, "d = a * b + c, rounded once; negative results become 0 with .relu"),
    row(Opcode::Abs, "abs", &[FTZ], SINGLE, &[D, S], FMA, "d = |a|"),
    row(Opcode::Neg, "neg", &[FTZ], SINGLE, &[D, S], FMA, "d = -a"),
    row(Opcode::Abs, "abs", &[], DOUBLE, &[D, S], Fp64, "d = |a|"),
    row(Opcode::Neg, "neg", &[], DOUBLE, &[D, S], Fp64, "d = -a"),
    row(Opcode::Abs, "abs", &[FTZ], HALVES, &[D, S], FMA, "d = |a|"),
    row(Opcode::Neg, "neg", &[FTZ], HALVES, &[D, S], FMA, "d = -a"),
    row(Opcode::Abs, "abs", &[], BRAINS, &[D, S], FMA, "d = |a|"),
    row(Opcode::Neg, "neg", &[], BRAINS, &[D, S], FMA, "d = -a"),
    row(Opcode::Min, "min", &[FTZ, NAN, XORSIGN], SINGLE, &[D, S, S], Pipe::Alu, "d = the smaller of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Max, "max", &[FTZ, NAN, XORSIGN], SINGLE, &[D, S, S], Pipe::Alu, "d = the larger of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Min, "min", &[], DOUBLE, &[D, S, S], Fp64, "d = the smaller of a and b; a NaN loses"),
    row(Opcode::Max, "max", &[], DOUBLE, &[D, S, S], Fp64, "d = the larger of a and b; a NaN loses"),
    row(Opcode::Min, "min", &[FTZ, NAN, XORSIGN], HALVES, &[D, S, S], Pipe::Alu, "d = the smaller of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Max, "max", &[FTZ, NAN, XORSIGN], HALVES, &[D, S, S], Pipe::Alu, "d = the larger of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Min, "min", &[NAN, XORSIGN], BRAINS, &[D, S, S], Pipe::Alu, "d = the smaller of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Max, "max", &[NAN, XORSIGN], BRAINS, &[D, S, S], Pipe::Alu, "d = the larger of a and b; a NaN loses, or wins with .NaN; with .xorsign.abs of |a| and |b|, its sign that of a * b"),
    row(Opcode::Div, "div", &[one(&[Approx, Full, Rn, Rz, Rm, Rp]), FTZ], SINGLE, &[D, S, S], Mufu, "d = a / b"),
    row(Opcode::Div, "div", &[NEEDS_ROUNDING], DOUBLE, &[D, S, S], Fp64, "d = a / b"),
    row(Opcode::Rcp, "rcp", &[one(&[Approx, Rn, Rz, Rm, Rp]), FTZ], SINGLE, &[D, S], Mufu, "d = 1 / a"),
    row(Opcode::Rcp, "rcp", &[NEEDS_ROUNDING], DOUBLE, &[D, S], Fp64, "d = 1 / a"),
    row(Opcode::Rcp, "rcp", &[APPROX, all(&[Ftz])], DOUBLE, &[D, S], Mufu, "d = 1 / a from the upper 32 bits of a, the lower ones zero"),
    row(Opcode::Sqrt, "sqrt", &[one(&[Approx, Rn, Rz, Rm, Rp]), FTZ], SINGLE, &[D, S], Mufu, "d = square root of a"),
    row(Opcode::Sqrt, "sqrt", &[NEEDS_ROUNDING], DOUBLE, &[D, S], Fp64, "d = square root of a"),
    row(Opcode::Rsqrt, "rsqrt", &[APPROX, FTZ], SINGLE_OR_DOUBLE, &[D, S], Mufu, "d = 1 / square root of a"),
    row(Opcode::Sin, "sin", &[APPROX, FTZ], SINGLE, &[D, S], Mufu, "d = sine of a"),
    row(Opcode::Cos, "cos", &[APPROX, FTZ], SINGLE, &[D, S], Mufu, "d = cosine of a"),
    row(Opcode::Lg2, "lg2", &[APPROX, FTZ], SINGLE, &[D, S], Mufu, "d = logarithm of a to base 2"),
    row(Opcode::Ex2, "ex2", &[APPROX, FTZ], SINGLE, &[D, S], Mufu, "d = 2 to the power a"),
    row(Opcode::Ex2, "ex2", &[APPROX], HALVES, &[D, S], Mufu, "d = 2 to the power a"),
    row(Opcode::Ex2, "ex2", &[APPROX, all(&[Ftz])], BRAINS, &[D, S], Mufu, "d = 2 to the power a"),
    row(Opcode::Tanh, "tanh", &[APPROX], SINGLE, &[D, S], Mufu, "d = hyperbolic tangent of a"),
    row(Opcode::Tanh, "tanh", &[APPROX], HALVES, &[D, S], Mufu, "d = hyperbolic tangent of a"),
    row(Opcode::Tanh, "tanh", &[APPROX], BRAINS, &[D, S], Mufu, "d = hyperbolic tangent of a"),
    row(Opcode::Testp, "testp", &[one(&[Finite, Infinite, Number, NotANumber, Normal, Subnormal])], SINGLE_OR_DOUBLE, &[D_PRED, S], Pipe::Alu, "d = whether a is of this class; zeros count as normal"),
    row(Opcode::Copysign, "copysign", &[], SINGLE_OR_DOUBLE, &[D, S, S], Pipe::Alu, "d = b with the sign of a"),
];
