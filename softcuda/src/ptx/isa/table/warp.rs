//! Exchange between the lanes of a warp, and tensor cores.

use super::{
    super::{
        Modifier::*,
        Opcode,
        Pipe::{Alu, Lsu, Tensor},
        Row,
        rules::*,
    },
    B32_64, I32, row,
};
use crate::ptx::ast::Type::{B16, B32, Bf16, F16, F32, Pred};

const SYNC: Group = all(&[Sync]);
const LOCKSTEP: Group = all(&[Sync, Aligned]);
/// `d` or `d|p`.
const D_AND_P: OperandRule = fixed(Kind::WritePair, B32);
const M8N8: Group = all(&[M8n8]);
const MMA: &[Group] = &[LOCKSTEP, all(&[M16n8k16]), all(&[Row]), all(&[Col])];
const A_F16X2: OperandRule = fixed(Kind::ReadRegister, B32);

/// `n` matrices of `ldmatrix`.
const fn matrices(n: usize) -> [OperandRule; 2] {
    [fixed(Kind::Write, B32).vector(n), ADDRESS]
}

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
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X1]), optional(&[Trans]), optional(&[Shared])], &[&[B16]], &matrices(1), Lsu, "d = an 8x8 matrix of 16-bit elements whose rows lie at the addresses of lanes 0..7"),
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X2]), optional(&[Trans]), optional(&[Shared])], &[&[B16]], &matrices(2), Lsu, "d = two such matrices, addressed by lanes 0..15"),
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X4]), optional(&[Trans]), optional(&[Shared])], &[&[B16]], &matrices(4), Lsu, "d = four such matrices, addressed by lanes 0..31"),
    row(Opcode::Movmatrix, "movmatrix", &[LOCKSTEP, M8N8, all(&[Trans])], &[&[B16]], &[D_B32, A_F16X2], Lsu, "d = the 8x8 matrix a transposed"),
    row(Opcode::Mma, "mma", MMA, &[&[F32], &[F16], &[F16], &[F32]], &[fixed(Kind::Write, F32).vector(4), A_F16X2.vector(4), A_F16X2.vector(2), fixed(Kind::ReadRegister, F32).vector(4)], Tensor, "d = a (16x16) * b (16x8) + c"),
    row(Opcode::Mma, "mma", MMA, &[&[F32], &[Bf16], &[Bf16], &[F32]], &[fixed(Kind::Write, F32).vector(4), A_F16X2.vector(4), A_F16X2.vector(2), fixed(Kind::ReadRegister, F32).vector(4)], Tensor, "d = a (16x16) * b (16x8) + c"),
    row(Opcode::Mma, "mma", MMA, &[&[F16], &[F16], &[F16], &[F16]], &[fixed(Kind::Write, B32).vector(2), A_F16X2.vector(4), A_F16X2.vector(2), A_F16X2.vector(2)], Tensor, "d = a (16x16) * b (16x8) + c"),
];
