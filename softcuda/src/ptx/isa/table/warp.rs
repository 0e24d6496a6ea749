//! Exchange between the lanes of a warp.

use super::{
    super::{
        Modifier::*,
        Opcode,
        Pipe::{Alu, Lsu},
        Row,
        rules::*,
    },
    B32_64, I32, row,
};
use crate::ptx::ast::Type::{B32, Pred};

const SYNC: Group = all(&[Sync]);
/// `d` or `d|p`.
const D_AND_P: OperandRule = fixed(Kind::WritePair, B32);

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Shfl, "shfl", &[SYNC, one(&[Up, Down, Bfly, Idx])], &[&[B32]], &[D_AND_P, S_B32, S_U32, S_U32, S_B32], Lsu, "d = a of another lane; p = whether that lane is in range"),
    row(Opcode::Vote, "vote", &[SYNC, one(&[All, Any, Uni])], &[&[Pred]], &[D_PRED, P, S_B32], Alu, "d = whether a holds in all, any, or the same in all lanes of the mask"),
    row(Opcode::Vote, "vote", &[SYNC, all(&[Ballot])], &[&[B32]], &[D, P, S_B32], Alu, "d = mask of the lanes where a holds"),
    row(Opcode::Match, "match", &[all(&[Any]), SYNC], &[B32_64], &[D_B32, S, S_B32], Alu, "d = mask of the lanes with the same a"),
    row(Opcode::Match, "match", &[all(&[All]), SYNC], &[B32_64], &[D_AND_P, S, S_B32], Alu, "d = the mask if all its lanes have the same a, else 0; p = whether they do"),
    row(Opcode::Redux, "redux", &[SYNC, one(&[Add, Min, Max])], &[I32], &[D, S, S_B32], Alu, "d = sum, smallest or largest a of the lanes of the mask"),
    row(Opcode::Redux, "redux", &[SYNC, one(&[And, Or, Xor])], &[&[B32]], &[D, S, S_B32], Alu, "d = a of the lanes of the mask combined bit by bit"),
    row(Opcode::Activemask, "activemask", &[], &[&[B32]], &[D], Alu, "d = mask of the lanes that execute this together"),
];
