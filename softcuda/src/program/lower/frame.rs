//! The frame of the running function: addresses in it, and what `alloca` adds behind it.

use super::{Builder, Lowered, Part, bits, first_type, operand};
use crate::program::op::{AddressWidth, Code, Op, Preset};
use crate::ptx::ast::{Instruction, Operand, Type};
use crate::ptx::isa::Opcode;

/// Alignment of `alloca` where it names none.
const DEFAULT_ALIGN: u64 = 8;

/// Slot, width and offset of an address.
pub(super) type Address = (u16, AddressWidth, i64);

/// Slots of a function that adds to its frame.
#[derive(Clone, Copy)]
pub(super) struct Dynamic {
    /// How many bytes it has added.
    allocated: u16,
    /// Where the frame of a function that it calls begins.
    callee: u16,
}

impl Part<'_> {
    /// Whether the function adds to its frame.
    pub(super) fn has_alloca(&self) -> bool {
        self.body.instructions.iter().any(|instruction| instruction.row.opcode == Opcode::Alloca)
    }
}

impl Builder<'_> {
    /// What stands before a function's first block, to which branches may lead back.
    pub(super) fn begin_frame(&mut self) {
        let first = self.next_preset.min(u32::from(u16::MAX) - 1) as u16;
        self.dynamic = self.parts[self.number].has_alloca().then_some(Dynamic { allocated: first, callee: first + 1 });
        if self.dynamic.is_some() {
            self.next_preset += 2;
            let zero = self.word(0);
            self.emit(Code::Mov32, first, zero, 0, 0);
        }
    }

    /// The slot that holds the offset of the function's frame in local memory.
    pub(super) fn frame_pointer(&mut self) -> u16 {
        self.preset(Preset::FramePointer)
    }

    /// A slot with the local address of what lies `offset` bytes behind the frame pointer.
    pub(super) fn frame_address(&mut self, offset: u64) -> u16 {
        if self.number == 0 {
            return self.word(offset as u32);
        }
        let (pointer, offset, slot) = (self.frame_pointer(), self.word(offset as u32), self.scratch32());
        self.emit(Code::Add32, slot, pointer, offset, 0);
        slot
    }

    /// What lies `offset` bytes behind the frame pointer.
    pub(super) fn in_frame(&mut self, offset: u64) -> Address {
        match self.number {
            0 => (0, AddressWidth::Absolute, offset as i64),
            _ => (self.frame_pointer(), AddressWidth::Narrow, offset as i64),
        }
    }

    /// What lies `offset` bytes into the frame of the function that is being called.
    pub(super) fn behind(&mut self, offset: u64) -> Address {
        match self.dynamic {
            Some(dynamic) => (dynamic.callee, AddressWidth::Narrow, offset as i64),
            None => self.in_frame(self.layout.frames[self.number].bytes + offset),
        }
    }

    /// Makes sure that there is room for a callee's frame of so many bytes. Where the length of the own frame depends on the
    /// data it is kept in the word before the callee's frame.
    pub(super) fn begin_call(&mut self, bytes: u64) {
        let (pointer, own) = (self.frame_pointer(), self.layout.frames[self.number].bytes as u32);
        let mut check = Op { a: pointer, imm: own as i32, ..Op::new(Code::CheckFrame) };
        check.set_second(bytes as u32);
        let Some(Dynamic { allocated, callee }) = self.dynamic else {
            return self.push(check);
        };
        let align = self.layout.frame_align as u32;
        let (length, round, keep) = (self.scratch32(), self.word(own + 2 * align - 1), self.word(!(align - 1)));
        self.emit(Code::Add32, length, allocated, round, 0);
        self.emit(Code::And32, length, length, keep, 0);
        self.emit(Code::Add32, callee, pointer, length, 0);
        self.push(Op { a: callee, imm: 0, ..check });
        self.access_at(Code::StLocal, vec![length], Type::B32, (callee, AddressWidth::Narrow, -4));
    }

    /// The call itself, and the return to the own frame.
    pub(super) fn enter_call(&mut self, number: usize) {
        let (pointer, own) = (self.frame_pointer(), self.layout.frames[self.number].bytes as u32);
        self.scratch = 0;
        let Some(Dynamic { allocated, callee }) = self.dynamic else {
            let length = self.word(own);
            self.emit(Code::Add32, pointer, pointer, length, 0);
            self.calls.push((self.ops.len(), number));
            self.push(Op::new(Code::Call));
            self.emit(Code::Sub32, pointer, pointer, length, 0);
            return;
        };
        self.emit(Code::Mov32, pointer, callee, 0, 0);
        self.calls.push((self.ops.len(), number));
        self.push(Op::new(Code::Call));
        let (length, fixed) = (self.scratch32(), self.word(own + self.layout.frame_align as u32));
        self.emit(Code::Mov32, callee, pointer, 0, 0);
        self.access_at(Code::LdLocal, vec![length], Type::B32, (callee, AddressWidth::Narrow, -4));
        self.emit(Code::Sub32, pointer, pointer, length, 0);
        self.emit(Code::Sub32, allocated, length, fixed, 0);
    }

    /// `alloca`, `stacksave`, `stackrestore`.
    pub(super) fn stack(&mut self, instruction: &Instruction) -> Lowered {
        let ty = first_type(instruction)?;
        // Without any alloca there is nothing to save.
        let allocated = match self.dynamic {
            Some(dynamic) => dynamic.allocated,
            None => self.word(0),
        };
        match instruction.row.opcode {
            Opcode::Stackrestore => {
                let a = self.source32(operand(instruction, 0)?, Type::U32)?;
                if let Some(dynamic) = self.dynamic {
                    self.emit(Code::Mov32, dynamic.allocated, a, 0, 0);
                }
            }
            Opcode::Stacksave => {
                let destination = operand(instruction, 0)?;
                let d = self.destination(destination, ty)?;
                let code = if bits(ty) == 64 { Code::Zext32To64 } else { Code::Mov32 };
                self.emit(code, d, allocated, 0, 0);
                self.store(destination, ty, d);
            }
            _ => {
                let destination = operand(instruction, 0)?;
                let mut size = self.source(operand(instruction, 1)?, ty)?;
                if bits(ty) == 64 {
                    // More than 32 bits are too much in any case.
                    let (most, least) = (self.double(u64::from(u32::MAX)), self.scratch64());
                    self.emit(Code::MinU64, least, size, most, 0);
                    size = self.scratch32();
                    self.emit(Code::UnpackLow, size, least, 0, 0);
                }
                let align = match instruction.operands.get(2) {
                    Some(Operand::Integer(align)) => *align,
                    _ => DEFAULT_ALIGN,
                };
                let (pointer, address) = (self.frame_pointer(), self.scratch32());
                self.push(Op {
                    code: Code::Alloca,
                    d: address,
                    a: size,
                    b: pointer,
                    c: allocated,
                    aux: align.trailing_zeros() as u16,
                    imm: self.layout.frames[self.number].bytes as i32,
                });
                let d = self.destination(destination, ty)?;
                let code = if bits(ty) == 64 { Code::Zext32To64 } else { Code::Mov32 };
                self.emit(code, d, address, 0, 0);
                self.store(destination, ty, d);
            }
        }
        Ok(())
    }
}
