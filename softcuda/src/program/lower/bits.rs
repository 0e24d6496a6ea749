//! Shifts, bit fields, counts, masks, truth tables, dot products.

use super::{Builder, Lowered, bits, has, operand, signed, unsupported};
use crate::program::op::{Code, Op};
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    /// `bmsk`, `szext`.
    pub(super) fn mask(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let sources = self.sources(instruction, Type::U32, 2)?;
        let clamp = has(instruction, Modifier::Clamp);
        let code = match instruction.row.opcode {
            Opcode::Szext if signed(ty) => Code::SzextS,
            Opcode::Szext => Code::SzextU,
            _ if clamp => Code::BmskClamp,
            _ => Code::BmskWrap,
        };
        let d = self.destination(operand(instruction, 0)?, ty)?;
        self.emit_aux(code, d, sources[0], sources[1], u16::from(clamp));
        Ok(())
    }

    pub(super) fn lop3(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let sources = self.sources(instruction, ty, 3)?;
        let lut = match operand(instruction, 4)? {
            Operand::Integer(value) => *value as i32,
            _ => return Err("the truth table must be a constant".to_owned()),
        };
        let [a, b, c] = sources[..] else {
            return Err(unsupported(instruction));
        };
        let (destination, predicate) = match operand(instruction, 0)? {
            Operand::Pair(d, p) => (&**d, Some(&**p)),
            single => (single, None),
        };
        let d = self.destination(destination, ty)?;
        self.push(Op { code: Code::Lop3, d, a, b, c, aux: 0, imm: lut });
        match predicate {
            Some(p) => self.lop3_predicate(instruction, d, p),
            None => Ok(()),
        }
    }

    /// `lop3.or d|p, a, b, c, table, q`: p = (d != 0) or q.
    pub(super) fn lop3_predicate(&mut self, instruction: &Instruction, d: u16, p: &Operand) -> Lowered {
        let (nonzero, zero) = (self.scratch_predicate(), self.word(0));
        // Equal, inverted.
        self.emit_aux(Code::SetpEq32, nonzero, d, zero, 1);
        let p = self.predicate(p)?.0;
        self.combine(instruction, p, nonzero, instruction.operands.get(5))
    }

    pub(super) fn shift(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let mut a = self.source(operand(instruction, 1)?, ty)?;
        let b = self.source32(operand(instruction, 2)?, Type::U32)?;
        let left = instruction.row.opcode == Opcode::Shl;
        if bits(ty) < 32 && !left {
            a = self.extended(a, ty);
        }
        let code = match (bits(ty) == 64, left, signed(ty)) {
            (false, true, _) => Code::Shl32,
            (false, false, true) => Code::ShrS32,
            (false, false, false) => Code::ShrU32,
            (true, true, _) => Code::Shl64,
            (true, false, true) => Code::ShrS64,
            (true, false, false) => Code::ShrU64,
        };
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, ty)?;
        self.emit(code, d, a, b, 0);
        self.store(destination, ty, d);
        Ok(())
    }

    pub(super) fn funnel(&mut self, instruction: &Instruction) -> Lowered {
        let sources = self.sources(instruction, Type::B32, 3)?;
        let code = match (has(instruction, Modifier::L), has(instruction, Modifier::Clamp)) {
            (true, false) => Code::ShfL,
            (false, false) => Code::ShfR,
            (true, true) => Code::ShfLClamp,
            (false, true) => Code::ShfRClamp,
        };
        let d = self.destination(operand(instruction, 0)?, Type::B32)?;
        self.emit(code, d, sources[0], sources[1], sources[2]);
        Ok(())
    }

    pub(super) fn bit_field(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let wide = bits(ty) == 64;
        let destination = operand(instruction, 0)?;
        if instruction.row.opcode == Opcode::Bfi {
            let (a, b) = (self.source(operand(instruction, 1)?, ty)?, self.source(operand(instruction, 2)?, ty)?);
            let c = self.source32(operand(instruction, 3)?, Type::U32)?;
            let length = self.source32(operand(instruction, 4)?, Type::U32)?;
            let d = self.destination(destination, ty)?;
            self.push(Op { code: if wide { Code::Bfi64 } else { Code::Bfi32 }, d, a, b, c, aux: length, imm: 0 });
            return Ok(());
        }
        let a = self.source(operand(instruction, 1)?, ty)?;
        let b = self.source32(operand(instruction, 2)?, Type::U32)?;
        let c = self.source32(operand(instruction, 3)?, Type::U32)?;
        let d = self.destination(destination, ty)?;
        let code = match (wide, signed(ty)) {
            (false, true) => Code::BfeS32,
            (false, false) => Code::BfeU32,
            (true, true) => Code::BfeS64,
            (true, false) => Code::BfeU64,
        };
        self.emit(code, d, a, b, c);
        Ok(())
    }

    pub(super) fn bit_count(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let wide = bits(ty) == 64;
        let destination = operand(instruction, 0)?;
        if instruction.row.opcode == Opcode::Fns {
            let sources = self.sources(instruction, Type::B32, 3)?;
            let d = self.destination(destination, ty)?;
            self.emit(Code::Fns, d, sources[0], sources[1], sources[2]);
            return Ok(());
        }
        let a = self.source(operand(instruction, 1)?, ty)?;
        let amount = has(instruction, Modifier::Shiftamt);
        let (code, result) = match (instruction.row.opcode, wide) {
            (Opcode::Popc, false) => (Code::Popc32, Type::U32),
            (Opcode::Popc, true) => (Code::Popc64, Type::U32),
            (Opcode::Clz, false) => (Code::Clz32, Type::U32),
            (Opcode::Clz, true) => (Code::Clz64, Type::U32),
            (Opcode::Brev, false) => (Code::Brev32, ty),
            (Opcode::Brev, true) => (Code::Brev64, ty),
            (_, false) if amount => (if signed(ty) { Code::BfindShiftS32 } else { Code::BfindShiftU32 }, Type::U32),
            (_, false) => (if signed(ty) { Code::BfindS32 } else { Code::BfindU32 }, Type::U32),
            (_, true) if amount => (if signed(ty) { Code::BfindShiftS64 } else { Code::BfindShiftU64 }, Type::U32),
            (_, true) => (if signed(ty) { Code::BfindS64 } else { Code::BfindU64 }, Type::U32),
        };
        let d = self.destination(destination, result)?;
        self.emit(code, d, a, 0, 0);
        Ok(())
    }

    pub(super) fn dot(&mut self, instruction: &Instruction) -> Lowered {
        let [x, y] = instruction.types[..] else {
            return Err(unsupported(instruction));
        };
        let code = match (instruction.row.opcode, has(instruction, Modifier::Hi)) {
            (Opcode::Dp4a, _) => [[Code::Dp4aUU, Code::Dp4aUS], [Code::Dp4aSU, Code::Dp4aSS]],
            (_, false) => [[Code::Dp2aLoUU, Code::Dp2aLoUS], [Code::Dp2aLoSU, Code::Dp2aLoSS]],
            (_, true) => [[Code::Dp2aHiUU, Code::Dp2aHiUS], [Code::Dp2aHiSU, Code::Dp2aHiSS]],
        }[usize::from(signed(x))][usize::from(signed(y))];
        let sources = self.sources(instruction, Type::B32, 3)?;
        let d = self.destination(operand(instruction, 0)?, Type::B32)?;
        self.emit(code, d, sources[0], sources[1], sources[2]);
        Ok(())
    }
}
