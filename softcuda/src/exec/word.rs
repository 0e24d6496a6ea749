//! The most frequent access by far, on a path of its own: one 32-bit word a lane, all lanes active.

use super::access::{Checked, Direction, narrow_addresses, place};
use super::engine::Engine;
use super::registers::Simd;
use super::shape::KnownShape;
use super::traffic;
use super::transfer::{load_known, load_words, store_known, store_words};
use super::value::Lanes;
use super::warp::Warp;
use crate::program::op::Op;

impl Engine<'_> {
    /// One 32-bit word a lane between shared memory and a slot, at addresses that are known: loops and unrolled code address
    /// shared memory by registers that seldom change. `false` when the addresses have to be looked at.
    #[inline(always)]
    pub(super) fn known_shared_word<const LOAD: bool>(&mut self, warp: &mut Warp, op: &Op) -> bool {
        let known = &warp.shapes[op.aux as usize];
        if known.version != warp.registers.version(op.a) || self.site.in_flight != 0 && self.site.poisoned_word(known) {
            return false;
        }
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.shared_loads } else { &mut counters.shared_stores };
        counter.requests += 1;
        counter.ideal_wavefronts += 1;
        counter.wavefronts += known.wavefronts;
        let host = self.site.shared.pointer();
        // SAFETY: the register has not changed since its addresses were found to lie inside shared memory.
        unsafe {
            if LOAD {
                load_known(warp.registers.word_mut(op.d), host, known);
            } else {
                store_known(warp.registers.word(op.d), host, known);
            }
        }
        true
    }

    /// The same at any address; all lanes are active.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn shared_word<S: Simd, const LOAD: bool>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        let action = if LOAD { "shared load" } else { "shared store" };
        // SAFETY: the caller's promise.
        let shape = unsafe { self.shared_shape::<S>(warp, at, &addresses, u32::MAX, 4, action)? };
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.shared_loads } else { &mut counters.shared_stores };
        let before = counter.wavefronts;
        traffic::count_shared(counter, &shape, u32::MAX);
        if shape.regular() {
            let first = [shape.offsets[0], shape.offsets[16]];
            let (version, wavefronts) = (warp.registers.version(op.a), counter.wavefronts - before);
            warp.shapes[op.aux as usize] = KnownShape { version, runs: shape.runs, first, wavefronts };
        }
        let host = self.site.shared.pointer() as usize;
        // SAFETY: shared_shape has shown that all lanes lie inside the block's shared memory.
        unsafe {
            if LOAD {
                load_words::<S>(warp.registers.word_mut(op.d), host, &shape);
            } else {
                store_words::<S>(warp.registers.word(op.d), host, &shape);
            }
        }
        Ok(())
    }

    /// The same for device memory.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn global_word<S: Simd, const LOAD: bool>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let direction = if LOAD { Direction::Load } else { Direction::Store };
        let span = self.access_spans[op.aux as usize];
        let mut offsets = Lanes([0; 32]);
        // SAFETY: the caller's promise.
        let place = unsafe { place::<S>(&span, &addresses, u32::MAX, 4, direction, &mut offsets) };
        let Some(place) = place else {
            return self.move_global_slowly(warp, op, at, u32::MAX, &addresses, direction);
        };
        if !LOAD {
            self.check_sources(warp, at, &addresses, u32::MAX, 4)?;
        }
        let sectors = traffic::sectors(&place.shape, place.low, u32::MAX);
        self.count_global(direction, sectors, u32::MAX, 4);
        // SAFETY: `place` has shown that all lanes lie inside a live allocation, writable for a store.
        unsafe {
            if LOAD {
                load_words::<S>(warp.registers.word_mut(op.d), place.host, &place.shape);
            } else {
                store_words::<S>(warp.registers.word(op.d), place.host, &place.shape);
            }
        }
        Ok(())
    }
}
