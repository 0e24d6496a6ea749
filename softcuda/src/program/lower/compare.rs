//! setp, set, slct: values compared.

use super::{Builder, Lowered, bits, first_type, has, operand, signed, unsupported};
use crate::program::op::Code;
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::Modifier;

impl Builder<'_> {
    /// Compares two values of type `ty` into a predicate slot `d`.
    fn compare(&mut self, instruction: &Instruction, ty: Type, d: u16, a: &Operand, b: &Operand) -> Lowered {
        if ty == Type::Pred {
            return Err(unsupported(instruction));
        }
        let sides = [self.source(a, ty)?, self.source(b, ty)?];
        self.compare_slots(instruction, ty, d, sides)
    }

    /// Compares two values that lie in slots, halves in the low 16 bits of theirs.
    fn compare_slots(&mut self, instruction: &Instruction, ty: Type, d: u16, [mut a, mut b]: [u16; 2]) -> Lowered {
        use Modifier::*;
        let float = matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64);
        match ty {
            Type::F16 | Type::Bf16 => {
                let code = if ty == Type::F16 { Code::F16ToF32 } else { Code::Bf16ToF32 };
                for value in [&mut a, &mut b] {
                    if has(instruction, Ftz) {
                        let flushed = self.scratch32();
                        self.emit(Code::FtzF16x2, flushed, *value, 0, 0);
                        *value = flushed;
                    }
                    let wide = self.scratch32();
                    self.emit(code, wide, *value, 0, 0);
                    *value = wide;
                }
            }
            Type::F32 if has(instruction, Ftz) => {
                for value in [&mut a, &mut b] {
                    let flushed = self.scratch32();
                    self.emit(Code::FtzF32, flushed, *value, 0, 0);
                    *value = flushed;
                }
            }
            _ if !float => (a, b) = (self.extended(a, ty), self.extended(b, ty)),
            _ => {}
        }
        let wide = bits(ty) == 64;
        // (code, operands swapped, result inverted): the rest follows from equal, less, less-or-equal and ordered.
        let order = [Eq, Ne, Lt, Le, Gt, Ge, Lo_, Lo, Ls, Hi_, Hi, Hs, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan, IsNan]
            .into_iter()
            .find(|&order| has(instruction, order))
            .ok_or("a comparison is missing")?;
        let (code, swapped, inverted) = if float {
            let [equal, unequal, less, less_equal, number] = if wide {
                [Code::SetpEqF64, Code::SetpNeF64, Code::SetpLtF64, Code::SetpLeF64, Code::SetpNumF64]
            } else {
                [Code::SetpEqF32, Code::SetpNeF32, Code::SetpLtF32, Code::SetpLeF32, Code::SetpNumF32]
            };
            match order {
                Eq => (equal, false, false),
                Ne => (unequal, false, false),
                Lt => (less, false, false),
                Le => (less_equal, false, false),
                Gt => (less, true, false),
                Ge => (less_equal, true, false),
                Equ => (unequal, false, true),
                Neu => (equal, false, true),
                Ltu => (less_equal, true, true),
                Leu => (less, true, true),
                Gtu => (less_equal, false, true),
                Geu => (less, false, true),
                Num => (number, false, false),
                Nan | IsNan => (number, false, true),
                _ => return Err(unsupported(instruction)),
            }
        } else {
            let sign = signed(ty);
            let [equal, less, less_equal] = match (wide, sign) {
                (false, true) => [Code::SetpEq32, Code::SetpLtS32, Code::SetpLeS32],
                (false, false) => [Code::SetpEq32, Code::SetpLtU32, Code::SetpLeU32],
                (true, true) => [Code::SetpEq64, Code::SetpLtS64, Code::SetpLeS64],
                (true, false) => [Code::SetpEq64, Code::SetpLtU64, Code::SetpLeU64],
            };
            match order {
                Eq => (equal, false, false),
                Ne => (equal, false, true),
                Lt | Lo_ | Lo => (less, false, false),
                Le | Ls => (less_equal, false, false),
                Gt | Hi_ | Hi => (less, true, false),
                Ge | Hs => (less_equal, true, false),
                _ => return Err(unsupported(instruction)),
            }
        };
        let (a, b) = if swapped { (b, a) } else { (a, b) };
        self.emit_aux(code, d, a, b, u16::from(inverted));
        Ok(())
    }

    /// Combines `d` with predicate `c` as the modifiers say; `d` stays where there is no combination.
    pub(super) fn combine(&mut self, instruction: &Instruction, d: u16, value: u16, c: Option<&Operand>) -> Lowered {
        let code = [(Modifier::And, Code::PredAnd), (Modifier::Or, Code::PredOr), (Modifier::Xor, Code::PredXor)]
            .into_iter()
            .find(|(modifier, _)| has(instruction, *modifier));
        match (code, c) {
            (Some((_, code)), Some(c)) => {
                let (mut c, negated) = self.predicate(c)?;
                if negated {
                    let inverse = self.scratch_predicate();
                    self.emit(Code::PredNot, inverse, c, 0, 0);
                    c = inverse;
                }
                self.emit(code, d, value, c, 0);
            }
            (None, None) => {
                if d != value {
                    self.emit(Code::PredMov, d, value, 0, 0);
                }
            }
            _ => return Err("a boolean operator and its predicate go together".to_owned()),
        }
        Ok(())
    }

    pub(super) fn setp(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        if matches!(ty, Type::F16x2 | Type::Bf16x2) {
            return self.setp_packed(instruction, ty);
        }
        let (a, b) = (operand(instruction, 1)?, operand(instruction, 2)?);
        let c = instruction.operands.get(3);
        match operand(instruction, 0)? {
            Operand::Pair(p, q) => {
                let (value, inverse) = (self.scratch_predicate(), self.scratch_predicate());
                self.compare(instruction, ty, value, a, b)?;
                self.emit(Code::PredNot, inverse, value, 0, 0);
                let combined = self.scratch_predicate();
                self.combine(instruction, combined, value, c)?;
                if **q != Operand::Sink {
                    let q = self.predicate(q)?.0;
                    self.combine(instruction, q, inverse, c)?;
                }
                if **p != Operand::Sink {
                    let p = self.predicate(p)?.0;
                    self.emit(Code::PredMov, p, combined, 0, 0);
                }
                Ok(())
            }
            destination => {
                let d = self.predicate(destination)?.0;
                if c.is_none() {
                    return self.compare(instruction, ty, d, a, b);
                }
                let value = self.scratch_predicate();
                self.compare(instruction, ty, value, a, b)?;
                self.combine(instruction, d, value, c)
            }
        }
    }

    /// `setp.lt.f16x2 p|q, a, b`: p from the low halves, q from the high ones.
    fn setp_packed(&mut self, instruction: &Instruction, ty: Type) -> Lowered {
        let (p, q) = match operand(instruction, 0)? {
            Operand::Pair(p, q) => (&**p, &**q),
            single => (single, &Operand::Sink),
        };
        let half = if ty == Type::F16x2 { Type::F16 } else { Type::Bf16 };
        let (a, b) = (self.source32(operand(instruction, 1)?, ty)?, self.source32(operand(instruction, 2)?, ty)?);
        let shift = self.word(16);
        // p may be the predicate that is combined, too: it is written last.
        let mut results = [None; 2];
        for (part, destination) in [p, q].into_iter().enumerate() {
            if *destination == Operand::Sink {
                continue;
            }
            let mut sides = [a, b];
            if part == 1 {
                for side in &mut sides {
                    let high = self.scratch32();
                    self.emit(Code::ShrU32, high, *side, shift, 0);
                    *side = high;
                }
            }
            let value = self.scratch_predicate();
            self.compare_slots(instruction, half, value, sides)?;
            let combined = self.scratch_predicate();
            self.combine(instruction, combined, value, instruction.operands.get(3))?;
            results[part] = Some((self.predicate(destination)?.0, combined));
        }
        for (d, value) in results.into_iter().flatten() {
            self.emit(Code::PredMov, d, value, 0, 0);
        }
        Ok(())
    }

    /// `set.lt.u32.f32 d, a, b`: all ones or 1.0 where true.
    pub(super) fn set(&mut self, instruction: &Instruction) -> Lowered {
        let (to, from) = match instruction.types[..] {
            [to, from] => (to, from),
            _ => return Err(unsupported(instruction)),
        };
        if matches!(from, Type::F16x2 | Type::Bf16x2) {
            return self.set_packed(instruction, to, from);
        }
        let value = self.scratch_predicate();
        self.compare(instruction, from, value, operand(instruction, 1)?, operand(instruction, 2)?)?;
        let combined = self.scratch_predicate();
        self.combine(instruction, combined, value, instruction.operands.get(3))?;
        let yes = match to {
            Type::F32 => 0x3f80_0000,
            Type::U32 | Type::S32 => u32::MAX,
            Type::U16 | Type::S16 => 0xffff,
            Type::F16 => 0x3c00,
            Type::Bf16 => 0x3f80,
            _ => return Err(unsupported(instruction)),
        };
        let (yes, no) = (self.word(yes), self.word(0));
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, to)?;
        self.emit(Code::Selp32, d, yes, no, combined);
        self.store(destination, to, d);
        Ok(())
    }

    /// `set.lt.f16x2.f16x2 d, a, b`: each half for itself.
    fn set_packed(&mut self, instruction: &Instruction, to: Type, from: Type) -> Lowered {
        let half = if from == Type::F16x2 { Type::F16 } else { Type::Bf16 };
        let (a, b) = (self.source32(operand(instruction, 1)?, from)?, self.source32(operand(instruction, 2)?, from)?);
        let yes = match to {
            Type::U32 | Type::S32 => u32::MAX,
            Type::F16x2 => 0x3c00_3c00,
            Type::Bf16x2 => 0x3f80_3f80,
            _ => return Err(unsupported(instruction)),
        };
        let (shift, zero) = (self.word(16), self.word(0));
        let mut parts = [zero; 2];
        for (part, (result, mask)) in parts.iter_mut().zip([0xffff, 0xffff_0000]).enumerate() {
            let mut sides = [a, b];
            if part == 1 {
                for side in &mut sides {
                    let high = self.scratch32();
                    self.emit(Code::ShrU32, high, *side, shift, 0);
                    *side = high;
                }
            }
            let value = self.scratch_predicate();
            self.compare_slots(instruction, half, value, sides)?;
            let combined = self.scratch_predicate();
            self.combine(instruction, combined, value, instruction.operands.get(3))?;
            *result = self.scratch32();
            let yes = self.word(yes & mask);
            self.emit(Code::Selp32, *result, yes, zero, combined);
        }
        let d = self.destination(operand(instruction, 0)?, to)?;
        self.emit(Code::Or32, d, parts[0], parts[1], 0);
        Ok(())
    }

    /// `slct d, a, b, c`: a where c >= 0.
    pub(super) fn slct(&mut self, instruction: &Instruction) -> Lowered {
        let (ty, test) = match instruction.types[..] {
            [ty, test] => (ty, test),
            _ => return Err(unsupported(instruction)),
        };
        let (a, b) = (self.source(operand(instruction, 1)?, ty)?, self.source(operand(instruction, 2)?, ty)?);
        let mut c = self.source32(operand(instruction, 3)?, test)?;
        if test == Type::F32 && has(instruction, Modifier::Ftz) {
            let flushed = self.scratch32();
            self.emit(Code::FtzF32, flushed, c, 0, 0);
            c = flushed;
        }
        let (p, zero) = (self.scratch_predicate(), self.word(0));
        let code = if test == Type::F32 { Code::SetpLeF32 } else { Code::SetpLeS32 };
        self.emit_aux(code, p, zero, c, 0);
        let destination = operand(instruction, 0)?;
        let d = self.destination(destination, ty)?;
        self.emit(if bits(ty) == 64 { Code::Selp64 } else { Code::Selp32 }, d, a, b, p);
        self.store(destination, ty, d);
        Ok(())
    }
}
