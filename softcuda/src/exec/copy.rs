//! `cp.async`: issue and completion.

use super::access::{Checked, Direction, place};
use super::async_copy::Copy;
use super::engine::{Engine, Site};
use super::guest::copy_lane;
use super::observe::{Does, Memory};
use super::registers::Simd;
use super::traffic::{self, lanes};
use super::value::Lanes;
use super::warp::Warp;
use crate::fault::FaultKind;
use crate::profile::Access;
use crate::program::op::{AddressWidth, Op};

impl Engine<'_> {
    /// `cp.async`: checked and counted now, copied at the wait that covers it.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn issue_copy<S: Simd>(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let copy = &kernel.tables.async_copies[op.aux as usize];
        let (slot, width, offset) = copy.destination;
        let addresses = self.shared_addresses(warp, slot, width, offset);
        // SAFETY: the caller's promise.
        let shape = unsafe { self.shared_shape::<S>(warp, at, &addresses, mask, copy.bytes, "cp.async write")? };
        let mut source_bytes = [copy.bytes; 32];
        if let Some(slot) = copy.source_bytes {
            source_bytes = *warp.registers.word(slot);
        }
        if let Some((predicate, negated)) = copy.ignore_source {
            let ignored = warp.registers.predicate(predicate) ^ if negated { u32::MAX } else { 0 };
            lanes(ignored).for_each(|lane| source_bytes[lane] = 0);
        }
        let (mut reading, mut largest) = (mask, copy.bytes);
        if copy.source_bytes.is_some() || copy.ignore_source.is_some() {
            reading = lanes(mask).filter(|&lane| source_bytes[lane] != 0).fold(0, |found, lane| found | 1 << lane);
            largest = source_bytes.iter().copied().fold(0, u32::max);
        }
        let source = self.addresses(warp, copy.source.0, AddressWidth::Wide, copy.source.1);
        let span = self.copy_spans[op.aux as usize];
        let mut offsets = Lanes([0; 32]);
        if reading != 0 {
            let sectors;
            // SAFETY: the caller's promise.
            match unsafe { place::<S>(&span, &source, reading, copy.bytes, Direction::Load, &mut offsets) } {
                Some(place) if largest <= copy.bytes => {
                    // SAFETY: as above.
                    sectors = unsafe { traffic::sectors::<S>(&place.shape, place.low, reading) };
                    self.note_shape(Access::Read, &place.shape, place.low, reading);
                }
                _ => sectors = self.check_copy_source(warp, op, at, reading, &source, &source_bytes, copy.bytes)?,
            }
            let bytes = if reading == u32::MAX {
                source_bytes.iter().map(|&count| u64::from(count)).sum::<u64>()
            } else {
                lanes(reading).map(|lane| u64::from(source_bytes[lane])).sum::<u64>()
            };
            self.count_global_bytes(warp.index, at, sectors, bytes);
            let (mut low, mut high) = self.site.sources;
            if reading == u32::MAX {
                low = source.iter().fold(low, |low, &address| low.min(address));
                high = source.iter().fold(high, |high, &address| high.max(address + u64::from(copy.bytes)));
            } else {
                for lane in lanes(reading) {
                    low = low.min(source[lane]);
                    high = high.max(source[lane] + u64::from(copy.bytes));
                }
            }
            self.site.sources = (low, high);
        }
        if self.watch.is_some() {
            self.observe_sources(warp, at, reading, &source, &source_bytes, copy.bytes)?;
            self.observe(warp, at, mask, &shape.offsets.map(u64::from), copy.bytes, Memory::Shared, Does::Write)?;
        }
        self.count_shared(warp.index, at, traffic::wavefronts(&shape, mask));
        // What is not counted as in flight is not looked for.
        if self.machine.config.checks.asynchronous_copies {
            let words = copy.bytes as usize / 4;
            for lane in lanes(mask) {
                self.site.mark(shape.offsets[lane] as usize / 4, words, 1);
            }
            self.site.in_flight += mask.count_ones() as usize;
        }
        let span = self.copy_spans[op.aux as usize];
        let early = self.site.coin();
        let copies = &mut self.site.copies[warp.index as usize];
        copies.issue(|to, group| {
            to.mask = mask;
            to.group = group;
            to.destination = *shape.offsets;
            to.source = source;
            to.source_bytes = source_bytes;
            to.bytes = copy.bytes;
            to.span = span;
            to.op = at;
            to.early = early;
        });
        if early && let Some(copy) = self.site.copies[warp.index as usize].pending.pop() {
            let done = self.move_bytes(&copy, mask, warp);
            self.site.copies[warp.index as usize].pending.push(copy);
            return done;
        }
        Ok(())
    }

    /// Lane by lane: fills the cache, finds the lane at fault, counts sectors of far-apart lanes.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one copy: who, where, how much")]
    fn check_copy_source(
        &mut self,
        warp: &Warp,
        op: &Op,
        at: u32,
        reading: u32,
        source: &[u64; 32],
        source_bytes: &[u32; 32],
        bytes: u32,
    ) -> Checked<u64> {
        for lane in lanes(reading) {
            let (address, count) = (source[lane], source_bytes[lane]);
            if count > bytes {
                let what = format!("cp.async of {bytes} bytes with a source size of {count}");
                return Err(self.fault(FaultKind::IllegalInstruction, warp, at, lane as u32, &what));
            }
            if address % u64::from(bytes) != 0 {
                return Err(self.misaligned(warp, at, lane as u32, "cp.async read", address, bytes));
            }
            match self.lookup(address, u64::from(count)) {
                Some(span) => self.copy_spans[op.aux as usize] = span,
                None => {
                    return Err(self.memory_fault(warp, at, lane as u32, "cp.async read", address, count));
                }
            }
        }
        Ok(self.note_lanes(Access::Read, source, reading))
    }

    /// The op of a copy in flight in this block that still has to read these bytes.
    pub(super) fn source_in_flight(&self, address: u64, bytes: u64) -> Option<u32> {
        let (low, high) = self.site.sources;
        if address >= high || address + bytes <= low {
            return None;
        }
        self.site.copies.iter().find_map(|copies| copies.source_at(address, bytes))
    }

    /// `cp.async.wait_group`, `wait_all`: completes what the wait covers, for the lanes that wait.
    pub(super) fn complete_copies(&mut self, warp: &mut Warp, mask: u32, allowed: Option<u32>) -> Checked {
        let index = warp.index as usize;
        if self.site.copies[index].pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.site.copies[index].pending);
        for copy in &mut pending {
            // wait_all waits for copies that no commit covers, too.
            let done = match allowed {
                None => copy.mask & mask,
                Some(allowed) => self.site.copies[index].covered(copy, mask, allowed),
            };
            if done != 0 {
                if !copy.early {
                    self.move_bytes(copy, done, warp)?;
                }
                if self.machine.config.checks.asynchronous_copies {
                    let words = copy.bytes as usize / 4;
                    lanes(done).for_each(|lane| self.site.mark(copy.destination[lane] as usize / 4, words, 0));
                    self.site.in_flight -= done.count_ones() as usize;
                }
                copy.mask &= !done;
                if self.watch.is_some() {
                    self.observe_completed(warp, copy.op, done, &copy.destination, copy.bytes)?;
                }
            }
        }
        self.site.copies[index].keep(pending);
        if self.site.in_flight == 0 {
            self.site.sources = (u64::MAX, 0);
        }
        Ok(())
    }

    fn move_bytes(&mut self, copy: &Copy, done: u32, warp: &Warp) -> Checked {
        match copy.bytes {
            16 => self.perform::<16>(copy, done, warp),
            8 => self.perform::<8>(copy, done, warp),
            _ => self.perform::<4>(copy, done, warp),
        }
    }

    /// Moves the bytes of some lanes of a copy of `BYTES` bytes a lane.
    fn perform<const BYTES: usize>(&mut self, copy: &Copy, done: u32, warp: &Warp) -> Checked {
        let shared = self.site.shared.pointer();
        let inside = |(&address, &count): (&u64, &u32)| {
            (address >= copy.span.base) & (address + BYTES as u64 <= copy.span.end) & (count == BYTES as u32)
        };
        // The usual copy: all lanes, all bytes, from one allocation.
        if done == u32::MAX && copy.source.iter().zip(&copy.source_bytes).fold(true, |all, lane| all & inside(lane)) {
            for (&address, &start) in copy.source.iter().zip(&copy.destination) {
                // SAFETY: the source lies inside a live allocation, aligned to `BYTES` as was checked at issue, and the
                // destination inside shared memory.
                unsafe {
                    let from = copy.span.shift.wrapping_add(address as usize) as *const u8;
                    copy_lane(from, shared.add(start as usize), BYTES as u32);
                }
            }
            return Ok(());
        }
        for lane in lanes(done) {
            let (address, count) = (copy.source[lane], copy.source_bytes[lane] as usize);
            let mut data = [0u64; 2];
            if count > 0 {
                let known = address >= copy.span.base && address + count as u64 <= copy.span.end;
                let span = if known { Some(copy.span) } else { self.lookup(address, count as u64) };
                let Some(span) = span else {
                    return Err(self.memory_fault(warp, copy.op, lane as u32, "cp.async read", address, count as u32));
                };
                let from = span.shift.wrapping_add(address as usize) as *const u8;
                let to = data.as_mut_ptr().cast::<u8>();
                // SAFETY: `count` bytes lie inside a live allocation, `BYTES` at most; `data` has 16. The source is aligned
                // to `BYTES`, as was checked at issue.
                unsafe {
                    if count == BYTES {
                        copy_lane(from, to, BYTES as u32);
                    } else {
                        (0..count).for_each(|offset| copy_lane(from.add(offset), to.add(offset), 1));
                    }
                }
            }
            let start = copy.destination[lane] as usize;
            // SAFETY: the destination was checked at issue and shared memory does not shrink.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr().cast(), shared.add(start), BYTES) };
        }
        Ok(())
    }
}

impl Site {
    /// Whether a copy moves its data when it is issued, as early as it may: half of them do where order is left to chance.
    #[inline(always)]
    fn coin(&mut self) -> bool {
        self.random.as_mut().is_some_and(|random| random.next() & 1 == 1)
    }

    /// Whether a copy to some words of shared memory is in flight: 1, 2 or 4 words, aligned to their number.
    #[inline(always)]
    fn mark(&mut self, first: usize, words: usize, value: u8) {
        let poison = &mut self.poison.slice_mut()[first..first + words];
        match poison.len() {
            4 => poison.copy_from_slice(&[value; 4]),
            _ => poison.fill(value),
        }
    }
}
