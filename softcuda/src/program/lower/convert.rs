//! cvt: every pair of integer and floating-point types.

use super::float::rounding;
use super::{Builder, Lowered, bits, has, operand, signed, unsupported};
use crate::program::op::{Code, Op};
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::Modifier;

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64 | Type::Tf32)
}

impl Builder<'_> {
    pub(super) fn convert(&mut self, instruction: &Instruction) -> Lowered {
        let (to, from) = match instruction.types[..] {
            [to, from] => (to, from),
            _ => return Err(unsupported(instruction)),
        };
        if matches!(to, Type::F16x2 | Type::Bf16x2) {
            return self.convert_pair(instruction, to, from);
        }
        match (is_float(to), is_float(from)) {
            (false, false) => self.integer_to_integer(instruction, to, from),
            (false, true) => self.float_to_integer(instruction, to, from),
            (true, false) => self.integer_to_float(instruction, to, from),
            (true, true) => self.float_to_float(instruction, to, from),
        }
    }

    /// `cvt.rn.f16x2.f32 d, a, b`: a becomes the upper half, b the lower.
    fn convert_pair(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        if from != Type::F32 || has(instruction, Modifier::Satfinite) {
            return Err(unsupported(instruction));
        }
        let a = self.source32(operand(instruction, 1)?, Type::F32)?;
        let b = self.source32(operand(instruction, 2)?, Type::F32)?;
        let d = self.destination(operand(instruction, 0)?, to)?;
        let code = if to == Type::F16x2 { Code::F32ToF16x2 } else { Code::F32ToBf16x2 };
        self.emit_aux(code, d, a, b, rounding(instruction));
        if has(instruction, Modifier::Relu) {
            self.clamp_negative(d, to);
        }
        Ok(())
    }

    /// `.relu`: negative halves become 0, NaN stays.
    fn clamp_negative(&mut self, d: u16, ty: Type) {
        let zero = self.word(0);
        let code = match ty {
            Type::F16 | Type::F16x2 => Code::MaxNanF16x2,
            _ => Code::MaxNanBf16x2,
        };
        self.emit(code, d, d, zero, 0);
    }

    fn integer_to_integer(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let mut value = self.source(operand(instruction, 1)?, from)?;
        let destination = operand(instruction, 0)?;
        if bits(from) < 64 {
            value = self.extended(value, from);
        }
        let saturate = has(instruction, Modifier::Sat);
        if saturate {
            // Through 64 bits every source is exact, then clamped to the destination's range.
            if bits(from) < 64 {
                let wide = self.scratch64();
                self.emit(if signed(from) { Code::Sext32To64 } else { Code::Zext32To64 }, wide, value, 0, 0);
                value = wide;
            }
            let clamped = self.scratch64();
            let code = if signed(to) { Code::ClampS64 } else { Code::ClampU64 };
            self.push(Op { d: clamped, a: value, aux: u16::from(signed(from)), imm: bits(to) as i32, ..Op::new(code) });
            value = clamped;
        }
        let from_wide = bits(from) == 64 || saturate;
        if bits(to) == 64 {
            let d = self.destination(destination, to)?;
            let code = match (from_wide, signed(from)) {
                (true, _) => Code::Mov64,
                (false, true) => Code::Sext32To64,
                (false, false) => Code::Zext32To64,
            };
            self.emit(code, d, value, 0, 0);
            return Ok(());
        }
        if from_wide {
            let low = self.scratch32();
            self.emit(Code::UnpackLow, low, value, 0, 0);
            value = low;
        }
        self.store_narrow(destination, to, value)
    }

    /// Writes an integer of type `to`, cut to its width and extended to that of the register.
    fn store_narrow(&mut self, destination: &Operand, to: Type, value: u16) -> Lowered {
        let d = self.destination(destination, to)?;
        let code = match (bits(to), signed(to)) {
            (8, true) => Code::Sext8,
            (8, false) => Code::Zext8,
            (16, true) => Code::Sext16,
            (16, false) => Code::Zext16,
            _ => Code::Mov32,
        };
        self.emit(code, d, value, 0, 0);
        self.store(destination, to, d);
        Ok(())
    }

    /// An f16, bf16, f32 or f64 source as (slot, is f64), subnormals flushed where asked.
    fn float_source(&mut self, instruction: &Instruction, from: Type) -> Lowered<(u16, bool)> {
        let source = operand(instruction, 1)?;
        if from == Type::F64 {
            return Ok((self.source64(source)?, true));
        }
        let mut value = self.source32(source, from)?;
        if matches!(from, Type::F16 | Type::Bf16) {
            let wide = self.scratch32();
            self.emit(if from == Type::F16 { Code::F16ToF32 } else { Code::Bf16ToF32 }, wide, value, 0, 0);
            value = wide;
        } else if has(instruction, Modifier::Ftz) {
            let flushed = self.scratch32();
            self.emit(Code::FtzF32, flushed, value, 0, 0);
            value = flushed;
        }
        Ok((value, false))
    }

    fn float_to_integer(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let (value, double) = self.float_source(instruction, from)?;
        let destination = operand(instruction, 0)?;
        let wide = bits(to) == 64;
        let code = match (double, wide, signed(to)) {
            (false, false, true) => Code::F32ToS32,
            (false, false, false) => Code::F32ToU32,
            (false, true, true) => Code::F32ToS64,
            (false, true, false) => Code::F32ToU64,
            (true, false, true) => Code::F64ToS32,
            (true, false, false) => Code::F64ToU32,
            (true, true, true) => Code::F64ToS64,
            (true, true, false) => Code::F64ToU64,
        };
        let aux = rounding(instruction);
        if wide {
            let d = self.destination(destination, to)?;
            self.emit_aux(code, d, value, 0, aux);
            return Ok(());
        }
        let result = self.scratch32();
        self.emit_aux(code, result, value, 0, aux);
        if bits(to) < 32 {
            let code = if signed(to) { Code::ClampS } else { Code::ClampU };
            self.push(Op { d: result, a: result, imm: bits(to) as i32, ..Op::new(code) });
        }
        self.store_narrow(destination, to, result)
    }

    fn integer_to_float(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let mut value = self.source(operand(instruction, 1)?, from)?;
        let wide = bits(from) == 64;
        if !wide {
            value = self.extended(value, from);
        }
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, to)?;
        let aux = rounding(instruction);
        let to64 = match (wide, signed(from)) {
            (false, true) => Code::S32ToF64,
            (false, false) => Code::U32ToF64,
            (true, true) => Code::S64ToF64,
            (true, false) => Code::U64ToF64,
        };
        match to {
            Type::F32 => {
                let code = match (wide, signed(from)) {
                    (false, true) => Code::S32ToF32,
                    (false, false) => Code::U32ToF32,
                    (true, true) => Code::S64ToF32,
                    (true, false) => Code::U64ToF32,
                };
                self.emit_aux(code, d, value, 0, aux);
                if has(instruction, Modifier::Sat) {
                    self.emit(Code::SatF32, d, d, 0, 0);
                }
            }
            Type::F64 => self.emit_aux(to64, d, value, 0, aux),
            // Integers of at most 32 bits are exact in f64, so that one rounding remains.
            Type::F16 if !wide => {
                let exact = self.scratch64();
                self.emit_aux(to64, exact, value, 0, 0);
                self.emit_aux(Code::F64ToF16, d, exact, 0, aux);
                self.store(destination, to, d);
            }
            _ => return Err(unsupported(instruction)),
        }
        Ok(())
    }

    fn float_to_float(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let (value, double) = self.float_source(instruction, from)?;
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, to)?;
        let aux = rounding(instruction);
        let integral = [Modifier::Rni, Modifier::Rzi, Modifier::Rmi, Modifier::Rpi]
            .iter()
            .any(|&modifier| has(instruction, modifier));
        if has(instruction, Modifier::Satfinite) || to == Type::Tf32 {
            return Err(unsupported(instruction));
        }
        match (double, to) {
            (false, Type::F32) if integral => self.emit_aux(Code::RoundF32, d, value, 0, aux),
            (false, Type::F32) => self.emit(Code::Mov32, d, value, 0, 0),
            (true, Type::F64) if integral => self.emit_aux(Code::RoundF64, d, value, 0, aux),
            (true, Type::F64) => self.emit(Code::Mov64, d, value, 0, 0),
            (false, Type::F64) => self.emit(Code::F32ToF64, d, value, 0, 0),
            (true, Type::F32) => self.emit_aux(Code::F64ToF32, d, value, 0, aux),
            (false, Type::F16) => {
                let mut rounded = value;
                if integral {
                    rounded = self.scratch32();
                    self.emit_aux(Code::RoundF32, rounded, value, 0, aux);
                }
                self.emit_aux(Code::F32ToF16, d, rounded, 0, if integral { 0 } else { aux });
            }
            (true, Type::F16) => self.emit_aux(Code::F64ToF16, d, value, 0, aux),
            (false, Type::Bf16) => self.emit_aux(Code::F32ToBf16, d, value, 0, aux),
            _ => return Err(unsupported(instruction)),
        }
        if has(instruction, Modifier::Relu) {
            self.clamp_negative(d, to);
        }
        if has(instruction, Modifier::Ftz) && to == Type::F32 {
            self.emit(Code::FtzF32, d, d, 0, 0);
        }
        if has(instruction, Modifier::Sat) {
            match to {
                Type::F32 => self.emit(Code::SatF32, d, d, 0, 0),
                Type::F16 => self.emit(Code::SatF16x2, d, d, 0, 0),
                _ => return Err(unsupported(instruction)),
            }
        }
        self.store(destination, to, d);
        Ok(())
    }
}
