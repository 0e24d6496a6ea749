//! Floating-point arithmetic: f32, f64, and halves alone or in pairs.

use super::{Builder, Lowered, first_type, has, operand, unsupported};
use crate::program::op::{Code, Op};
use crate::ptx::ast::{Instruction, Type};
use crate::ptx::isa::{Modifier, Opcode};

/// Rounding bits of `Op::aux`.
pub(super) fn rounding(instruction: &Instruction) -> u16 {
    use Modifier::*;
    if has(instruction, Rz) || has(instruction, Rzi) {
        1
    } else if has(instruction, Rm) || has(instruction, Rmi) {
        2
    } else if has(instruction, Rp) || has(instruction, Rpi) {
        3
    } else {
        0
    }
}

impl Builder<'_> {
    pub(super) fn float(&mut self, instruction: &Instruction) -> Lowered {
        match first_type(instruction)? {
            Type::F32 => self.float32(instruction),
            Type::F64 => self.float64(instruction),
            Type::F16 | Type::F16x2 => self.half(instruction, true),
            _ => self.half(instruction, false),
        }
    }

    fn float32(&mut self, instruction: &Instruction) -> Lowered {
        use Opcode::*;
        if instruction.row.opcode == Testp {
            return self.test_property(instruction, Type::F32);
        }
        let opcode = instruction.row.opcode;
        let (ftz, sat) = (has(instruction, Modifier::Ftz), has(instruction, Modifier::Sat));
        let round = rounding(instruction);
        let approximate = has(instruction, Modifier::Approx);
        let nan = has(instruction, Modifier::Nan);
        let nearest = round == 0;
        let basic = |[plain, flushing, any]: [Code; 3]| match (nearest, ftz) {
            (true, false) => plain,
            (true, true) => flushing,
            (false, _) => any,
        };
        // Codes that flush by themselves; the others get their operands and result flushed around them.
        let (code, count, flushes) = match opcode {
            Add => (basic([Code::AddF32, Code::AddF32Ftz, Code::AddF32Any]), 2, nearest),
            Sub => (basic([Code::SubF32, Code::SubF32Ftz, Code::SubF32Any]), 2, nearest),
            Mul => (basic([Code::MulF32, Code::MulF32Ftz, Code::MulF32Any]), 2, nearest),
            Fma | Mad => (basic([Code::FmaF32, Code::FmaF32Ftz, Code::FmaF32Any]), 3, nearest),
            Div if approximate => (Code::DivApproxF32, 2, false),
            Div if has(instruction, Modifier::Full) => (Code::DivFullF32, 2, false),
            Div => (if nearest { Code::DivF32 } else { Code::DivF32Rounded }, 2, false),
            Sqrt => (if nearest { Code::SqrtF32 } else { Code::SqrtF32Rounded }, 1, false),
            Rcp => (if nearest { Code::RcpF32 } else { Code::RcpF32Rounded }, 1, false),
            Rsqrt => (Code::RsqrtF32, 1, false),
            Min => (if nan { Code::MinNanF32 } else { Code::MinF32 }, 2, false),
            Max => (if nan { Code::MaxNanF32 } else { Code::MaxF32 }, 2, false),
            Abs => (Code::AbsF32, 1, false),
            Neg => (Code::NegF32, 1, false),
            Ex2 => (if ftz { Code::Ex2F32Ftz } else { Code::Ex2F32 }, 1, true),
            Lg2 => (Code::Lg2F32, 1, false),
            Sin => (Code::SinF32, 1, false),
            Cos => (Code::CosF32, 1, false),
            Tanh => (Code::TanhF32, 1, false),
            // PTX's copysign takes the sign from its first source.
            Copysign => (Code::CopysignF32, 2, false),
            _ => return Err(unsupported(instruction)),
        };
        let around = ftz && !flushes;
        let mut sources = Vec::with_capacity(3);
        for index in 1..=count {
            let mut source = self.source32(operand(instruction, index)?, Type::F32)?;
            if around {
                let flushed = self.scratch32();
                self.emit(Code::FtzF32, flushed, source, 0, 0);
                source = flushed;
            }
            sources.push(source);
        }
        let d = self.destination(operand(instruction, 0)?, Type::F32)?;
        let at = |i: usize| sources.get(i).copied().unwrap_or(0);
        if has(instruction, Modifier::Xorsign) {
            let mut magnitudes = [0; 2];
            for (magnitude, index) in magnitudes.iter_mut().zip(0..) {
                *magnitude = self.scratch32();
                self.emit(Code::AbsF32, *magnitude, at(index), 0, 0);
            }
            let result = self.scratch32();
            self.emit(code, result, magnitudes[0], magnitudes[1], 0);
            self.emit(Code::XorsignF32, d, result, at(0), at(1));
            return Ok(());
        }
        self.push(Op { code, d, a: at(0), b: at(1), c: at(2), aux: round, imm: 0 });
        if around {
            self.emit(Code::FtzF32, d, d, 0, 0);
        }
        if sat {
            self.emit(Code::SatF32, d, d, 0, 0);
        }
        Ok(())
    }

    fn float64(&mut self, instruction: &Instruction) -> Lowered {
        use Opcode::*;
        if instruction.row.opcode == Testp {
            return self.test_property(instruction, Type::F64);
        }
        let approximate = has(instruction, Modifier::Approx);
        let (code, count) = match instruction.row.opcode {
            Add => (Code::AddF64, 2),
            Sub => (Code::SubF64, 2),
            Mul => (Code::MulF64, 2),
            Fma | Mad => (Code::FmaF64, 3),
            Div => (Code::DivF64, 2),
            Sqrt => (Code::SqrtF64, 1),
            Rcp if approximate => (Code::RcpApproxF64, 1),
            Rcp => (Code::RcpF64, 1),
            Rsqrt if has(instruction, Modifier::Ftz) => (Code::RsqrtApproxF64, 1),
            Rsqrt => (Code::RsqrtF64, 1),
            Min => (Code::MinF64, 2),
            Max => (Code::MaxF64, 2),
            Abs => (Code::AbsF64, 1),
            Neg => (Code::NegF64, 1),
            Copysign => (Code::CopysignF64, 2),
            _ => return Err(unsupported(instruction)),
        };
        let aux = rounding(instruction);
        let sources: Vec<u16> =
            (1..=count).map(|index| self.source64(operand(instruction, index)?)).collect::<Lowered<_>>()?;
        let d = self.destination(operand(instruction, 0)?, Type::F64)?;
        let at = |i: usize| sources.get(i).copied().unwrap_or(0);
        self.push(Op { code, d, a: at(0), b: at(1), c: at(2), aux, imm: 0 });
        Ok(())
    }

    /// `testp`: the magnitude's bits order all classes.
    fn test_property(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        use Modifier::*;
        let wide = ty == Type::F64;
        let a = self.source(operand(instruction, 1)?, ty)?;
        let p = self.predicate(operand(instruction, 0)?)?.0;
        let (magnitude, infinity, least_normal) = if wide {
            let (magnitude, mask) = (self.scratch64(), self.double(i64::MAX as u64));
            self.emit(Code::And64, magnitude, a, mask, 0);
            (magnitude, self.double(f64::INFINITY.to_bits()), self.double(f64::MIN_POSITIVE.to_bits()))
        } else {
            let magnitude = self.scratch32();
            self.emit(Code::AbsF32, magnitude, a, 0, 0);
            (magnitude, self.word(f32::INFINITY.to_bits()), self.word(f32::MIN_POSITIVE.to_bits()))
        };
        let zero = if wide { self.double(0) } else { self.word(0) };
        let [equal, less] = if wide { [Code::SetpEq64, Code::SetpLtU64] } else { [Code::SetpEq32, Code::SetpLtU32] };
        // A last argument of 1 inverts.
        if has(instruction, Infinite) {
            self.emit_aux(equal, p, magnitude, infinity, 0);
        } else if has(instruction, NotANumber) {
            self.emit_aux(less, p, infinity, magnitude, 0);
        } else if has(instruction, Number) {
            self.emit_aux(less, p, infinity, magnitude, 1);
        } else if has(instruction, Finite) {
            self.emit_aux(less, p, magnitude, infinity, 0);
        } else {
            let (below, nonzero) = (self.scratch_predicate(), self.scratch_predicate());
            self.emit_aux(less, below, magnitude, least_normal, 0);
            self.emit_aux(equal, nonzero, magnitude, zero, 1);
            self.emit(Code::PredAnd, below, below, nonzero, 0);
            if has(instruction, Subnormal) {
                self.emit(Code::PredMov, p, below, 0, 0);
            } else {
                let finite = self.scratch_predicate();
                self.emit_aux(less, finite, magnitude, infinity, 0);
                self.emit(Code::PredNot, below, below, 0, 0);
                self.emit(Code::PredAnd, p, finite, below, 0);
            }
        }
        Ok(())
    }

    /// A single half is computed as a pair whose upper half is cut off again.
    fn half(&mut self, instruction: &Instruction, f16: bool) -> Lowered {
        use Opcode::*;
        let ty = first_type(instruction)?;
        let pick = |f: Code, b: Code| if f16 { f } else { b };
        let nan = has(instruction, Modifier::Nan);
        let relu = has(instruction, Modifier::Relu);
        if relu && instruction.row.opcode != Fma {
            return Err(unsupported(instruction));
        }
        let (code, count) = match instruction.row.opcode {
            Add => (pick(Code::AddF16x2, Code::AddBf16x2), 2),
            Sub => (pick(Code::SubF16x2, Code::SubBf16x2), 2),
            Mul => (pick(Code::MulF16x2, Code::MulBf16x2), 2),
            Fma if relu => (pick(Code::FmaReluF16x2, Code::FmaReluBf16x2), 3),
            Fma => (pick(Code::FmaF16x2, Code::FmaBf16x2), 3),
            Min if nan => (pick(Code::MinNanF16x2, Code::MinNanBf16x2), 2),
            Max if nan => (pick(Code::MaxNanF16x2, Code::MaxNanBf16x2), 2),
            Min => (pick(Code::MinF16x2, Code::MinBf16x2), 2),
            Max => (pick(Code::MaxF16x2, Code::MaxBf16x2), 2),
            Neg => (Code::NegF16x2, 1),
            Abs => (Code::AbsF16x2, 1),
            Ex2 => (pick(Code::Ex2F16x2, Code::Ex2Bf16x2), 1),
            Tanh => (pick(Code::TanhF16x2, Code::TanhBf16x2), 1),
            _ => return Err(unsupported(instruction)),
        };
        // Subnormals of f16 can be flushed; a bf16 operation never flushes unless it says so (ex2.ftz.bf16).
        let ftz = has(instruction, Modifier::Ftz);
        let mut sources = Vec::with_capacity(3);
        for index in 1..=count {
            let mut source = self.source32(operand(instruction, index)?, ty)?;
            if ftz && f16 {
                let flushed = self.scratch32();
                self.emit(Code::FtzF16x2, flushed, source, 0, 0);
                source = flushed;
            }
            sources.push(source);
        }
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, ty)?;
        let at = |i: usize| sources.get(i).copied().unwrap_or(0);
        if has(instruction, Modifier::Xorsign) {
            let mut magnitudes = [0; 2];
            for (magnitude, index) in magnitudes.iter_mut().zip(0..) {
                *magnitude = self.scratch32();
                self.emit(Code::AbsF16x2, *magnitude, at(index), 0, 0);
            }
            let result = self.scratch32();
            self.emit(code, result, magnitudes[0], magnitudes[1], 0);
            self.emit(pick(Code::XorsignF16x2, Code::XorsignBf16x2), d, result, at(0), at(1));
            self.store(destination, ty, d);
            return Ok(());
        }
        self.emit(code, d, at(0), at(1), at(2));
        if ftz && f16 {
            self.emit(Code::FtzF16x2, d, d, 0, 0);
        }
        if has(instruction, Modifier::Sat) {
            if !f16 {
                return Err(unsupported(instruction));
            }
            self.emit(Code::SatF16x2, d, d, 0, 0);
        }
        self.store(destination, ty, d);
        Ok(())
    }
}
