//! mov, selp, prmt, set, setp: values moved, chosen and compared.

use super::{Builder, Lowered, bits, first_type, has, operand};
use crate::program::op::{Code, Op, Preset};
use crate::ptx::ast::{Instruction, Operand, Special, Type};
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    pub(super) fn moves(&mut self, instruction: &Instruction) -> Lowered {
        match instruction.row.opcode {
            Opcode::Mov => self.mov(instruction),
            Opcode::Selp => {
                let ty = first_type(instruction)?;
                let (a, b) = (self.source(operand(instruction, 1)?, ty)?, self.source(operand(instruction, 2)?, ty)?);
                let (p, negated) = self.predicate(operand(instruction, 3)?)?;
                let destination = operand(instruction, 0)?;
                let d = self.destination(destination, ty)?;
                let code = if bits(ty) == 64 { Code::Selp64 } else { Code::Selp32 };
                let (a, b) = if negated { (b, a) } else { (a, b) };
                self.emit(code, d, a, b, p);
                self.store(destination, ty, d);
                Ok(())
            }
            Opcode::Prmt => self.prmt(instruction),
            Opcode::Setp => self.setp(instruction),
            Opcode::Set => self.set(instruction),
            _ => self.slct(instruction),
        }
    }

    /// A 32-bit special register: a preset, or a read where its value changes.
    pub(super) fn special32(&mut self, special: Special) -> Lowered<u16> {
        match special {
            Special::Clock | Special::Clock64 | Special::GlobalTimer | Special::GlobalTimerLo => {
                let slot = self.scratch32();
                self.push(Op { d: slot, ..Op::new(Code::ReadSpecial) });
                Ok(slot)
            }
            Special::ClockHi | Special::GlobalTimerHi => {
                let slot = self.scratch32();
                self.push(Op { d: slot, aux: 1, ..Op::new(Code::ReadSpecial) });
                Ok(slot)
            }
            special => Ok(self.preset(Preset::Special(special))),
        }
    }

    fn mov(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        let (destination, source) = (operand(instruction, 0)?, operand(instruction, 1)?);
        match (destination, source) {
            (_, _) if ty == Type::Pred => {
                let d = self.predicate(destination)?.0;
                let (a, negated) = self.predicate(source)?;
                self.emit(if negated { Code::PredNot } else { Code::PredMov }, d, a, 0, 0);
            }
            (Operand::Vector(parts), _) => return self.unpack(parts, source, ty),
            (_, Operand::Vector(parts)) => return self.pack(destination, parts, ty),
            (_, Operand::Register(_)) if ty == Type::B128 => {
                let (d, a) = (self.destination(destination, ty)?, self.source(source, ty)?);
                self.emit(Code::Mov64, d, a, 0, 0);
                self.emit(Code::Mov64, d + 2, a + 2, 0, 0);
            }
            _ => {
                let a = self.source(source, ty)?;
                let d = self.destination(destination, ty)?;
                self.emit(if bits(ty) == 64 { Code::Mov64 } else { Code::Mov32 }, d, a, 0, 0);
                self.store(destination, ty, d);
            }
        }
        Ok(())
    }

    /// `mov.b64 {lo, hi}, d` and its narrower kin.
    fn unpack(&mut self, parts: &[Operand], source: &Operand, ty: Type) -> Lowered {
        match (bits(ty), parts.len()) {
            (128, 2) => {
                let a = self.source(source, ty)?;
                for (part, slot) in parts.iter().zip([a, a + 2]) {
                    let d = self.destination(part, Type::B64)?;
                    self.emit(Code::Mov64, d, slot, 0, 0);
                }
            }
            (64, 2) => {
                let a = self.source64(source)?;
                // Both halves are read before either is written: a half may be the source's own slot's neighbour.
                for (part, code) in parts.iter().zip([Code::UnpackLow, Code::UnpackHigh]) {
                    let d = self.destination(part, Type::B32)?;
                    self.emit(code, d, a, 0, 0);
                }
            }
            (64, 4) => {
                let a = self.source64(source)?;
                for (half, code) in [Code::UnpackLow, Code::UnpackHigh].into_iter().enumerate() {
                    let word = self.scratch32();
                    self.emit(code, word, a, 0, 0);
                    self.split16(&parts[2 * half..2 * half + 2], word)?;
                }
            }
            (32, 2) => {
                let a = self.source32(source, Type::B32)?;
                self.split16(parts, a)?;
            }
            (32, 4) => {
                let a = self.source32(source, Type::B32)?;
                for (i, part) in parts.iter().enumerate() {
                    let d = self.destination(part, Type::B8)?;
                    let shift = self.word(8 * i as u32);
                    self.emit(Code::ShrU32, d, a, shift, 0);
                    self.emit(Code::Zext8, d, d, 0, 0);
                }
            }
            (16, 2) => {
                let a = self.source32(source, Type::B16)?;
                let shift = self.word(8);
                let (low, high) = (self.destination(&parts[0], Type::B8)?, self.destination(&parts[1], Type::B8)?);
                let word = self.scratch32();
                self.emit(Code::ShrU32, word, a, shift, 0);
                self.emit(Code::Zext8, low, a, 0, 0);
                self.emit(Code::Zext8, high, word, 0, 0);
            }
            (width, count) => {
                return Err(format!("{width} bits cannot be unpacked into {count} parts"));
            }
        }
        Ok(())
    }

    fn split16(&mut self, parts: &[Operand], word: u16) -> Lowered {
        // The high half goes through a scratch slot: the low half's register may be the source itself.
        let shift = self.word(16);
        let high = self.scratch32();
        self.emit(Code::ShrU32, high, word, shift, 0);
        let low = self.destination(&parts[0], Type::B16)?;
        self.emit(Code::Zext16, low, word, 0, 0);
        let d = self.destination(&parts[1], Type::B16)?;
        self.emit(Code::Mov32, d, high, 0, 0);
        Ok(())
    }

    fn pack(&mut self, destination: &Operand, parts: &[Operand], ty: Type) -> Lowered {
        let d = self.destination(destination, ty)?;
        match (bits(ty), parts) {
            (128, [low, high]) => {
                for (part, slot) in [(low, d), (high, d + 2)] {
                    let a = self.source64(part)?;
                    self.emit(Code::Mov64, slot, a, 0, 0);
                }
            }
            (64, [low, high]) => {
                let (low, high) = (self.source32(low, Type::B32)?, self.source32(high, Type::B32)?);
                self.emit(Code::Pack64, d, low, high, 0);
            }
            (64, [a, b, c, e]) => {
                let (a, b) = (self.source32(a, Type::B16)?, self.source32(b, Type::B16)?);
                let (c, e) = (self.source32(c, Type::B16)?, self.source32(e, Type::B16)?);
                let (low, high) = (self.scratch32(), self.scratch32());
                self.emit(Code::Pack16, low, a, b, 0);
                self.emit(Code::Pack16, high, c, e, 0);
                self.emit(Code::Pack64, d, low, high, 0);
            }
            (32, [low, high]) => {
                let (low, high) = (self.source32(low, Type::B16)?, self.source32(high, Type::B16)?);
                self.emit(Code::Pack16, d, low, high, 0);
            }
            (32, [a, b, c, e]) => {
                let mut halves = [0; 2];
                for (half, (low, high)) in halves.iter_mut().zip([(a, b), (c, e)]) {
                    *half = self.pack_bytes(low, high)?;
                }
                self.emit(Code::Pack16, d, halves[0], halves[1], 0);
            }
            (16, [low, high]) => {
                let word = self.pack_bytes(low, high)?;
                self.emit(Code::Mov32, d, word, 0, 0);
            }
            (width, parts) => {
                return Err(format!("{} parts cannot be packed into {width} bits", parts.len()));
            }
        }
        Ok(())
    }

    fn pack_bytes(&mut self, low: &Operand, high: &Operand) -> Lowered<u16> {
        let (low, high) = (self.source32(low, Type::B8)?, self.source32(high, Type::B8)?);
        let (word, byte, shift) = (self.scratch32(), self.scratch32(), self.word(8));
        self.emit(Code::Shl32, word, high, shift, 0);
        self.emit(Code::Zext8, byte, low, 0, 0);
        self.emit(Code::Or32, word, word, byte, 0);
        Ok(word)
    }

    fn prmt(&mut self, instruction: &Instruction) -> Lowered {
        let modes = [
            Modifier::ModeF4e,
            Modifier::ModeB4e,
            Modifier::ModeRc8,
            Modifier::ModeEcl,
            Modifier::ModeEcr,
            Modifier::ModeRc16,
        ];
        let a = self.source32(operand(instruction, 1)?, Type::B32)?;
        let b = self.source32(operand(instruction, 2)?, Type::B32)?;
        let c = self.source32(operand(instruction, 3)?, Type::B32)?;
        let d = self.destination(operand(instruction, 0)?, Type::B32)?;
        match modes.iter().position(|&mode| has(instruction, mode)) {
            None => self.emit(Code::Prmt, d, a, b, c),
            Some(mode) => self.push(Op { code: Code::PrmtMode, d, a, b, c, aux: mode as u16, imm: 0 }),
        }
        Ok(())
    }
}
