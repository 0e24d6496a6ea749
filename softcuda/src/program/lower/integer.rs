//! Integer, bit and predicate arithmetic.

use super::{Builder, Lowered, bits, first_type, has, operand, signed, unsupported};
use crate::program::op::{Code, Op};
use crate::ptx::ast::{Instruction, Type};
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    pub(super) fn integer(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        if ty == Type::Pred {
            return self.predicate_logic(instruction);
        }
        match instruction.row.opcode {
            Opcode::Mul | Opcode::Mad => self.multiply(instruction, ty),
            Opcode::Mul24 | Opcode::Mad24 => self.multiply24(instruction, ty),
            Opcode::Shl | Opcode::Shr => self.shift(instruction, ty),
            Opcode::Bfe | Opcode::Bfi => self.bit_field(instruction, ty),
            Opcode::Popc | Opcode::Clz | Opcode::Bfind | Opcode::Brev | Opcode::Fns => self.bit_count(instruction, ty),
            Opcode::Bmsk | Opcode::Szext => self.mask(instruction, ty),
            Opcode::Lop3 => self.lop3(instruction, ty),
            Opcode::Dp4a | Opcode::Dp2a => self.dot(instruction),
            Opcode::Addc | Opcode::Subc | Opcode::Madc => self.carry(instruction, ty),
            Opcode::Add | Opcode::Sub if has(instruction, Modifier::Cc) => self.carry(instruction, ty),
            _ => self.simple(instruction, ty),
        }
    }

    pub(super) fn sources(&mut self, instruction: &Instruction, ty: Type, count: usize) -> Lowered<Vec<u16>> {
        (1..=count).map(|index| self.source(operand(instruction, index)?, ty)).collect()
    }

    /// One record for 32 and 64 bits; 16 bits are computed in 32 and cut.
    fn simple(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let wide = bits(ty) == 64;
        let pick = |narrow: Code, double: Code| if wide { double } else { narrow };
        let by_sign = |s: Code, u: Code| if signed(ty) { s } else { u };
        let saturating = has(instruction, Modifier::Sat);
        let packed = matches!(ty, Type::U16x2 | Type::S16x2);
        let (code, count) = match instruction.row.opcode {
            Opcode::Add if packed => (Code::AddU16x2, 2),
            Opcode::Min if packed => (by_sign(Code::MinS16x2, Code::MinU16x2), 2),
            Opcode::Max if packed => (by_sign(Code::MaxS16x2, Code::MaxU16x2), 2),
            Opcode::Add if saturating => (Code::AddSat32, 2),
            Opcode::Sub if saturating => (Code::SubSat32, 2),
            Opcode::Add => (pick(Code::Add32, Code::Add64), 2),
            Opcode::Sub => (pick(Code::Sub32, Code::Sub64), 2),
            Opcode::Min => (pick(by_sign(Code::MinS32, Code::MinU32), by_sign(Code::MinS64, Code::MinU64)), 2),
            Opcode::Max => (pick(by_sign(Code::MaxS32, Code::MaxU32), by_sign(Code::MaxS64, Code::MaxU64)), 2),
            Opcode::Div => (pick(by_sign(Code::DivS32, Code::DivU32), by_sign(Code::DivS64, Code::DivU64)), 2),
            Opcode::Rem => (pick(by_sign(Code::RemS32, Code::RemU32), by_sign(Code::RemS64, Code::RemU64)), 2),
            Opcode::And => (pick(Code::And32, Code::And64), 2),
            Opcode::Or => (pick(Code::Or32, Code::Or64), 2),
            Opcode::Xor => (pick(Code::Xor32, Code::Xor64), 2),
            Opcode::Not => (pick(Code::Not32, Code::Not64), 1),
            Opcode::Sad if wide => return self.sad64(instruction, ty),
            Opcode::Sad => (by_sign(Code::SadS32, Code::SadU32), 3),
            Opcode::Cnot | Opcode::Neg | Opcode::Abs => return self.unary(instruction, ty),
            Opcode::Shf => return self.funnel(instruction),
            _ => return Err(unsupported(instruction)),
        };
        let mut sources = self.sources(instruction, ty, count)?;
        if bits(ty) < 32 && !matches!(instruction.row.opcode, Opcode::And | Opcode::Or | Opcode::Xor | Opcode::Not) {
            for source in &mut sources {
                *source = self.extended(*source, ty);
            }
        }
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, ty)?;
        let at = |i: usize| sources.get(i).copied().unwrap_or(0);
        self.emit(code, d, at(0), at(1), at(2));
        if has(instruction, Modifier::Relu) {
            let zero = self.word(0);
            self.emit(if packed { Code::MaxS16x2 } else { Code::MaxS32 }, d, d, zero, 0);
        }
        self.store(destination, ty, d);
        Ok(())
    }

    /// `sad.u64`: the larger less the smaller, plus c.
    fn sad64(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let sources = self.sources(instruction, ty, 3)?;
        let (larger, smaller) = (self.scratch64(), self.scratch64());
        let (max, min) = if signed(ty) { (Code::MaxS64, Code::MinS64) } else { (Code::MaxU64, Code::MinU64) };
        self.emit(max, larger, sources[0], sources[1], 0);
        self.emit(min, smaller, sources[0], sources[1], 0);
        self.emit(Code::Sub64, larger, larger, smaller, 0);
        let d = self.destination(operand(instruction, 0)?, ty)?;
        self.emit(Code::Add64, d, larger, sources[2], 0);
        Ok(())
    }

    fn unary(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let wide = bits(ty) == 64;
        let mut a = self.source(operand(instruction, 1)?, ty)?;
        if !wide {
            a = self.extended(a, ty);
        }
        let zero = if wide { self.double(0) } else { self.word(0) };
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, ty)?;
        let subtract = if wide { Code::Sub64 } else { Code::Sub32 };
        match instruction.row.opcode {
            Opcode::Neg => self.emit(subtract, d, zero, a, 0),
            Opcode::Abs => {
                let negated = if wide { self.scratch64() } else { self.scratch32() };
                self.emit(subtract, negated, zero, a, 0);
                // The most negative number stays what it is, as on the chip.
                self.emit(if wide { Code::MaxS64 } else { Code::MaxS32 }, d, a, negated, 0);
            }
            _ => {
                let one = if wide { self.double(1) } else { self.word(1) };
                let p = self.scratch_predicate();
                self.emit_aux(if wide { Code::SetpEq64 } else { Code::SetpEq32 }, p, a, zero, 0);
                self.emit(if wide { Code::Selp64 } else { Code::Selp32 }, d, one, zero, p);
            }
        }
        self.store(destination, ty, d);
        Ok(())
    }

    fn multiply(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let mad = instruction.row.opcode == Opcode::Mad;
        let destination = operand(instruction, 0)?;
        let (a, b) = (operand(instruction, 1)?, operand(instruction, 2)?);
        let sign = signed(ty);
        if has(instruction, Modifier::Wide) {
            let (mut x, mut y) = (self.source(a, ty)?, self.source(b, ty)?);
            match bits(ty) {
                16 => {
                    (x, y) = (self.extended(x, ty), self.extended(y, ty));
                    let result = if sign { Type::S32 } else { Type::U32 };
                    let d = self.destination(destination, result)?;
                    if mad {
                        let c = self.source32(operand(instruction, 3)?, result)?;
                        self.emit(Code::Mad32, d, x, y, c);
                    } else {
                        self.emit(Code::Mul32, d, x, y, 0);
                    }
                }
                32 => {
                    let d = self.destination(destination, Type::B64)?;
                    if mad {
                        let c = self.source64(operand(instruction, 3)?)?;
                        self.emit(if sign { Code::MadWideS32 } else { Code::MadWideU32 }, d, x, y, c);
                    } else {
                        self.emit(if sign { Code::MulWideS32 } else { Code::MulWideU32 }, d, x, y, 0);
                    }
                }
                _ => return Err(unsupported(instruction)),
            }
            return Ok(());
        }
        let high = has(instruction, Modifier::Hi);
        let (x, y) = (self.source(a, ty)?, self.source(b, ty)?);
        match (bits(ty), high) {
            (32 | 64, _) if has(instruction, Modifier::Cc) => return self.carry(instruction, ty),
            (64, _) => {
                let code = match (high, sign) {
                    (false, _) => Code::Mul64,
                    (true, true) => Code::MulHiS64,
                    (true, false) => Code::MulHiU64,
                };
                let d = self.destination(destination, ty)?;
                if mad {
                    let c = self.source64(operand(instruction, 3)?)?;
                    let product = self.scratch64();
                    self.emit(code, product, x, y, 0);
                    self.emit(Code::Add64, d, product, c, 0);
                } else {
                    self.emit(code, d, x, y, 0);
                }
            }
            (32, false) => {
                let d = self.destination(destination, ty)?;
                if mad {
                    let c = self.source32(operand(instruction, 3)?, ty)?;
                    self.emit(Code::Mad32, d, x, y, c);
                } else {
                    self.emit(Code::Mul32, d, x, y, 0);
                }
            }
            (32, true) => {
                let code = if sign { Code::MulHiS32 } else { Code::MulHiU32 };
                let d = self.destination(destination, ty)?;
                if mad {
                    let c = self.source32(operand(instruction, 3)?, ty)?;
                    let product = self.scratch32();
                    self.emit(code, product, x, y, 0);
                    let add = if has(instruction, Modifier::Sat) { Code::AddSat32 } else { Code::Add32 };
                    self.emit(add, d, product, c, 0);
                } else {
                    self.emit(code, d, x, y, 0);
                }
            }
            _ => {
                let (x, y) = (self.extended(x, ty), self.extended(y, ty));
                let product = self.scratch32();
                self.emit(Code::Mul32, product, x, y, 0);
                if high {
                    let shift = self.word(16);
                    self.emit(if sign { Code::ShrS32 } else { Code::ShrU32 }, product, product, shift, 0);
                }
                if mad {
                    let c = self.source32(operand(instruction, 3)?, ty)?;
                    self.emit(Code::Add32, product, product, c, 0);
                }
                let d = self.destination(destination, ty)?;
                self.emit(Code::Mov32, d, product, 0, 0);
                self.store(destination, ty, d);
            }
        }
        Ok(())
    }

    /// `mul24`, `mad24`: both factors at the top of 32 bits, where the upper half of their product is bits 16 to 47 of that
    /// of the low 24 bits.
    fn multiply24(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let mad = instruction.row.opcode == Opcode::Mad24;
        let sources = self.sources(instruction, ty, if mad { 3 } else { 2 })?;
        let eight = self.word(8);
        let (x, y, product) = (self.scratch32(), self.scratch32(), self.scratch32());
        self.emit(Code::Shl32, x, sources[0], eight, 0);
        self.emit(Code::Shl32, y, sources[1], eight, 0);
        if has(instruction, Modifier::Hi) {
            self.emit(if signed(ty) { Code::MulHiS32 } else { Code::MulHiU32 }, product, x, y, 0);
        } else {
            for factor in [x, y] {
                self.emit(if signed(ty) { Code::ShrS32 } else { Code::ShrU32 }, factor, factor, eight, 0);
            }
            self.emit(Code::Mul32, product, x, y, 0);
        }
        let d = self.destination(operand(instruction, 0)?, ty)?;
        match (mad, has(instruction, Modifier::Sat)) {
            (false, _) => self.emit(Code::Mov32, d, product, 0, 0),
            (true, false) => self.emit(Code::Add32, d, product, sources[2], 0),
            (true, true) => self.emit(Code::AddSat32, d, product, sources[2], 0),
        }
        Ok(())
    }

    /// Extended precision: `aux` bit 0 takes the carry in, bit 1 writes it.
    fn carry(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let takes = matches!(instruction.row.opcode, Opcode::Addc | Opcode::Subc | Opcode::Madc);
        let aux = u16::from(takes) | u16::from(has(instruction, Modifier::Cc)) << 1;
        let wide = bits(ty) == 64;
        let (code, count) = match instruction.row.opcode {
            Opcode::Add | Opcode::Addc => (if wide { Code::AddCarry64 } else { Code::AddCarry }, 2),
            Opcode::Sub | Opcode::Subc => (if wide { Code::SubCarry64 } else { Code::SubCarry }, 2),
            _ => {
                let code = match (wide, has(instruction, Modifier::Lo), signed(ty)) {
                    (false, true, _) => Code::MadCarryLo,
                    (false, false, true) => Code::MadCarryHiS,
                    (false, false, false) => Code::MadCarryHiU,
                    (true, true, _) => Code::MadCarryLo64,
                    (true, false, true) => Code::MadCarryHiS64,
                    (true, false, false) => Code::MadCarryHiU64,
                };
                (code, 3)
            }
        };
        let sources = self.sources(instruction, ty, count)?;
        let d = self.destination(operand(instruction, 0)?, ty)?;
        let c = sources.get(2).copied().unwrap_or(0);
        self.push(Op { code, d, a: sources[0], b: sources[1], c, aux, imm: 0 });
        Ok(())
    }

    fn predicate_logic(&mut self, instruction: &Instruction) -> Lowered {
        let d = self.predicate(operand(instruction, 0)?)?.0;
        let mut sources = Vec::new();
        for index in 1..instruction.operands.len() {
            let (mut slot, negated) = self.predicate(operand(instruction, index)?)?;
            if negated {
                let inverse = self.scratch_predicate();
                self.emit(Code::PredNot, inverse, slot, 0, 0);
                slot = inverse;
            }
            sources.push(slot);
        }
        let code = match instruction.row.opcode {
            Opcode::And => Code::PredAnd,
            Opcode::Or => Code::PredOr,
            Opcode::Xor => Code::PredXor,
            Opcode::Not => Code::PredNot,
            _ => return Err(unsupported(instruction)),
        };
        let at = |i: usize| sources.get(i).copied().unwrap_or(0);
        self.emit(code, d, at(0), at(1), 0);
        Ok(())
    }
}
