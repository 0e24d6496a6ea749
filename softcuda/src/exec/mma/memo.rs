//! Fragments that have been decoded already: kernels multiply one fragment with several others.

use super::{
    isa::Isa,
    second::Selected,
    table::{ATable, BTable, take},
};
use crate::exec::value::Lanes;

/// A decoded fragment with the registers that it was decoded from: it stands for these bits, whoever holds them.
struct Entry<const REGISTERS: usize, T> {
    /// Address of the function that decoded it, and of how many registers; 0: none.
    key: (usize, usize),
    registers: [Lanes; REGISTERS],
    table: T,
}

/// Places for fragments of A or of B; a fragment has one place where it may be.
pub(super) struct Fragments<const REGISTERS: usize, T> {
    entries: Vec<Option<Box<Entry<REGISTERS, T>>>>,
}

impl<const REGISTERS: usize, T: Default> Fragments<REGISTERS, T> {
    /// Room for a power of two of fragments.
    fn new(entries: usize) -> Self {
        Fragments { entries: (0..entries).map(|_| None).collect() }
    }

    /// The table of these registers.
    #[inline(always)]
    pub(super) fn table<S: Isa>(
        &mut self,
        isa: S,
        place: u32,
        registers: &[&Lanes],
        decoder: usize,
        decode: impl FnOnce(&[&Lanes], &mut T),
    ) -> &T {
        // Multiplied so that all bits of the place count.
        let index = (place.wrapping_mul(0x9e37_79b1) >> 16) as usize & (self.entries.len() - 1);
        let entry = self.entries[index].get_or_insert_with(|| {
            Box::new(Entry { key: (0, 0), registers: [Lanes::ZERO; REGISTERS], table: T::default() })
        });
        let mut different = isa.splat(0);
        for (known, now) in entry.registers.iter().zip(registers) {
            for half in 0..2 {
                different = isa.or(different, isa.xor(take(isa, known, half), take(isa, now, half)));
            }
        }
        let key = (decoder, registers.len());
        if entry.key != key || isa.mask_above(different, isa.splat(0)) != 0 {
            decode(registers, &mut entry.table);
            entry.key = key;
            for (known, now) in entry.registers.iter_mut().zip(registers) {
                *known = **now;
            }
        }
        &entry.table
    }
}

/// Decoded fragments. Results do not depend on what it remembers.
pub struct Memo {
    pub(super) a: Fragments<4, ATable>,
    pub(super) b: Fragments<2, BTable>,
    pub(super) selected: Option<Box<Selected>>,
}

impl Memo {
    /// Remembers nothing yet.
    pub fn new() -> Memo {
        Memo { a: Fragments::new(32), b: Fragments::new(64), selected: None }
    }
}

impl Default for Memo {
    fn default() -> Memo {
        Memo::new()
    }
}
