//! Branches, exits, barriers: what ends a basic block or makes a warp wait.

use super::{Builder, Lowered, has, operand};
use crate::program::op::{BarrierKind, BlockBarrier, Code, Op};
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::{Modifier, Opcode};

/// Whether an instruction may change where a thread goes on, or when.
pub(crate) fn is_control(instruction: &Instruction) -> bool {
    matches!(
        instruction.row.opcode,
        Opcode::Bra | Opcode::BrxIdx | Opcode::Exit | Opcode::Ret | Opcode::Trap | Opcode::Brkpt
    ) || waits(instruction)
}

/// Whether a guard on this instruction must become a branch around it: it may suspend the warp, so the threads that take
/// part must be the path's own.
pub(crate) fn waits(instruction: &Instruction) -> bool {
    match instruction.row.opcode {
        Opcode::Bar | Opcode::Barrier | Opcode::BarWarpSync | Opcode::Call => true,
        Opcode::Shfl | Opcode::Vote | Opcode::Match | Opcode::Redux => has(instruction, Modifier::Sync),
        _ => false,
    }
}

impl Builder<'_> {
    pub(super) fn control(&mut self, block: usize, instruction: &Instruction) -> Lowered {
        let guard = match instruction.guard {
            Some(guard) => Some((self.predicate_register(guard.register)?, guard.negated)),
            None => None,
        };
        match instruction.row.opcode {
            Opcode::Bra => {
                let Operand::Label(label) = operand(instruction, 0)? else {
                    return Err("the target must be a label".to_owned());
                };
                let target = self.flow.block_at[self.body.labels[label.0 as usize].target].unwrap_or(self.flow.exit());
                self.branch(guard, block, target);
                Ok(())
            }
            Opcode::BrxIdx => self.switch(guard, block, instruction),
            Opcode::Exit | Opcode::Ret => {
                let (always, sometimes) = match instruction.row.opcode {
                    Opcode::Ret if self.number != 0 => (Code::Ret, Code::RetIf),
                    _ => (Code::Exit, Code::ExitIf),
                };
                match guard {
                    None => self.push(Op::new(always)),
                    Some((a, negated)) => self.push(Op { a, aux: u16::from(negated), ..Op::new(sometimes) }),
                }
                Ok(())
            }
            Opcode::Trap | Opcode::Brkpt => {
                if let Some((predicate, negated)) = guard {
                    self.branch(Some((predicate, !negated)), block, block + 1);
                }
                let aux = if instruction.row.opcode == Opcode::Trap { 0 } else { 3 };
                self.push(Op { aux, ..Op::new(Code::Trap) });
                Ok(())
            }
            _ => {
                // The flow graph gives a guarded waiting instruction a block of its own: the others go around it.
                if let Some((predicate, negated)) = guard {
                    self.branch(Some((predicate, !negated)), block, block + 1);
                }
                match instruction.row.opcode {
                    Opcode::Call => self.call(block, instruction),
                    Opcode::Bar | Opcode::Barrier => self.barrier(instruction),
                    _ => self.warp(instruction),
                }
            }
        }
    }

    /// A jump from one basic block to another, under a predicate if there is one.
    pub(super) fn branch(&mut self, guard: Option<(u16, bool)>, block: usize, target: usize) {
        self.branches.push((self.ops.len(), block));
        let imm = target as i32;
        match guard {
            None => self.push(Op { imm, ..Op::new(Code::Branch) }),
            Some((a, negated)) => self.push(Op { a, aux: u16::from(negated), imm, ..Op::new(Code::BranchIf) }),
        }
    }

    /// `brx.idx a, labels`: a branch for each label, and a fault for an index that has none.
    fn switch(&mut self, guard: Option<(u16, bool)>, block: usize, instruction: &Instruction) -> Lowered {
        let index = self.source32(operand(instruction, 0)?, Type::U32)?;
        let Operand::Vector(labels) = operand(instruction, 1)? else {
            return Err("the targets must be a list of labels".to_owned());
        };
        if let Some((predicate, negated)) = guard {
            self.branch(Some((predicate, !negated)), block, block + 1);
            self.middle(block);
        }
        let matches = self.scratch_predicate();
        for (number, label) in labels.iter().enumerate() {
            let Operand::Label(label) = label else {
                return Err("the targets must be labels".to_owned());
            };
            let target = self.flow.block_at[self.body.labels[label.0 as usize].target].unwrap_or(self.flow.exit());
            let number = self.word(number as u32);
            self.emit(Code::SetpEq32, matches, index, number, 0);
            self.branch(Some((matches, false)), block, target);
            self.middle(block);
        }
        self.push(Op { aux: 1, ..Op::new(Code::Trap) });
        Ok(())
    }

    /// Code that follows a branch within a basic block.
    pub(super) fn middle(&mut self, block: usize) {
        self.middles.push((self.ops.len(), block));
        self.push(Op::new(Code::Enter));
    }

    fn barrier(&mut self, instruction: &Instruction) -> Lowered {
        let mut operands = instruction.operands.as_slice();
        let reduction = instruction.types.first().copied();
        let (kind, destination) = match reduction {
            None if has(instruction, Modifier::Arrive) => (BarrierKind::Arrive, None),
            None => (BarrierKind::Sync, None),
            Some(ty) => {
                let kind = if ty != Type::Pred {
                    BarrierKind::RedPopc
                } else if has(instruction, Modifier::And) {
                    BarrierKind::RedAnd
                } else {
                    BarrierKind::RedOr
                };
                let (first, rest) = operands.split_first().ok_or("a destination is missing")?;
                operands = rest;
                (kind, Some(first))
            }
        };
        let source = match (reduction, operands.split_last()) {
            (Some(_), Some((last, rest))) => {
                operands = rest;
                self.predicate(last)?
            }
            _ => (0, false),
        };
        let id = self.source32(operands.first().ok_or("the barrier number is missing")?, Type::U32)?;
        let count = match operands.get(1) {
            Some(count) => Some(self.source32(count, Type::U32)?),
            None => None,
        };
        let d = match (kind, destination) {
            (BarrierKind::RedPopc, Some(destination)) => self.destination(destination, Type::U32)?,
            (_, Some(destination)) => self.predicate(destination)?.0,
            (_, None) => 0,
        };
        // `bar` is `barrier` with `.aligned`.
        let aligned = instruction.row.opcode == Opcode::Bar || has(instruction, Modifier::Aligned);
        let index = self.tables.barriers.len() as u16;
        self.tables.barriers.push(BlockBarrier { kind, aligned, id, count, d, source });
        self.push(Op { aux: index, ..Op::new(Code::Barrier) });
        Ok(())
    }
}
