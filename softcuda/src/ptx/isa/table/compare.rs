//! Comparison and selection.

use super::{
    super::{Modifier::*, Opcode, Pipe::Alu, Row, rules::*},
    FTZ, row,
};
use crate::ptx::ast::Type::{self, *};

const EQUALITY: Group = one(&[Eq, Ne]);
const SIGNED: Group = one(&[Eq, Ne, Lt, Le, Gt, Ge]);
const UNSIGNED: Group = one(&[Eq, Ne, Lt, Le, Gt, Ge, Lo_, Ls, Hi_, Hs]);
const FLOATING: Group = one(&[Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, IsNan]);
const COMBINE: Group = one(&[And, Or, Xor]);

const BITS: &[Type] = &[B16, B32, B64];
const UNSIGNED_TYPES: &[Type] = &[U16, U32, U64];
const SIGNED_TYPES: &[Type] = &[S16, S32, S64];
const SELECTABLE: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];

/// `p` or `p|q`; of a packed comparison one for each half.
const PQ: OperandRule = fixed(Kind::WritePair, Pred);

/// What setp computes, alone and combined.
const SETP: &str = "p = a compared with b, q = its opposite";
const SETP_COMBINED: &str = "p = (a compared with b) combined with c, q = its opposite combined with c";
const SETP_ONE: &str = "p = a compared with b";
const SETP_ONE_COMBINED: &str = "p = (a compared with b) combined with c";
const SETP_HALVES: &str = "p, q = a compared with b in the lower and upper half";
const SETP_HALVES_COMBINED: &str = "p, q = a compared with b in the lower and upper half, combined with c";
const SET: &str = "d = 1.0 or all ones where a compared with b holds, else 0";
const SET_HALVES: &str = "each half of d = 1.0 or all ones where a compared with b holds in that half, else 0";
const SET_HALVES_COMBINED: &str =
    "each half of d = 1.0 or all ones where (a compared with b) combined with c holds in that half, else 0";
const SET_COMBINED: &str = "d = 1.0 or all ones where (a compared with b) combined with c holds, else 0";

const SET_D: &[Type] = &[U32, S32, F32, F16];
const SET_ANY: &[Type] = &[U32, S32, F32, F16, Bf16];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Setp, "setp", &[EQUALITY], &[BITS], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[SIGNED], &[SIGNED_TYPES], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[UNSIGNED], &[UNSIGNED_TYPES], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING, FTZ], &[&[F32]], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING, FTZ], &[&[F16]], &[D_PRED, S, S], Alu, SETP_ONE),
    row(Opcode::Setp, "setp", &[FLOATING], &[&[F64]], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING], &[&[Bf16]], &[D_PRED, S, S], Alu, SETP_ONE),
    row(Opcode::Setp, "setp", &[FLOATING, FTZ], &[&[F16x2]], &[PQ, S, S], Alu, SETP_HALVES),
    row(Opcode::Setp, "setp", &[FLOATING], &[&[Bf16x2]], &[PQ, S, S], Alu, SETP_HALVES),
    row(Opcode::Setp, "setp", &[EQUALITY, COMBINE], &[BITS], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[SIGNED, COMBINE], &[SIGNED_TYPES], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[UNSIGNED, COMBINE], &[UNSIGNED_TYPES], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE, FTZ], &[&[F32]], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE, FTZ], &[&[F16]], &[D_PRED, S, S, P], Alu, SETP_ONE_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE], &[&[F64]], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE], &[&[Bf16]], &[D_PRED, S, S, P], Alu, SETP_ONE_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE, FTZ], &[&[F16x2]], &[PQ, S, S, P], Alu, SETP_HALVES_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE], &[&[Bf16x2]], &[PQ, S, S, P], Alu, SETP_HALVES_COMBINED),
    row(Opcode::Set, "set", &[EQUALITY], &[SET_ANY, BITS], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[SIGNED], &[SET_ANY, SIGNED_TYPES], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[UNSIGNED], &[SET_ANY, UNSIGNED_TYPES], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[SET_D, &[F32]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING], &[SET_D, &[F64]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[&[F16, U16, S16, U32, S32], &[F16]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING], &[&[U16, S16, U32, S32], &[Bf16]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING], &[&[Bf16], &[F16, Bf16, F32, F64]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[&[F16x2, U32, S32], &[F16x2]], &[D, S1, S1], Alu, SET_HALVES),
    row(Opcode::Set, "set", &[FLOATING], &[&[Bf16x2, U32, S32], &[Bf16x2]], &[D, S1, S1], Alu, SET_HALVES),
    row(Opcode::Set, "set", &[EQUALITY, COMBINE], &[SET_ANY, BITS], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[SIGNED, COMBINE], &[SET_ANY, SIGNED_TYPES], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[UNSIGNED, COMBINE], &[SET_ANY, UNSIGNED_TYPES], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE, FTZ], &[SET_D, &[F32]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE], &[SET_D, &[F64]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE, FTZ], &[&[F16, U16, S16, U32, S32], &[F16]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE], &[&[U16, S16, U32, S32], &[Bf16]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE], &[&[Bf16], &[F16, Bf16, F32, F64]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE, FTZ], &[&[F16x2, U32, S32], &[F16x2]], &[D, S1, S1, P], Alu, SET_HALVES_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE], &[&[Bf16x2, U32, S32], &[Bf16x2]], &[D, S1, S1, P], Alu, SET_HALVES_COMBINED),
    row(Opcode::Selp, "selp", &[], &[SELECTABLE], &[D, S, S, P], Alu, "d = a where c holds, else b"),
    row(Opcode::Slct, "slct", &[], &[SELECTABLE, &[S32]], &[D, S, S, S1], Alu, "d = a where c >= 0, else b"),
    row(Opcode::Slct, "slct", &[FTZ], &[SELECTABLE, &[F32]], &[D, S, S, S1], Alu, "d = a where c >= 0, else b"),
];
