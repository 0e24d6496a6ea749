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
            [to, from] | [to, from, _] => (to, from),
            _ => return Err(unsupported(instruction)),
        };
        match (to, from) {
            _ if has(instruction, Modifier::Pack) => return self.convert_and_pack(instruction, to),
            (Type::F16x2 | Type::Bf16x2, Type::F32) => return self.convert_pair(instruction, to),
            (Type::E4m3x2 | Type::E5m2x2, _) | (_, Type::E4m3x2 | Type::E5m2x2) => {
                return self.convert_fp8(instruction, to, from);
            }
            (Type::Tf32, _) => return self.convert_to_tf32(instruction),
            _ => {}
        }
        match (is_float(to), is_float(from)) {
            (false, false) => self.integer_to_integer(instruction, to, from),
            (false, true) => self.float_to_integer(instruction, to, from),
            (true, false) => self.integer_to_float(instruction, to, from),
            (true, true) => self.float_to_float(instruction, to, from),
        }
    }

    /// `cvt.rn.f16x2.f32 d, a, b`: a becomes the upper half, b the lower.
    fn convert_pair(&mut self, instruction: &Instruction, to: Type) -> Lowered {
        let a = self.source32(operand(instruction, 1)?, Type::F32)?;
        let b = self.source32(operand(instruction, 2)?, Type::F32)?;
        let d = self.destination(operand(instruction, 0)?, to)?;
        let code = if to == Type::F16x2 { Code::F32ToF16x2 } else { Code::F32ToBf16x2 };
        self.emit_aux(code, d, a, b, rounding(instruction));
        self.clamp(instruction, d, to);
        Ok(())
    }

    /// `.satfinite` and `.relu` of results in f16 and bf16.
    fn clamp(&mut self, instruction: &Instruction, d: u16, ty: Type) {
        let f16 = matches!(ty, Type::F16 | Type::F16x2);
        if has(instruction, Modifier::Satfinite) {
            self.emit(if f16 { Code::SatfiniteF16x2 } else { Code::SatfiniteBf16x2 }, d, d, 0, 0);
        }
        if has(instruction, Modifier::Relu) {
            // Negative halves become 0, NaN stays.
            let zero = self.word(0);
            self.emit(if f16 { Code::MaxNanF16x2 } else { Code::MaxNanBf16x2 }, d, d, zero, 0);
        }
    }

    /// `cvt.pack.sat.u8.s32.b32 d, a, b, c`: b lowest, then a, then the low bits of c.
    fn convert_and_pack(&mut self, instruction: &Instruction, to: Type) -> Lowered {
        let a = self.source32(operand(instruction, 1)?, Type::S32)?;
        let b = self.source32(operand(instruction, 2)?, Type::S32)?;
        let c = match instruction.operands.get(3) {
            Some(c) => self.source32(c, Type::B32)?,
            None => self.word(0),
        };
        let d = self.destination(operand(instruction, 0)?, Type::B32)?;
        self.push(Op { code: Code::CvtPack, d, a, b, c, aux: u16::from(signed(to)), imm: bits(to) as i32 });
        Ok(())
    }

    /// Pairs of e4m3 or e5m2: `aux` bit 0 says e5m2, bit 1 `.relu`.
    fn convert_fp8(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let a = self.source32(operand(instruction, 1)?, from)?;
        let (code, b) = match from {
            Type::F32 => (Code::F32ToFp8x2, self.source32(operand(instruction, 2)?, from)?),
            Type::F16x2 => (Code::F16x2ToFp8x2, a),
            _ => (Code::Fp8x2ToF16x2, a),
        };
        let e5m2 = matches!(to, Type::E5m2x2) || matches!(from, Type::E5m2x2);
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, to)?;
        self.emit_aux(code, d, a, b, u16::from(e5m2) | u16::from(has(instruction, Modifier::Relu)) << 1);
        self.store(destination, to, d);
        Ok(())
    }

    /// `cvt.rna.tf32.f32`: `aux` bits 0 and 1 are the rounding, bit 2 ties away from zero, 3 `.relu`, 4 `.satfinite`.
    fn convert_to_tf32(&mut self, instruction: &Instruction) -> Lowered {
        let a = self.source32(operand(instruction, 1)?, Type::F32)?;
        let d = self.destination(operand(instruction, 0)?, Type::Tf32)?;
        let flag = |modifier, bit| u16::from(has(instruction, modifier)) << bit;
        let flags = flag(Modifier::Rna, 2) | flag(Modifier::Relu, 3) | flag(Modifier::Satfinite, 4);
        self.emit_aux(Code::F32ToTf32, d, a, a, rounding(instruction) | flags);
        Ok(())
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
        self.push(Op { code, d: result, a: value, aux, imm: bits(to) as i32, ..Op::new(code) });
        // Of f64 the conversion itself goes by the width, for NaN's sake.
        if bits(to) < 32 && !double {
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
            Type::F64 => {
                self.emit_aux(to64, d, value, 0, aux);
                if has(instruction, Modifier::Sat) {
                    self.emit(Code::SatF64, d, d, 0, 0);
                }
            }
            _ => {
                if !wide {
                    let extended = self.scratch64();
                    let code = if signed(from) { Code::Sext32To64 } else { Code::Zext32To64 };
                    self.emit(code, extended, value, 0, 0);
                    value = extended;
                }
                let odd = self.scratch32();
                self.emit(if signed(from) { Code::S64ToOddF32 } else { Code::U64ToOddF32 }, odd, value, 0, 0);
                let code = if to == Type::F16 { Code::F32ToF16 } else { Code::F32ToBf16 };
                self.emit_aux(code, d, odd, 0, aux);
                if has(instruction, Modifier::Sat) {
                    self.emit(Code::SatF16x2, d, d, 0, 0);
                }
                self.store(destination, to, d);
            }
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
        match (double, to) {
            (false, Type::F32) if integral => self.emit_aux(Code::RoundF32, d, value, 0, aux),
            (false, Type::F32) => self.emit(Code::Mov32, d, value, 0, 0),
            (true, Type::F64) if integral => self.emit_aux(Code::RoundF64, d, value, 0, aux),
            (true, Type::F64) => self.emit(Code::Mov64, d, value, 0, 0),
            (false, Type::F64) => self.emit(Code::F32ToF64, d, value, 0, 0),
            (true, Type::F32) => self.emit_aux(Code::F64ToF32, d, value, 0, aux),
            (false, Type::F16 | Type::Bf16) => {
                let mut rounded = value;
                if integral {
                    rounded = self.scratch32();
                    self.emit_aux(Code::RoundF32, rounded, value, 0, aux);
                }
                let code = if to == Type::F16 { Code::F32ToF16 } else { Code::F32ToBf16 };
                self.emit_aux(code, d, rounded, 0, if integral { 0 } else { aux });
            }
            (true, Type::F16) => self.emit_aux(Code::F64ToF16, d, value, 0, aux),
            (true, Type::Bf16) => self.emit_aux(Code::F64ToBf16, d, value, 0, aux),
            _ => return Err(unsupported(instruction)),
        }
        self.clamp(instruction, d, to);
        if has(instruction, Modifier::Ftz) && to == Type::F32 {
            self.emit(Code::FtzF32, d, d, 0, 0);
        }
        if has(instruction, Modifier::Sat) {
            match to {
                Type::F32 => self.emit(Code::SatF32, d, d, 0, 0),
                Type::F64 => self.emit(Code::SatF64, d, d, 0, 0),
                Type::F16 => self.emit(Code::SatF16x2, d, d, 0, 0),
                _ => return Err(unsupported(instruction)),
            }
        }
        self.store(destination, to, d);
        Ok(())
    }
}
