//! PTX instructions that machine code does not have, since ptxas folds them into others: constants added to addresses, factors of
//! indices, sums of three, chains of logic. What the time model counts; results do not depend on it.

use super::liveness::{destinations, registers};
use crate::ptx::ast::{Base, Body, Instruction, Operand, RegisterId, Type};
use crate::ptx::isa::{Modifier, Opcode};

/// Constants beyond this have no room in the address of a load or store.
const LARGEST_OFFSET: i64 = 1 << 23;

/// For each instruction of a function, whether it is folded into another one.
pub(super) fn folded(body: &Body) -> Vec<bool> {
    let mut values = Values::new(body);
    // Who uses a result stands behind it, and is decided before it; a loop's way back matters little.
    for index in (0..body.instructions.len()).rev() {
        values.folded[index] = values.folds(index);
    }
    values.folded
}

/// Where values come from and go to, and what has been decided.
struct Values<'a> {
    instructions: &'a [Instruction],
    /// The instruction that writes each register, if there is one only.
    writers: Vec<Option<usize>>,
    /// How many write it.
    writes: Vec<u32>,
    /// Those that read it.
    readers: Vec<Vec<usize>>,
    folded: Vec<bool>,
    /// Instructions that have taken in another one, and have no room for a second.
    full: Vec<bool>,
}

impl<'a> Values<'a> {
    fn new(body: &'a Body) -> Values<'a> {
        let (count, registers_count) = (body.instructions.len(), body.registers.len());
        let mut values = Values {
            instructions: &body.instructions,
            writers: vec![None; registers_count],
            writes: vec![0; registers_count],
            readers: vec![Vec::new(); registers_count],
            folded: vec![false; count],
            full: vec![false; count],
        };
        for (index, instruction) in body.instructions.iter().enumerate() {
            registers(instruction, &mut |register, written| {
                let register = register.0 as usize;
                if written {
                    values.writes[register] += 1;
                    values.writers[register] = (values.writes[register] == 1).then_some(index);
                } else {
                    values.readers[register].push(index);
                }
            });
        }
        values
    }

    fn folds(&mut self, index: usize) -> bool {
        let instruction = &self.instructions[index];
        let Some(result) = self.result(instruction) else { return false };
        match class(instruction) {
            Class::Offset => self.is_offset(index, result, 0) || self.joins_sum(index, result),
            Class::Sum => self.is_addend_of_product(index) || self.joins_sum(index, result),
            Class::Shift => self.joins_all_sums(result),
            Class::Logic => self.joins_logic(result),
            Class::Inversion => true,
            Class::PredicateLogic => self.joins_comparison(index),
            Class::Copy | Class::Other => false,
        }
    }

    /// The register that an instruction alone writes, whenever it is come to.
    fn result(&self, instruction: &Instruction) -> Option<RegisterId> {
        match instruction.operands.first() {
            Some(&Operand::Register(register)) if destinations(instruction) == 1 && instruction.guard.is_none() => {
                (self.writes[register.0 as usize] == 1).then_some(register)
            }
            _ => None,
        }
    }

    fn readers(&self, register: RegisterId) -> &[usize] {
        &self.readers[register.0 as usize]
    }

    /// The only reader.
    fn reader(&self, register: RegisterId) -> Option<usize> {
        match *self.readers(register) {
            [reader] => Some(reader),
            _ => None,
        }
    }

    /// Whether all that becomes of a sum with a constant are addresses of loads and stores, which have room for it.
    fn is_offset(&self, index: usize, result: RegisterId, depth: u32) -> bool {
        let in_address = |&reader: &usize| {
            let instruction = &self.instructions[reader];
            match class(instruction) {
                _ if is_address(instruction, result) => true,
                // Further on; what is behind already has been decided.
                Class::Offset | Class::Copy if reader > index && depth < 8 => {
                    self.result(instruction).is_some_and(|next| self.is_offset(reader, next, depth + 1))
                }
                _ => false,
            }
        };
        !self.readers(result).is_empty() && self.readers(result).iter().all(in_address)
    }

    /// IADD3 adds three.
    fn joins_sum(&mut self, index: usize, result: RegisterId) -> bool {
        let wide = is_wide(&self.instructions[index]);
        self.join(result, |instruction| {
            matches!(class(instruction), Class::Sum | Class::Offset) && is_wide(instruction) == wide
        })
    }

    /// LOP3 takes three.
    fn joins_logic(&mut self, result: RegisterId) -> bool {
        self.join(result, |instruction| class(instruction) == Class::Logic)
    }

    fn join(&mut self, result: RegisterId, fits: impl Fn(&Instruction) -> bool) -> bool {
        let reader = self.reader(result).filter(|&reader| self.has_room(reader) && fits(&self.instructions[reader]));
        reader.map(|reader| self.full[reader] = true).is_some()
    }

    /// LEA shifts what it adds.
    fn joins_all_sums(&mut self, result: RegisterId) -> bool {
        let fits = |&reader: &usize| self.has_room(reader) && class(&self.instructions[reader]) == Class::Sum;
        let all = !self.readers(result).is_empty() && self.readers(result).iter().all(fits);
        if all {
            for reader in self.readers[result.0 as usize].clone() {
                self.full[reader] = true;
            }
        }
        all
    }

    fn has_room(&self, index: usize) -> bool {
        !self.full[index] && !self.folded[index]
    }

    /// IMAD adds to its product.
    fn is_addend_of_product(&mut self, index: usize) -> bool {
        self.join_source(index, |instruction| {
            instruction.row.opcode == Opcode::Mul
                && (instruction.modifiers.has(Modifier::Wide) || !is_wide(instruction))
                && instruction.types.first().is_some_and(|ty| !is_float(*ty))
        })
    }

    /// A comparison combines its result with a predicate.
    fn joins_comparison(&mut self, index: usize) -> bool {
        self.join_source(index, |instruction| instruction.row.opcode == Opcode::Setp)
    }

    /// Whether the source of an operand, which nobody else reads, takes an instruction in.
    fn join_source(&mut self, index: usize, fits: impl Fn(&Instruction) -> bool) -> bool {
        let sources = self.instructions[index].operands.iter().skip(1).filter_map(|operand| match operand {
            Operand::Register(register) | Operand::NotPredicate(register) => Some(*register),
            _ => None,
        });
        let alone = sources.filter(|register| self.reader(*register).is_some());
        let mut writers = alone.filter_map(|register| self.writers[register.0 as usize]);
        let writer = writers.find(|&writer| !self.full[writer] && fits(&self.instructions[writer]));
        writer.map(|writer| self.full[writer] = true).is_some()
    }
}

/// What an instruction may be folded as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A sum with a constant.
    Offset,
    Sum,
    /// To the left, by a constant.
    Shift,
    Logic,
    /// Of a predicate: whoever reads it can.
    Inversion,
    PredicateLogic,
    /// The same value under another name.
    Copy,
    Other,
}

