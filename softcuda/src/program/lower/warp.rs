//! Warp-level instructions: shuffles, votes, matrix loads and multiplications.

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
            Opcode::Ldmatrix => self.ldmatrix(instruction),
            Opcode::Movmatrix => {
                let a = self.source32(operand(instruction, 1)?, Type::B32)?;
                let d = self.destination(operand(instruction, 0)?, Type::B32)?;
                self.emit(Code::Movmatrix, d, a, 0, 0);
                Ok(())
            }
            Opcode::Mma => self.mma(instruction),
            Opcode::Nanosleep => {
                self.push(Op::new(Code::Nop));
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

    fn ldmatrix(&mut self, instruction: &Instruction) -> Lowered {
        let parts = match operand(instruction, 0)? {
            Operand::Vector(parts) => parts.as_slice(),
            single => std::slice::from_ref(single),
        };
        let data = parts.iter().map(|part| self.destination(part, Type::B32)).collect::<Lowered<Vec<_>>>()?;
        if !matches!(data.len(), 1 | 2 | 4) {
            return Err("the destination must have 1, 2 or 4 registers".to_owned());
        }
        let Operand::Address(base, offset) = operand(instruction, 1)? else {
            return Err("expected an address in brackets".to_owned());
        };
        let (slot, address, offset) = match base {
            crate::ptx::ast::Base::Register(register) => match self.register_kind(*register) {
                crate::program::liveness::Kind::Word => (self.register_slot(*register), AddressWidth::Narrow, *offset),
                _ => (self.register_slot(*register), AddressWidth::Wide, *offset),
            },
            _ => return Err("the address must be a register".to_owned()),
        };
        let index = self.tables.matrix_loads.len() as u16;
        self.tables.matrix_loads.push(MatrixLoad {
            data,
            transposed: has(instruction, Modifier::Trans),
            address,
            offset,
            generic: !has(instruction, Modifier::Shared),
        });
        self.push(Op { a: slot, aux: index, ..Op::new(Code::Ldmatrix) });
        Ok(())
    }

    fn fragment<const N: usize>(&mut self, operand: &Operand, write: bool) -> Lowered<[u16; N]> {
        let Operand::Vector(parts) = operand else {
            return Err("expected a fragment in braces".to_owned());
        };
        let mut slots = [0; N];
        if parts.len() != N {
            return Err(format!("a fragment has {} registers, expected {N}", parts.len()));
        }
        for (slot, part) in slots.iter_mut().zip(parts) {
            *slot = if write { self.destination(part, Type::B32)? } else { self.source32(part, Type::B32)? };
        }
        Ok(slots)
    }

    fn mma(&mut self, instruction: &Instruction) -> Lowered {
        use Type::*;
        if !has(instruction, Modifier::M16n8k16) {
            return Err(unsupported(instruction));
        }
        let kind = match instruction.types[..] {
            [F32, F16, F16, F32] => MmaKind::F16F32,
            [F32, Bf16, Bf16, F32] => MmaKind::Bf16F32,
            [F16, F16, F16, F16] => MmaKind::F16F16,
            _ => return Err(unsupported(instruction)),
        };
        let (d, c) = if kind == MmaKind::F16F16 {
            let [d0, d1] = self.fragment::<2>(operand(instruction, 0)?, true)?;
            let [c0, c1] = self.fragment::<2>(operand(instruction, 3)?, false)?;
            ([d0, d1, 0, 0], [c0, c1, 0, 0])
        } else {
            (self.fragment(operand(instruction, 0)?, true)?, self.fragment(operand(instruction, 3)?, false)?)
        };
        let a = self.fragment(operand(instruction, 1)?, false)?;
        let b = self.fragment(operand(instruction, 2)?, false)?;
        let index = self.tables.multiplies.len() as u16;
        self.tables.multiplies.push(MatrixMultiply { kind, d, a, b, c });
        self.push(Op { aux: index, ..Op::new(Code::Mma) });
        Ok(())
    }
}
