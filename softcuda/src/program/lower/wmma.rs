//! `wmma.load` and `wmma.store`: every lane moves the elements of its fragment by ordinary accesses.
//!
//! PTX leaves open where an element of a `wmma` fragment lies. Here it lies where `mma` has it: a product is tiles of m16n8, side
//! by side for m16n16, one above the other for m32n8; m8n32 is the transposed product of m32n8, with A and B exchanged. Fragments
//! of f16 have eight registers by definition: what an A or B of fewer does not need are copies.

use super::{Builder, Lowered, has, matrix, operand};
use crate::exec::mma::{Accumulator, Element};
use crate::program::op::{AddressWidth, Code};
use crate::ptx::ast::{Instruction, Space, Special, Type};
use crate::ptx::isa::{Modifier, Opcode};

/// Elements of one register. A lane's are in line `line + g` of the matrix, at `first + spread * t` and, if it has several,
/// behind that; `4 g + t` is the lane. A line is a row of A, a column of B, and what tiles have as rows in an accumulator.
#[derive(Clone, Copy)]
struct Piece {
    line: usize,
    first: usize,
}

/// A fragment's place in a matrix.
struct Layout {
    pieces: Vec<Piece>,
    /// Elements of a line that belong to one lane before those of the next.
    spread: usize,
    /// Elements of a register.
    elements: usize,
    /// Size of an element in bits.
    bits: usize,
    /// Registers of a fragment of f16 beyond those with pieces.
    copies: usize,
    /// Elements of a line follow one another in memory; else lines do.
    lines_contiguous: bool,
    /// Elements in a row or column of the matrix as it is stored.
    stride: usize,
}

/// Two registers of A hold rows `g` and `g + 8` of the same places; one of B holds column `g`.
fn multiplicand(element: Element, k: usize, lines: usize, as_rows: bool) -> Vec<Piece> {
    let width = 4 * element.per_register();
    let mut pieces = Vec::new();
    let height = if as_rows { 16 } else { 8 };
    for tile in (0..lines).step_by(height) {
        for first in (0..k).step_by(width) {
            for line in (tile..tile + height).step_by(8) {
                pieces.push(Piece { line, first });
            }
        }
    }
    pieces
}

/// Registers of an accumulator: `single` elements each two for a line of a tile, or one pair.
fn accumulators(lines: usize, width: usize, pairs: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for column in (0..width).step_by(8) {
        for line in (0..lines).step_by(8) {
            pieces.push(Piece { line, first: column });
            if !pairs {
                pieces.push(Piece { line, first: column + 1 });
            }
        }
    }
    pieces
}

impl Layout {
    fn new(instruction: &Instruction) -> Lowered<Layout> {
        let (m, n, k) = matrix::shape(instruction)?;
        let ty = super::first_type(instruction)?;
        let row_major = has(instruction, Modifier::Row);
        // The transposed product has the roles of rows and columns exchanged.
        let transposed = (m, n) == (8, 32);
        let small = (m, n) == (8, 8);
        let layout = match instruction.row.opcode {
            Opcode::WmmaLoadA | Opcode::WmmaLoadB => {
                let is_a = instruction.row.opcode == Opcode::WmmaLoadA;
                let element = matrix::element(ty)?;
                let lines = if is_a { m } else { n };
                let pieces = multiplicand(element, k, lines, is_a != transposed && !small);
                let copies = if element == Element::F16 { 8 - pieces.len() } else { 0 };
                Layout {
                    spread: element.per_register(),
                    elements: element.per_register(),
                    bits: element.bits(),
                    copies,
                    lines_contiguous: is_a == row_major,
                    stride: if is_a == row_major { k } else { lines },
                    pieces,
                }
            }
            _ => {
                let accumulator = matrix::accumulator(ty)?;
                let pairs = accumulator == Accumulator::F16;
                let (lines, width) = if transposed { (n, m) } else { (m, n) };
                Layout {
                    pieces: accumulators(lines, width, pairs),
                    spread: 2,
                    elements: if pairs { 2 } else { 1 },
                    bits: match accumulator {
                        Accumulator::F16 => 16,
                        Accumulator::F64 => 64,
                        _ => 32,
                    },
                    copies: 0,
                    lines_contiguous: row_major != transposed,
                    stride: if row_major { n } else { m },
                }
            }
        };
        Ok(layout)
    }

    /// Bytes of so many elements that follow one another.
    fn bytes(&self, elements: usize) -> usize {
        elements * self.bits / 8
    }
}

/// Slots for the addresses of one instruction, two each.
struct Addresses {
    /// Where the lane's first element lies.
    lane: u16,
    /// Bytes between rows or columns.
    stride: u16,
    /// The address in use, and the multiple of the stride that it has been moved by.
    current: (u16, Option<usize>),
}

