//! Calls. Parameters and results pass through the frames in local memory; the callee's lies behind the caller's.

use super::frame::Address;
use super::{Builder, Lowered, Part, bits, operand};
use crate::program::calls::{self, Builtin, BuiltinCall};
use crate::program::layout::Place;
use crate::program::liveness::{Kind, kind};
use crate::program::op::{Access, AddressWidth, Code, Extension, Op};
use crate::ptx::ast::{Instruction, Operand, RegisterId, Symbol, Type};

impl Part<'_> {
    /// Bytes that the registers take which are alive after some call.
    pub(super) fn saved(&self) -> u64 {
        let bytes = |register: &RegisterId| match kind(self.body.registers[register.0 as usize].ty) {
            Some(Kind::Quad) => 16,
            Some(Kind::Double) => 8,
            _ => 4,
        };
        self.allocation.live_after_call.iter().map(|live| live.iter().map(bytes).sum()).max().unwrap_or(0)
    }
}

impl Builder<'_> {
    pub(super) fn call(&mut self, block: usize, instruction: &Instruction) -> Lowered {
        let callee = operand(instruction, 1)?;
        if let Operand::Symbol(Symbol::Function(index), _) = callee {
            let function = &self.module.functions[*index as usize];
            if function.body.is_some() {
                return self.direct_call(block, instruction, *index as usize);
            }
            let Some(builtin) = Builtin::from_name(&function.name) else {
                return Err(format!("function {} has no body, and the device library does not have it", function.name));
            };
            if builtin.signature() != function.signature() {
                return Err(format!("function {} is declared with other parameters than its own", function.name));
            }
            return self.builtin_call(instruction, builtin);
        }
        // An indirect call: a comparison with every function that it may go to, and a direct call of each.
        let address = self.source64(callee)?;
        let caller = self.parts[self.number].function;
        let targets = self.graph.targets(self.module, caller, instruction);
        let matches = self.scratch_predicate();
        let mut jumps = Vec::new();
        for &target in &targets {
            let known = self.double(calls::function_address(target as u32));
            self.emit(Code::SetpEq64, matches, address, known, 0);
            jumps.push(self.ops.len());
            self.push(Op { a: matches, ..Op::new(Code::BranchIf) });
            self.middle(block);
        }
        self.push(Op { aux: 2, ..Op::new(Code::Trap) });
        for (&target, jump) in targets.iter().zip(jumps) {
            self.ops[jump].imm = self.ops.len() as i32;
            self.jumps.push((jump, block));
            self.middle(block);
            self.direct_call(block, instruction, target)?;
            self.branch(None, block, block + 1);
        }
        Ok(())
    }

    fn direct_call(&mut self, block: usize, instruction: &Instruction, index: usize) -> Lowered {
        let (Operand::Vector(results), Operand::Vector(arguments)) =
            (operand(instruction, 0)?, operand(instruction, 2)?)
        else {
            return Err("arguments and results must be lists".to_owned());
        };
        let callee = self.graph.position(index).ok_or("the function is not among those reached")?;
        let saved: Vec<RegisterId> = match self.graph.returns_to(self.number, callee) {
            true => self.allocation.live_after_call[block].clone(),
            false => Vec::new(),
        };
        let function = &self.module.functions[index];
        let frame = &self.layout.frames[callee];
        self.begin_call(frame.bytes);
        self.save(&saved, Code::StLocal);
        for ((argument, param), &offset) in arguments.iter().zip(&function.params).zip(&frame.params) {
            self.scratch = 0;
            let to = self.behind(offset);
            match argument {
                Operand::Symbol(symbol, 0) => {
                    let from = self.place(*symbol)?;
                    self.copy(from, to, param.bytes);
                }
                value => {
                    let slot = self.source(value, param.ty)?;
                    self.access_at(Code::StLocal, vec![slot], param.ty, to);
                }
            }
        }
        self.enter_call(callee);
        for ((result, value), &offset) in results.iter().zip(&function.returns).zip(&frame.returns) {
            self.scratch = 0;
            let from = self.behind(offset);
            match result {
                Operand::Symbol(symbol, 0) => match self.place(*symbol)? {
                    Place::Frame(to) => {
                        let to = self.in_frame(to);
                        self.copy_words(Code::LdLocal, from, to, value.bytes);
                    }
                    Place::Fixed(..) => return Err("a result needs a .param variable or a register".to_owned()),
                },
                register => {
                    let slot = self.destination(register, value.ty)?;
                    self.access_at(Code::LdLocal, vec![slot], value.ty, from);
                    self.store(register, value.ty, slot);
                }
            }
        }
        self.save(&saved, Code::LdLocal);
        Ok(())
    }

    /// Stores registers to the frame, or loads them back.
    fn save(&mut self, registers: &[RegisterId], code: Code) {
        let mut offset = self.layout.frames[self.number].save;
        for &register in registers {
            let slot = self.register_slot(register);
            let halves = match self.register_kind(register) {
                Kind::Quad => vec![slot, slot + 2],
                Kind::Double => vec![slot],
                _ => continue,
            };
            for slot in halves {
                self.frame_access(code, vec![slot], Type::B64, offset);
                offset += 8;
            }
        }
        for &register in registers {
            let slot = self.register_slot(register);
            self.scratch = 0;
            match (self.register_kind(register), code) {
                (Kind::Double | Kind::Quad, _) => continue,
                (Kind::Word, _) => self.frame_access(code, vec![slot], Type::B32, offset),
                (Kind::Predicate, Code::StLocal) => {
                    let (word, one, zero) = (self.scratch32(), self.word(1), self.word(0));
                    self.emit(Code::Selp32, word, one, zero, slot);
                    self.frame_access(code, vec![word], Type::B32, offset);
                }
                (Kind::Predicate, _) => {
                    let (word, one) = (self.scratch32(), self.word(1));
                    self.frame_access(code, vec![word], Type::B32, offset);
                    self.emit(Code::SetpEq32, slot, word, one, 0);
                }
            }
            offset += 4;
        }
    }

    /// Copies an argument to `to` in the callee's frame.
    fn copy(&mut self, from: Place, to: Address, bytes: u64) {
        match from {
            Place::Frame(offset) => {
                let from = self.in_frame(offset);
                self.copy_words(Code::LdLocal, from, to, bytes);
            }
            // A parameter of the kernel, passed on.
            Place::Fixed(_, offset) => {
                self.copy_words(Code::LdParam, (0, AddressWidth::Absolute, offset as i64), to, bytes);
            }
        }
    }

    fn copy_words(&mut self, load: Code, from: Address, to: Address, bytes: u64) {
        let mut done = 0;
        while done < bytes as i64 {
            let (from, to) = ((from.0, from.1, from.2 + done), (to.0, to.1, to.2 + done));
            let rest = bytes as i64 - done;
            // In a frame a variable's last word is its own; the parameters of a kernel end with their last byte.
            let words = load == Code::LdLocal || from.2 % 4 == 0 && rest >= 4;
            // Frames begin at multiples of 16: offsets tell alignment.
            let fits = |count: &i64| {
                let size = 4 * count;
                words && size <= (rest + 3) / 4 * 4 && from.2 % size == 0 && to.2 % size == 0
            };
            let count = [4, 2].into_iter().find(fits).unwrap_or(1);
            let ty = if words { Type::B32 } else { Type::B8 };
            self.scratch = 0;
            let slots: Vec<u16> = (0..count).map(|_| self.scratch32()).collect();
            self.access_at(load, slots.clone(), ty, from);
            self.access_at(Code::StLocal, slots, ty, to);
            done += i64::from(bits(ty) / 8) * count;
        }
    }

    /// A load or store `offset` bytes behind the frame pointer.
    fn frame_access(&mut self, code: Code, data: Vec<u16>, ty: Type, offset: u64) {
        let address = self.in_frame(offset);
        self.access_at(code, data, ty, address);
    }

    pub(super) fn access_at(&mut self, code: Code, data: Vec<u16>, ty: Type, (slot, address, offset): Address) {
        let aux = self.tables.accesses.len() as u16;
        let (data, element_bytes) = elements(data, ty);
        let extension = if super::signed(ty) { Extension::Sign } else { Extension::Zero };
        self.tables.accesses.push(Access { data, wide: element_bytes == 8, element_bytes, extension, address, offset });
        self.push(Op { a: slot, aux, ..Op::new(code) });
    }

    fn builtin_call(&mut self, instruction: &Instruction, function: Builtin) -> Lowered {
        let (Operand::Vector(results), Operand::Vector(arguments)) =
            (operand(instruction, 0)?, operand(instruction, 2)?)
        else {
            return Err("arguments and results must be lists".to_owned());
        };
        let (returns, params) = function.signature();
        let ty = |bytes: u64| if bytes == 8 { Type::B64 } else { Type::B32 };
        let mut slots = Vec::new();
        for (argument, bytes) in arguments.iter().zip(params) {
            slots.push(match argument {
                Operand::Symbol(symbol, 0) => {
                    let slot = if bytes == 8 { self.scratch64() } else { self.scratch32() };
                    match self.place(*symbol)? {
                        Place::Frame(offset) => self.frame_access(Code::LdLocal, vec![slot], ty(bytes), offset),
                        Place::Fixed(_, offset) => {
                            let address = (0, AddressWidth::Absolute, offset as i64);
                            self.access_at(Code::LdParam, vec![slot], ty(bytes), address);
                        }
                    }
                    slot
                }
                value => self.source(value, ty(bytes))?,
            });
        }
        let wide = returns.first().map_or(Type::B32, |&bytes| ty(bytes));
        let result = match results.first() {
            None => None,
            Some(Operand::Symbol(..)) if wide == Type::B64 => Some(self.scratch64()),
            Some(Operand::Symbol(..)) => Some(self.scratch32()),
            Some(register) => Some(self.destination(register, wide)?),
        };
        // Memory that one block allocates another may free.
        self.communicates |= matches!(function, Builtin::Malloc | Builtin::Free);
        let aux = self.tables.builtin_calls.len() as u16;
        self.tables.builtin_calls.push(BuiltinCall { function, arguments: slots, result });
        self.push(Op { aux, ..Op::new(Code::Builtin) });
        match (results.first(), result) {
            (Some(Operand::Symbol(symbol, _)), Some(slot)) => match self.place(*symbol)? {
                Place::Frame(offset) => self.frame_access(Code::StLocal, vec![slot], wide, offset),
                Place::Fixed(..) => return Err("a result needs a .param variable or a register".to_owned()),
            },
            (Some(register), Some(slot)) => self.store(register, wide, slot),
            _ => {}
        }
        Ok(())
    }
}

/// Slots and size of the elements of an access: 128 bits are moved as twice 64.
pub(super) fn elements(data: Vec<u16>, ty: Type) -> (Vec<u16>, u32) {
    match bits(ty) {
        128 => (data.into_iter().flat_map(|slot| [slot, slot + 2]).collect(), 8),
        bits => (data, bits / 8),
    }
}