fn class(instruction: &Instruction) -> Class {
    use Opcode::*;
    let Some(&ty) = instruction.types.first() else { return Class::Other };
    let predicate = ty == Type::Pred;
    match instruction.row.opcode {
        Add | Sub if !is_float(ty) => match instruction.operands.get(2) {
            Some(&Operand::Integer(constant)) if (constant as i64).abs() < LARGEST_OFFSET => Class::Offset,
            _ => Class::Sum,
        },
        Shl if matches!(instruction.operands.get(2), Some(Operand::Integer(_))) => Class::Shift,
        Not if predicate => Class::Inversion,
        And | Or | Xor if predicate => Class::PredicateLogic,
        And | Or | Xor | Not => Class::Logic,
        Cvta | Mov => Class::Copy,
        _ => Class::Other,
    }
}

fn is_wide(instruction: &Instruction) -> bool {
    matches!(instruction.types.first(), Some(Type::B64 | Type::U64 | Type::S64))
}

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64 | Type::Tf32)
}

/// Whether an instruction reads a register as the base of addresses, and in no other way.
fn is_address(instruction: &Instruction, register: RegisterId) -> bool {
    let mut reads = 0;
    registers(instruction, &mut |read, written| reads += u32::from(read == register && !written));
    let base = |operand: &&Operand| matches!(operand, Operand::Address(Base::Register(base), _) if *base == register);
    let bases = instruction.operands.iter().filter(base).count() as u32;
    bases > 0 && bases == reads
}
