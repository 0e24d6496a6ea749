//! A warp's register file: slots of 32 lanes, and predicates as masks.

pub(crate) use super::simd::*;
use super::value::Lanes;

/// The register file of one warp. Slot numbers come from the decoded program, which fixes how many there are.
pub(crate) struct Registers {
    rows: Box<[Lanes]>,
    predicates: Box<[u32]>,
}

impl Registers {
    pub(crate) fn new(slots: u32, predicates: u32) -> Registers {
        // One spare row: a 64-bit slot is two rows, and the last preset may be the last row.
        let count = slots as usize + 1;
        Registers {
            rows: vec![Lanes([0; 32]); count].into_boxed_slice(),
            predicates: vec![0; predicates as usize].into_boxed_slice(),
        }
    }

    /// A 32-bit slot as the argument of a value function.
    #[inline(always)]
    pub(crate) fn lanes(&self, slot: u16) -> &Lanes {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: lowering hands out slots below the count that this file was made with.
        unsafe { self.rows.get_unchecked(slot as usize) }
    }

    /// A 32-bit slot.
    #[inline(always)]
    pub(crate) fn word(&self, slot: u16) -> &[u32; 32] {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: lowering hands out slots below the count that this file was made with.
        unsafe { &self.rows.get_unchecked(slot as usize).0 }
    }

    #[inline(always)]
    pub(crate) fn word_mut(&mut self, slot: u16) -> &mut [u32; 32] {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: as in `word`.
        unsafe { &mut self.rows.get_unchecked_mut(slot as usize).0 }
    }

    /// The same lanes as f32.
    #[inline(always)]
    pub(crate) fn float(&self, slot: u16) -> &[f32; 32] {
        // SAFETY: f32 and u32 have the same size and alignment, and every bit pattern is valid in both.
        unsafe { &*std::ptr::from_ref(self.word(slot)).cast() }
    }

    /// A 64-bit slot: two rows.
    #[inline(always)]
    pub(crate) fn double(&self, slot: u16) -> &[u64; 32] {
        debug_assert!((slot as usize) + 1 < self.rows.len(), "slot within the file");
        // SAFETY: rows are contiguous and 64-byte aligned; lowering gives 64-bit registers two slots.
        unsafe { &*self.rows.as_ptr().add(slot as usize).cast() }
    }

    #[inline(always)]
    pub(crate) fn double_mut(&mut self, slot: u16) -> &mut [u64; 32] {
        debug_assert!((slot as usize) + 1 < self.rows.len(), "slot within the file");
        // SAFETY: as in `double`.
        unsafe { &mut *self.rows.as_mut_ptr().add(slot as usize).cast() }
    }

    /// The same lanes as f64.
    #[inline(always)]
    pub(crate) fn float64(&self, slot: u16) -> &[f64; 32] {
        // SAFETY: f64 and u64 have the same size and alignment, and every bit pattern is valid in both.
        unsafe { &*std::ptr::from_ref(self.double(slot)).cast() }
    }

    /// A predicate.
    #[inline(always)]
    pub(crate) fn predicate(&self, index: u16) -> u32 {
        debug_assert!((index as usize) < self.predicates.len(), "predicate within the file");
        // SAFETY: lowering hands out indices below the count that this file was made with.
        unsafe { *self.predicates.get_unchecked(index as usize) }
    }

    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, index: u16, mask: u32, value: u32) {
        debug_assert!((index as usize) < self.predicates.len(), "predicate within the file");
        // SAFETY: as in `predicate`.
        let old = unsafe { self.predicates.get_unchecked_mut(index as usize) };
        *old = *old & !mask | value & mask;
    }

    /// A predicate's new value: everywhere, or in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn write_predicate<const FULL: bool>(&mut self, index: u16, mask: u32, value: u32) {
        self.set_predicate(index, if FULL { u32::MAX } else { mask }, value);
    }
}
