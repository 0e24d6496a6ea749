//! Warp-level instructions: shuffles, votes, matches, reductions.

use super::{Builder, Lowered, first_type, has, operand, unsupported};
use crate::program::op::*;
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    pub(super) fn warp(&mut self, instruction: &Instruction) -> Lowered {
        match instruction.row.opcode {
            Opcode::Shfl => self.shuffle(instruction),
            Opcode::Vote => self.vote(instruction),
            Opcode::Match => self.matching(instruction),
            Opcode::Redux => self.redux(instruction),
            Opcode::BarWarpSync => {
                let mask = self.source32(operand(instruction, 0)?, Type::B32)?;
                self.warp_operation(WarpOperation::Sync { mask });
                Ok(())
            }
            Opcode::Activemask => {
                let d = self.destination(operand(instruction, 0)?, Type::B32)?;
                self.emit(Code::Activemask, d, 0, 0, 0);
                Ok(())
            }
            Opcode::Nanosleep => {
                self.push(Op::new(Code::Sleep));
                Ok(())
            }
            _ => Err(unsupported(instruction)),
        }
    }

    fn warp_operation(&mut self, operation: WarpOperation) {
        let index = self.tables.warp_operations.len() as u16;
        let code = match operation {
            WarpOperation::Shuffle { .. } => Code::Shfl,
            WarpOperation::Vote { .. } => Code::Vote,
            WarpOperation::Match { .. } => Code::Match,
            WarpOperation::Redux { .. } => Code::Redux,
            WarpOperation::Sync { .. } => Code::WarpSync,
        };
        self.tables.warp_operations.push(operation);
        self.push(Op { aux: index, ..Op::new(code) });
    }

    /// `d|p` or `d`.
    fn destination_pair(&mut self, operand: &Operand, ty: Type) -> Lowered<(u16, Option<u16>)> {
        match operand {
            Operand::Pair(d, p) => Ok((self.destination(d, ty)?, Some(self.predicate(p)?.0))),
            single => Ok((self.destination(single, ty)?, None)),
        }
    }

    fn shuffle(&mut self, instruction: &Instruction) -> Lowered {
        let mode = if has(instruction, Modifier::Up) {
            ShuffleMode::Up
        } else if has(instruction, Modifier::Down) {
            ShuffleMode::Down
        } else if has(instruction, Modifier::Bfly) {
            ShuffleMode::Bfly
        } else {
            ShuffleMode::Idx
        };
        let (d, p) = self.destination_pair(operand(instruction, 0)?, Type::B32)?;
        let a = self.source32(operand(instruction, 1)?, Type::B32)?;
        let b = self.source32(operand(instruction, 2)?, Type::B32)?;
        let c = self.source32(operand(instruction, 3)?, Type::B32)?;
        let mask = self.source32(operand(instruction, 4)?, Type::B32)?;
        self.warp_operation(WarpOperation::Shuffle { mode, d, p, a, b, c, mask });
        Ok(())
    }

    fn vote(&mut self, instruction: &Instruction) -> Lowered {
        let mode = if has(instruction, Modifier::Ballot) {
            VoteMode::Ballot
        } else if has(instruction, Modifier::All) {
            VoteMode::All
        } else if has(instruction, Modifier::Any) {
            VoteMode::Any
        } else {
            VoteMode::Uni
        };
        let d = match mode {
            VoteMode::Ballot => self.destination(operand(instruction, 0)?, Type::B32)?,
            _ => self.predicate(operand(instruction, 0)?)?.0,
        };
        let (source, negated) = self.predicate(operand(instruction, 1)?)?;
        let mask = self.source32(operand(instruction, 2)?, Type::B32)?;
        self.warp_operation(WarpOperation::Vote { mode, d, source, negated, mask });
        Ok(())
    }

    fn matching(&mut self, instruction: &Instruction) -> Lowered {
        let wide = first_type(instruction)? == Type::B64;
        let (d, p) = self.destination_pair(operand(instruction, 0)?, Type::B32)?;
        let a = if wide {
            self.source64(operand(instruction, 1)?)?
        } else {
            self.source32(operand(instruction, 1)?, Type::B32)?
        };
        let mask = self.source32(operand(instruction, 2)?, Type::B32)?;
        let all = has(instruction, Modifier::All);
        self.warp_operation(WarpOperation::Match { all, wide, d, p, a, mask });
        Ok(())
    }

    fn redux(&mut self, instruction: &Instruction) -> Lowered {
        let sign = first_type(instruction)? == Type::S32;
        let kind = if has(instruction, Modifier::Add) {
            ReduxKind::Add
        } else if has(instruction, Modifier::Min) {
            if sign { ReduxKind::MinS } else { ReduxKind::MinU }
        } else if has(instruction, Modifier::Max) {
            if sign { ReduxKind::MaxS } else { ReduxKind::MaxU }
        } else if has(instruction, Modifier::And) {
            ReduxKind::And
        } else if has(instruction, Modifier::Or) {
            ReduxKind::Or
        } else {
            ReduxKind::Xor
        };
        let d = self.destination(operand(instruction, 0)?, Type::B32)?;
        let a = self.source32(operand(instruction, 1)?, Type::B32)?;
        let mask = self.source32(operand(instruction, 2)?, Type::B32)?;
        self.warp_operation(WarpOperation::Redux { kind, d, a, mask });
        Ok(())
    }
}