impl Builder<'_> {
    pub(super) fn wmma_move(&mut self, instruction: &Instruction) -> Lowered {
        let layout = Layout::new(instruction)?;
        let is_store = instruction.row.opcode == Opcode::WmmaStoreD;
        let (at, fragment) = if is_store { (0, 1) } else { (1, 0) };
        let ty = if layout.bits == 64 { Type::B64 } else { Type::B32 };
        let registers = self.fragment(operand(instruction, fragment)?, ty, !is_store)?;
        let mut addresses = self.lane_addresses(instruction, &layout, at)?;
        let space = self.space_of_access(instruction, operand(instruction, at)?);
        let code = match (space, is_store) {
            (Space::Global, false) => Code::LdGlobal,
            (Space::Global, true) => Code::StGlobal,
            (Space::Shared, false) => Code::LdShared,
            (Space::Shared, true) => Code::StShared,
            (_, false) => Code::LdGeneric,
            (_, true) => Code::StGeneric,
        };
        let (first, second) = (self.scratch32(), self.scratch32());
        let mut moved = 0;
        while moved < layout.pieces.len() {
            let (piece, register) = (layout.pieces[moved], registers[moved]);
            moved += 1;
            if layout.lines_contiguous {
                let address = self.moved_address(&mut addresses, piece.line, layout.bytes(piece.first));
                // Both accumulators of a line that a lane holds, in one access.
                let next =
                    layout.pieces.get(moved).filter(|next| layout.elements == 1 && next.first == piece.first + 1);
                if next.is_some() {
                    self.access(code, ty, vec![register, registers[moved]], address)?;
                    moved += 1;
                } else {
                    self.access(code, ty, vec![register], address)?;
                }
                continue;
            }
            for element in 0..layout.elements {
                let address = self.moved_address(&mut addresses, piece.first + element, layout.bytes(piece.line));
                let (ty, shift) = match layout.bits {
                    64 => (Type::B64, 0),
                    32 => (Type::B32, 0),
                    16 => (Type::B16, 16 * element),
                    _ => (Type::B8, 8 * element),
                };
                if shift == 0 {
                    self.access(code, ty, vec![register], address)?;
                    continue;
                }
                let shift = self.word(shift as u32);
                if is_store {
                    self.emit(Code::ShrU32, first, register, shift, 0);
                    self.access(code, ty, vec![first], address)?;
                } else {
                    self.access(code, ty, vec![first], address)?;
                    self.emit(Code::Shl32, second, first, shift, 0);
                    self.emit(Code::Or32, register, register, second, 0);
                }
            }
        }
        for copy in 0..layout.copies {
            let from = registers[copy % layout.pieces.len()];
            self.emit(Code::Mov32, registers[layout.pieces.len() + copy], from, 0, 0);
        }
        Ok(())
    }

    /// Computes where each lane's first element lies. Everything is copied before the first destination is written: it may be
    /// the register of the address.
    fn lane_addresses(&mut self, instruction: &Instruction, layout: &Layout, at: usize) -> Lowered<Addresses> {
        let (base, width, offset) = self.address(operand(instruction, at)?)?;
        let (lane, stride, current) = (self.scratch64(), self.scratch64(), self.scratch64());
        let elements = match instruction.operands.get(2) {
            Some(operand) => self.source32(operand, Type::U32)?,
            None => self.word(layout.stride as u32),
        };
        let bits = self.word(layout.bits as u32);
        self.emit(Code::MulWideU32, stride, elements, bits, 0);
        let three = self.word(3);
        self.emit(Code::ShrU64, stride, stride, three, 0);
        let constant = self.double(offset as u64);
        match width {
            AddressWidth::Wide => self.emit(Code::Add64, lane, base, constant, 0),
            AddressWidth::Narrow => {
                self.emit(Code::Zext32To64, lane, base, 0, 0);
                self.emit(Code::Add64, lane, lane, constant, 0);
            }
            AddressWidth::Absolute => self.emit(Code::Mov64, lane, constant, 0, 0),
        }
        let id = self.special32(Special::LaneId)?;
        let (quad, place) = (self.scratch32(), self.scratch32());
        let (two, mask) = (self.word(2), self.word(3));
        self.emit(Code::ShrU32, quad, id, two, 0);
        self.emit(Code::And32, place, id, mask, 0);
        let spread = self.word(layout.spread as u32);
        self.emit(Code::Mul32, place, place, spread, 0);
        // One of both counts strides, the other one elements.
        let (strides, elements) = if layout.lines_contiguous { (quad, place) } else { (place, quad) };
        self.emit(Code::Zext32To64, current, strides, 0, 0);
        self.emit(Code::Mul64, current, current, stride, 0);
        self.emit(Code::Add64, lane, lane, current, 0);
        self.emit(Code::MulWideU32, current, elements, bits, 0);
        self.emit(Code::ShrU64, current, current, three, 0);
        self.emit(Code::Add64, lane, lane, current, 0);
        Ok(Addresses { lane, stride, current: (current, None) })
    }

    /// The lane's address, `strides` strides and `bytes` bytes further.
    fn moved_address(&mut self, addresses: &mut Addresses, strides: usize, bytes: usize) -> (u16, AddressWidth, i64) {
        let (slot, moved) = addresses.current;
        if moved != Some(strides) {
            let count = self.double(strides as u64);
            self.emit(Code::Mul64, slot, addresses.stride, count, 0);
            self.emit(Code::Add64, slot, slot, addresses.lane, 0);
            addresses.current.1 = Some(strides);
        }
        (slot, AddressWidth::Wide, bytes as i64)
    }
}

/// Registers that a form's multiplicands need, as many as the pieces of their fragments.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::mma::Form;

    #[test]
    fn fragments_of_wmma_have_the_registers_of_their_tiles() {
        let form = Form::new(16, Element::F16, Element::F16, Accumulator::F32, Accumulator::F32);
        assert_eq!(multiplicand(Element::F16, 16, 16, true).len(), form.a_registers());
        assert_eq!(multiplicand(Element::F16, 16, 16, false).len(), 2 * form.b_registers());
        assert_eq!(multiplicand(Element::S8, 16, 32, true).len(), 4);
        assert_eq!(accumulators(16, 16, false).len(), 8);
        assert_eq!(accumulators(16, 16, true).len(), 4);
    }
}
