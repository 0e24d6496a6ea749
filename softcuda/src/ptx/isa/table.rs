//! The rows of the instruction table, by family.

use super::{Group, Modifier, Opcode, OperandRule, Pipe, Row, rules::optional};
use crate::ptx::ast::Type::{self, *};

mod compare;
mod control;
mod convert;
mod float;
mod integer;
mod logic;
mod matrix;
mod memory;
mod warp;

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let families = [
        integer::ROWS,
        logic::ROWS,
        float::ROWS,
        convert::ROWS,
        compare::ROWS,
        memory::ROWS,
        warp::ROWS,
        control::ROWS,
    ];
    families.into_iter().chain(matrix::LISTS).flatten()
}

/// A row, its fields in the order of [`Row`].
const fn row(
    opcode: Opcode,
    mnemonic: &'static str,
    modifiers: &'static [Group],
    types: &'static [&'static [Type]],
    operands: &'static [OperandRule],
    pipe: Pipe,
    meaning: &'static str,
) -> Row {
    Row { opcode, mnemonic, modifiers, types, operands, pipe, meaning }
}

// Lists of types that several families use.
const I16_32_64: &[Type] = &[U16, S16, U32, S32, U64, S64];
const I32_64: &[Type] = &[U32, S32, U64, S64];
const S16_32_64: &[Type] = &[S16, S32, S64];
const I32: &[Type] = &[U32, S32];
const B32_64: &[Type] = &[B32, B64];
const B16_32_64: &[Type] = &[B16, B32, B64];
const HALF: &[Type] = &[F16, F16x2];
const BRAIN: &[Type] = &[Bf16, Bf16x2];

// Groups that several families use.
const FTZ: Group = optional(&[Modifier::Ftz]);
const SAT: Group = optional(&[Modifier::Sat]);
