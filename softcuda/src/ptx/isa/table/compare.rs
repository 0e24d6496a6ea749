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
const WITH_FTZ: &[Type] = &[F32, F16];
const WITHOUT_FTZ: &[Type] = &[F64, Bf16];
const SELECTABLE: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];

/// `p` or `p|q`.
const PQ: OperandRule = fixed(Kind::WritePair, Pred);
/// `p|q`: one result for each half of a packed comparison.
const HALVES: OperandRule = fixed(Kind::WriteBoth, Pred);

/// What setp computes, alone and combined.
const SETP: &str = "p = a compared with b, q = its opposite";
const SETP_COMBINED: &str = "p = (a compared with b) combined with c, q = its opposite combined with c";
const SETP_HALVES: &str = "p, q = a compared with b in the lower and upper half";
const SETP_HALVES_COMBINED: &str = "p, q = a compared with b in the lower and upper half, combined with c";
const SET: &str = "d = 1.0 or all ones where a compared with b holds, else 0";
const SET_HALVES: &str = "each half of d = 1.0 or all ones where a compared with b holds in that half, else 0";
const SET_COMBINED: &str = "d = 1.0 or all ones where (a compared with b) combined with c holds, else 0";

const SET_D: &[Type] = &[U32, S32, F32];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Setp, "setp", &[EQUALITY], &[BITS], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[SIGNED], &[SIGNED_TYPES], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[UNSIGNED], &[UNSIGNED_TYPES], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING, FTZ], &[WITH_FTZ], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING], &[WITHOUT_FTZ], &[PQ, S, S], Alu, SETP),
    row(Opcode::Setp, "setp", &[FLOATING, FTZ], &[&[F16x2]], &[HALVES, S, S], Alu, SETP_HALVES),
    row(Opcode::Setp, "setp", &[FLOATING], &[&[Bf16x2]], &[HALVES, S, S], Alu, SETP_HALVES),
    row(Opcode::Setp, "setp", &[EQUALITY, COMBINE], &[BITS], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[SIGNED, COMBINE], &[SIGNED_TYPES], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[UNSIGNED, COMBINE], &[UNSIGNED_TYPES], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE, FTZ], &[WITH_FTZ], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE], &[WITHOUT_FTZ], &[PQ, S, S, P], Alu, SETP_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE, FTZ], &[&[F16x2]], &[HALVES, S, S, P], Alu, SETP_HALVES_COMBINED),
    row(Opcode::Setp, "setp", &[FLOATING, COMBINE], &[&[Bf16x2]], &[HALVES, S, S, P], Alu, SETP_HALVES_COMBINED),
    row(Opcode::Set, "set", &[EQUALITY], &[SET_D, BITS], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[SIGNED], &[SET_D, SIGNED_TYPES], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[UNSIGNED], &[SET_D, UNSIGNED_TYPES], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[SET_D, &[F32]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING], &[SET_D, &[F64]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[&[F16, U16, S16, U32, S32], &[F16]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING], &[&[Bf16, U16, S16, U32, S32], &[Bf16]], &[D, S1, S1], Alu, SET),
    row(Opcode::Set, "set", &[FLOATING, FTZ], &[&[F16x2, U32, S32], &[F16x2]], &[D, S1, S1], Alu, SET_HALVES),
    row(Opcode::Set, "set", &[FLOATING], &[&[Bf16x2, U32, S32], &[Bf16x2]], &[D, S1, S1], Alu, SET_HALVES),
    row(Opcode::Set, "set", &[EQUALITY, COMBINE], &[SET_D, BITS], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[SIGNED, COMBINE], &[SET_D, SIGNED_TYPES], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[UNSIGNED, COMBINE], &[SET_D, UNSIGNED_TYPES], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE, FTZ], &[SET_D, &[F32]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Set, "set", &[FLOATING, COMBINE], &[SET_D, &[F64]], &[D, S1, S1, P], Alu, SET_COMBINED),
    row(Opcode::Selp, "selp", &[], &[SELECTABLE], &[D, S, S, P], Alu, "d = a where c holds, else b"),
    row(Opcode::Slct, "slct", &[], &[SELECTABLE, &[S32]], &[D, S, S, S1], Alu, "d = a where c >= 0, else b"),
    row(Opcode::Slct, "slct", &[FTZ], &[SELECTABLE, &[F32]], &[D, S, S, S1], Alu, "d = a where c >= 0, else b"),
];
