//! Loads, stores, atomics, asynchronous copies, address conversions.

use super::call::elements;
use super::frame::Address;
use super::{Builder, Lowered, bits, first_type, has, operand, signed, unsupported};
use crate::program::layout::Place;
use crate::program::liveness::Kind;
use crate::program::op::*;
use crate::ptx::ast::{Base, Instruction, Operand, Space, Type};
use crate::ptx::isa::{Modifier, Opcode};

impl Builder<'_> {
    pub(super) fn memory(&mut self, instruction: &Instruction) -> Lowered {
        match instruction.row.opcode {
            Opcode::Ld | Opcode::Ldu => self.load(instruction),
            Opcode::St => self.store_memory(instruction),
            Opcode::Atom | Opcode::Red => self.atomic(instruction),
            Opcode::Cvta => self.convert_address(instruction),
            Opcode::Isspacep => self.is_space(instruction),
            Opcode::CpAsync => self.async_copy(instruction),
            Opcode::CpAsyncCommitGroup => {
                self.push(Op::new(Code::CpAsyncCommit));
                Ok(())
            }
            Opcode::CpAsyncWaitAll => {
                self.push(Op::new(Code::CpAsyncWaitAll));
                Ok(())
            }
            Opcode::CpAsyncWaitGroup => {
                let Operand::Integer(count) = operand(instruction, 0)? else {
                    return Err("the number of groups must be a constant".to_owned());
                };
                self.push(Op { imm: (*count).min(i32::MAX as u64) as i32, ..Op::new(Code::CpAsyncWait) });
                Ok(())
            }
            Opcode::Fence | Opcode::Membar => {
                // Several addresses of one memory are no matter between blocks.
                let within_block = has(instruction, Modifier::Cta) || instruction.row.mnemonic.ends_with("alias");
                self.communicates |= !within_block;
                self.push(Op::new(Code::Fence));
                self.order_last(instruction);
                Ok(())
            }
            // A policy is a hint: any value will do.
            Opcode::Createpolicy => {
                let d = self.destination(operand(instruction, 0)?, Type::B64)?;
                let policy = self.double(0);
                self.emit(Code::Mov64, d, policy, 0, 0);
                Ok(())
            }
            // Hints: no effect that a program can see.
            Opcode::Prefetch | Opcode::Discard | Opcode::Applypriority => {
                self.push(Op::new(Code::Nop));
                Ok(())
            }
            _ => Err(unsupported(instruction)),
        }
    }

    /// The state space of an access: as the instruction says, or that of the variable it names. Parameters and results of
    /// functions, and arguments of calls, lie in the local memory of a thread.
    pub(super) fn space_of_access(&self, instruction: &Instruction, address: &Operand) -> Space {
        let named = match address {
            Operand::Address(Base::Symbol(symbol), _) => self.place(*symbol).ok(),
            _ => None,
        };
        match (self.space(instruction), named) {
            (Space::Param | Space::Generic, Some(Place::Frame(_))) => Space::Local,
            (Space::Param, None) if self.number != 0 => Space::Local,
            (Space::Generic, Some(Place::Fixed(space, _))) => space,
            (space, _) => space,
        }
    }

    fn space(&self, instruction: &Instruction) -> Space {
        let spaces = [
            (Modifier::Global, Space::Global),
            (Modifier::Shared, Space::Shared),
            (Modifier::Local, Space::Local),
            (Modifier::Param, Space::Param),
            (Modifier::Const, Space::Const),
        ];
        spaces.into_iter().find(|(modifier, _)| has(instruction, *modifier)).map_or(Space::Generic, |(_, space)| space)
    }

    pub(super) fn address(&mut self, operand: &Operand) -> Lowered<Address> {
        let Operand::Address(base, offset) = operand else {
            return Err("expected an address in brackets".to_owned());
        };
        Ok(match base {
            Base::Register(register) => match self.register_kind(*register) {
                Kind::Word => (self.register_slot(*register), AddressWidth::Narrow, *offset),
                Kind::Double => (self.register_slot(*register), AddressWidth::Wide, *offset),
                Kind::Predicate | Kind::Quad => return Err("an address has 32 or 64 bits".to_owned()),
            },
            Base::Symbol(symbol) => match self.place(*symbol)? {
                Place::Fixed(_, address) => (0, AddressWidth::Absolute, address.wrapping_add_signed(*offset) as i64),
                Place::Frame(at) => self.in_frame(at.wrapping_add_signed(*offset)),
            },
            Base::Absolute => (0, AddressWidth::Absolute, *offset),
        })
    }

    /// Accesses that other blocks may be meant to see at once make a kernel communicate.
    fn note_order(&mut self, instruction: &Instruction, space: Space) {
        use Modifier::*;
        let ordered = [Volatile, Relaxed, Acquire, Release, AcqRel, Sc, Cv].iter().any(|&m| has(instruction, m));
        let within_block = has(instruction, Cta);
        self.communicates |= ordered && !within_block && matches!(space, Space::Global | Space::Generic);
    }

    fn load(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        let space = self.space_of_access(instruction, operand(instruction, 1)?);
        self.note_order(instruction, space);
        let destination = operand(instruction, 0)?;
        let address = self.address(operand(instruction, 1)?)?;
        let parts = parts(destination);
        if space == Space::Param && address.1 == AddressWidth::Absolute {
            return self.load_parameter(parts, ty, address.2);
        }
        let code = match space {
            // A constant bank is read-only device memory.
            Space::Global | Space::Const => Code::LdGlobal,
            Space::Shared => Code::LdShared,
            Space::Local => Code::LdLocal,
            Space::Param => Code::LdParam,
            Space::Generic => Code::LdGeneric,
        };
        let data = parts.iter().map(|part| self.destination(part, ty)).collect::<Lowered<Vec<_>>>()?;
        self.access(code, ty, data.clone(), address)?;
        self.order_last(instruction);
        for (part, slot) in parts.iter().zip(data) {
            if bits(ty) < 64 {
                self.store_loaded(part, ty, slot);
            }
        }
        Ok(())
    }

    /// A narrow load leaves an extended 32-bit value; only the register's own width is still to be met.
    fn store_loaded(&mut self, part: &Operand, ty: Type, slot: u16) {
        let Operand::Register(register) = part else {
            return;
        };
        let narrow = self.register_bits(*register) < 32 && signed(ty);
        if self.register_kind(*register) == Kind::Double || narrow {
            self.store(part, ty, slot);
        }
    }

    fn load_parameter(&mut self, parts: &[Operand], ty: Type, offset: i64) -> Lowered {
        let bytes = bits(ty) / 8;
        if bytes == 16 {
            let halves = |slot: u16| [slot, slot + 2];
            for (i, part) in parts.iter().enumerate() {
                let d = self.destination(part, ty)?;
                for (half, d) in halves(d).into_iter().enumerate() {
                    let at = offset + 16 * i as i64 + 8 * half as i64;
                    self.check_parameter(at, 8)?;
                    let a = self.preset(Preset::Param64 { offset: at as u32 });
                    self.emit(Code::Mov64, d, a, 0, 0);
                }
            }
            return Ok(());
        }
        for (i, part) in parts.iter().enumerate() {
            let offset = offset + i64::from(bytes) * i as i64;
            self.check_parameter(offset, i64::from(bytes))?;
            let d = self.destination(part, ty)?;
            if bytes == 8 {
                let a = self.preset(Preset::Param64 { offset: offset as u32 });
                self.emit(Code::Mov64, d, a, 0, 0);
            } else {
                let value = Preset::Param32 { offset: offset as u32, bytes: bytes as u8, signed: signed(ty) };
                let a = self.preset(value);
                self.emit(Code::Mov32, d, a, 0, 0);
                self.store_loaded(part, ty, d);
            }
        }
        Ok(())
    }

    fn check_parameter(&self, offset: i64, bytes: i64) -> Lowered {
        let end = offset + bytes;
        if offset < 0 || end > i64::from(self.layout.param_bytes) {
            return Err(format!(
                "bytes {offset}..{end} lie outside the {} bytes of parameters",
                self.layout.param_bytes
            ));
        }
        Ok(())
    }

    fn store_memory(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        let space = self.space_of_access(instruction, operand(instruction, 0)?);
        self.note_order(instruction, space);
        let address = self.address(operand(instruction, 0)?)?;
        let parts = parts(operand(instruction, 1)?);
        let code = match space {
            Space::Global => Code::StGlobal,
            Space::Shared => Code::StShared,
            Space::Local => Code::StLocal,
            Space::Generic => Code::StGeneric,
            _ => return Err("this state space is read-only".to_owned()),
        };
        let data = parts.iter().map(|part| self.source(part, ty)).collect::<Lowered<Vec<_>>>()?;
        self.access(code, ty, data, address)?;
        self.order_last(instruction);
        Ok(())
    }

    pub(super) fn access(&mut self, code: Code, ty: Type, data: Vec<u16>, address: Address) -> Lowered {
        let (data, element_bytes) = elements(data, ty);
        if !matches!(element_bytes, 1 | 2 | 4 | 8) {
            return Err(format!("{ty:?} cannot be loaded or stored"));
        }
        // The most frequent accesses have codes of their own, and their register in the record.
        let narrow = address.1 == AddressWidth::Narrow;
        let (code, d) = match (code, &data[..], element_bytes) {
            (Code::LdGlobal, &[slot], 4) => (Code::LdGlobal32, slot),
            (Code::StGlobal, &[slot], 4) => (Code::StGlobal32, slot),
            (Code::LdShared, &[slot], 4) if narrow => (Code::LdShared32, slot),
            (Code::StShared, &[slot], 4) if narrow => (Code::StShared32, slot),
            _ => (code, 0),
        };
        let index = self.tables.accesses.len() as u16;
        self.tables.accesses.push(Access {
            data,
            wide: element_bytes == 8,
            element_bytes,
            extension: if signed(ty) { Extension::Sign } else { Extension::Zero },
            address: address.1,
            offset: address.2,
        });
        self.push(Op { d, a: address.0, aux: index, ..Op::new(code) });
        Ok(())
    }

    fn atomic(&mut self, instruction: &Instruction) -> Lowered {
        use Modifier as M;
        let ty = first_type(instruction)?;
        let kinds = [
            (M::And, AtomicKind::And),
            (M::Or, AtomicKind::Or),
            (M::Xor, AtomicKind::Xor),
            (M::Cas, AtomicKind::Cas),
            (M::Exch, AtomicKind::Exch),
            (M::Add, AtomicKind::Add),
            (M::Inc, AtomicKind::Inc),
            (M::Dec, AtomicKind::Dec),
            (M::Min, AtomicKind::Min),
            (M::Max, AtomicKind::Max),
        ];
        let kind = kinds.into_iter().find(|(m, _)| has(instruction, *m)).ok_or("an operation is missing")?.1;
        let element = match ty {
            Type::B32 | Type::U32 => AtomicType::U32,
            Type::S32 => AtomicType::S32,
            Type::B64 | Type::U64 => AtomicType::U64,
            Type::S64 => AtomicType::S64,
            Type::F32 => AtomicType::F32,
            Type::F64 => AtomicType::F64,
            Type::F16 => AtomicType::F16,
            Type::F16x2 => AtomicType::F16x2,
            Type::Bf16 => AtomicType::Bf16,
            Type::Bf16x2 => AtomicType::Bf16x2,
            Type::B16 => AtomicType::B16,
            Type::B128 => AtomicType::B128,
            _ => return Err(unsupported(instruction)),
        };
        let returns = instruction.row.opcode == Opcode::Atom;
        let space = match self.space_of_access(instruction, operand(instruction, usize::from(returns))?) {
            Space::Global => AtomicSpace::Global,
            Space::Shared => AtomicSpace::Shared,
            Space::Generic => AtomicSpace::Generic,
            _ => return Err("atomics act on global and shared memory".to_owned()),
        };
        self.communicates |= space != AtomicSpace::Shared;
        // The last operand is a cache policy where the modifier says so.
        let hint = usize::from(has(instruction, M::L2CacheHint));
        let mut operands = instruction.operands[..instruction.operands.len().saturating_sub(hint)].iter();
        let destination = if returns { operands.next() } else { None };
        let address = self.address(operands.next().ok_or("an address is missing")?)?;
        let values = parts(operands.next().ok_or("a value is missing")?);
        let values = values.iter().map(|value| self.source(value, ty)).collect::<Lowered<Vec<_>>>()?;
        let c = match operands.next() {
            Some(value) if kind == AtomicKind::Cas => self.source(value, ty)?,
            None if kind != AtomicKind::Cas => 0,
            _ => return Err(unsupported(instruction)),
        };
        let destinations = destination.map_or(&[][..], parts);
        let results =
            destinations.iter().map(|destination| self.destination(destination, ty)).collect::<Lowered<Vec<_>>>()?;
        let elements = values.iter().enumerate().map(|(i, &b)| (results.get(i).copied().unwrap_or(0), b)).collect();
        let index = self.tables.atomics.len() as u16;
        let atomic = Atomic { kind, ty: element, space, returns, elements, address: address.1, offset: address.2 };
        self.tables.atomics.push(atomic);
        self.push(Op { a: address.0, c, aux: index, ..Op::new(Code::Atom) });
        self.order_last(instruction);
        for (destination, d) in destinations.iter().zip(results) {
            self.store(destination, ty, d);
        }
        Ok(())
    }

    fn convert_address(&mut self, instruction: &Instruction) -> Lowered {
        let to = has(instruction, Modifier::To);
        let a = self.source64(operand(instruction, 1)?)?;
        let d = self.destination(operand(instruction, 0)?, Type::B64)?;
        let code = match (self.space(instruction), to) {
            (Space::Shared, true) => Code::ToShared,
            (Space::Shared, false) => Code::FromShared,
            // Parameters of functions lie in local memory.
            (Space::Local, true) => Code::ToLocal,
            (Space::Local, false) => Code::FromLocal,
            (Space::Param, true) if self.number != 0 => Code::ToLocal,
            (Space::Param, false) if self.number != 0 => Code::FromLocal,
            (Space::Param, true) => Code::ToParam,
            (Space::Param, false) => Code::FromParam,
            // Generic addresses of device memory are the addresses themselves.
            _ => Code::Mov64,
        };
        self.emit(code, d, a, 0, 0);
        Ok(())
    }

    fn is_space(&mut self, instruction: &Instruction) -> Lowered {
        let d = self.predicate(operand(instruction, 0)?)?.0;
        let a = self.source64(operand(instruction, 1)?)?;
        let code = match self.space(instruction) {
            Space::Shared => Code::IsShared,
            Space::Local => Code::IsLocal,
            Space::Global => Code::IsGlobal,
            Space::Const => Code::IsConst,
            Space::Param => Code::IsParam,
            Space::Generic => return Err(unsupported(instruction)),
        };
        self.emit(code, d, a, 0, 0);
        Ok(())
    }

    fn async_copy(&mut self, instruction: &Instruction) -> Lowered {
        let destination = self.address(operand(instruction, 0)?)?;
        let source = self.address(operand(instruction, 1)?)?;
        let Operand::Integer(bytes @ (4 | 8 | 16)) = *operand(instruction, 2)? else {
            return Err("the size must be 4, 8 or 16".to_owned());
        };
        let source = match source {
            (slot, AddressWidth::Wide, offset) => (slot, offset),
            (_, AddressWidth::Absolute, address) => (self.double(address as u64), 0),
            _ => return Err("the source address must have 64 bits".to_owned()),
        };
        let (mut source_bytes, mut ignore_source) = (None, None);
        match instruction.operands.get(3) {
            // A cache policy is the last operand where the modifier says so.
            Some(_) if has(instruction, Modifier::L2CacheHint) && instruction.operands.len() == 4 => {}
            Some(Operand::Register(register)) if self.register_kind(*register) == Kind::Predicate => {
                ignore_source = Some((self.register_slot(*register), false));
            }
            Some(Operand::NotPredicate(register)) => ignore_source = Some((self.register_slot(*register), true)),
            Some(size) => source_bytes = Some(self.source32(size, Type::U32)?),
            None => {}
        }
        let index = self.tables.async_copies.len() as u16;
        self.tables.async_copies.push(AsyncCopy {
            bytes: bytes as u32,
            destination,
            source,
            source_bytes,
            ignore_source,
        });
        self.push(Op { aux: index, ..Op::new(Code::CpAsync) });
        Ok(())
    }
}

/// The elements of `{a, b}`, or the one operand itself.
fn parts(operand: &Operand) -> &[Operand] {
    match operand {
        Operand::Vector(parts) => parts,
        single => std::slice::from_ref(single),
    }
}
