//! The most frequent access by far, on a path of its own: one 32-bit word a lane, all lanes of all the warps active, and
//! each half of a warp at one address or at consecutive ones. Any other goes the general way.

use super::access::Direction;
use super::engine::Engine;
use super::registers::Simd;
use super::run::Failure;
use super::shape::Halves;
use super::traffic;
use super::transfer::{load_shared_words, load_words, store_shared_words, store_words};
use super::warp::Warp;
use crate::program::op::{AddressWidth, Op};

impl Engine<'_> {
    /// One 32-bit word a lane between shared memory and a slot.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn shared_words<S: Simd, const LOAD: bool>(
        &mut self,
        warps: &mut [Warp],
        op: &Op,
        at: u32,
    ) -> Result<(), Failure> {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let narrow = access.address == AddressWidth::Narrow;
        let size = self.site.shared.len();
        let host = self.site.shared.pointer();
        let (mut requests, mut wavefronts) = (0, 0);
        for (index, warp) in warps.iter_mut().enumerate() {
            if narrow
                && let Some(halves) = Halves::narrow(warp.registers.word(op.a), access.offset)
                && halves.within(0, size)
                && (self.site.in_flight == 0 || !self.site.poisoned_words(&halves))
            {
                requests += 1;
                wavefronts += traffic::wavefronts_of_halves(&halves);
                // SAFETY: both halves lie inside the block's shared memory.
                unsafe {
                    if LOAD {
                        load_shared_words(warp.registers.word_mut(op.d), host, &halves);
                    } else {
                        store_shared_words(warp.registers.word(op.d), host, &halves);
                    }
                }
                continue;
            }
            let direction = if LOAD { Direction::Load } else { Direction::Store };
            // SAFETY: the caller's promise.
            unsafe { self.move_shared::<S>(warp, op, at, u32::MAX, direction) }
                .map_err(|fault| Failure { index, fault })?;
        }
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.shared_loads } else { &mut counters.shared_stores };
        counter.requests += requests;
        counter.ideal_wavefronts += requests;
        counter.wavefronts += wavefronts;
        Ok(())
    }

    /// The same for device memory.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn global_words<S: Simd, const LOAD: bool>(
        &mut self,
        warps: &mut [Warp],
        op: &Op,
        at: u32,
    ) -> Result<(), Failure> {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let wide = access.address == AddressWidth::Wide;
        let (mut requests, mut sectors) = (0, 0);
        for (index, warp) in warps.iter_mut().enumerate() {
            let span = &self.access_spans[op.aux as usize];
            if wide
                && let Some(halves) = Halves::wide(warp.registers.double(op.a), access.offset)
                && halves.within(span.base, span.end)
                && (LOAD || !span.read_only && self.site.in_flight == 0)
            {
                requests += 1;
                sectors += traffic::sectors_of_halves(&halves);
                // SAFETY: both halves lie inside a live allocation, writable for a store.
                unsafe {
                    if LOAD {
                        load_words::<S>(warp.registers.word_mut(op.d), span.shift, &halves);
                    } else {
                        store_words::<S>(warp.registers.word(op.d), span.shift, &halves);
                    }
                }
                continue;
            }
            let direction = if LOAD { Direction::Load } else { Direction::Store };
            // SAFETY: the caller's promise.
            unsafe { self.move_global::<S>(warp, op, at, u32::MAX, direction) }
                .map_err(|fault| Failure { index, fault })?;
        }
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.global_loads } else { &mut counters.global_stores };
        counter.requests += requests;
        counter.sectors += sectors;
        counter.bytes += 128 * requests;
        Ok(())
    }
}
