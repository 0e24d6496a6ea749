//! Fragments that have been decoded already: kernels multiply one fragment with several others.

use super::{
    isa::Isa,
    second::Selected,
    table::{ATable, BTable, take},
};
use crate::exec::value::Lanes;

/// Fragments of A, and of B, that are remembered.
const ENTRIES: [usize; 2] = [8, 16];

/// A decoded fragment with the registers that it was decoded from: it stands for these bits, whoever holds them.
pub(super) struct Entry<const REGISTERS: usize, T> {
    /// Address of the function that decoded it; 0: none.
    decoder: usize,
    registers: [Lanes; REGISTERS],
    pub(super) table: T,
}

impl<const REGISTERS: usize, T: Default> Entry<REGISTERS, T> {
    fn new() -> Self {
        Entry { decoder: 0, registers: [Lanes::ZERO; REGISTERS], table: T::default() }
    }

    /// The table of these registers.
    #[inline(always)]
    pub(super) fn table<S: Isa>(
        &mut self,
        isa: S,
        registers: &[&Lanes],
        decoder: usize,
        decode: impl FnOnce(&[&Lanes], &mut T),
    ) -> &T {
        let mut different = isa.splat(0);
        for (known, now) in self.registers.iter().zip(registers) {
            for half in 0..2 {
                different = isa.or(different, isa.xor(take(isa, known, half), take(isa, now, half)));
            }
        }
        if self.decoder != decoder || isa.mask_above(different, isa.splat(0)) != 0 {
            decode(registers, &mut self.table);
            self.decoder = decoder;
            for (known, now) in self.registers.iter_mut().zip(registers) {
                *known = **now;
            }
        }
        &self.table
    }
}

/// Decoded fragments. Results do not depend on what it remembers.
pub struct Memo {
    pub(super) a: Vec<Entry<4, ATable>>,
    pub(super) b: Vec<Entry<2, BTable>>,
    pub(super) selected: Box<Selected>,
}

impl Memo {
    /// Remembers nothing yet.
    pub fn new() -> Memo {
        let [a, b] = ENTRIES;
        Memo {
            a: (0..a).map(|_| Entry::new()).collect(),
            b: (0..b).map(|_| Entry::new()).collect(),
            selected: Box::default(),
        }
    }

    /// Where a fragment is likely to be found: `place` is its first register's.
    #[inline(always)]
    pub(super) fn index(place: usize, entries: usize) -> usize {
        // Fragments lie in consecutive registers, four or two apart.
        (place ^ place >> 2 ^ place >> 5) % entries
    }
}

impl Default for Memo {
    fn default() -> Memo {
        Memo::new()
    }
}
