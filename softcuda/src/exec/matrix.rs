//! Asynchronous copies, ldmatrix and atomics: accesses that move data by their own rules.

use super::access::{Checked, Direction, place};
use super::async_copy::Copy;
use super::engine::{Engine, SHARED_WINDOW};
use super::registers::Simd;
use super::traffic::{self, lanes};
use super::transfer::copy_lane;
use super::value::Lanes;
use super::warp::Warp;
use crate::fault::FaultKind;
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
            // SAFETY: the caller's promise.
            match unsafe { place::<S>(&span, &source, reading, copy.bytes, Direction::Load, &mut offsets) } {
                Some(place) if largest <= copy.bytes => {
                    let sectors = traffic::sectors(&place.shape, place.low, reading);
                    self.counters.async_copies.sectors += sectors;
                }
                _ => self.check_copy_source(warp, op, at, reading, &source, &source_bytes, copy.bytes)?,
            }
            let counter = &mut self.counters.async_copies;
            counter.requests += 1;
            counter.bytes += if reading == u32::MAX {
                source_bytes.iter().map(|&count| u64::from(count)).sum::<u64>()
            } else {
                lanes(reading).map(|lane| u64::from(source_bytes[lane])).sum::<u64>()
            };
            for lane in lanes(reading) {
                self.site.sources.0 = self.site.sources.0.min(source[lane]);
                self.site.sources.1 = self.site.sources.1.max(source[lane] + u64::from(copy.bytes));
            }
        }
        traffic::count_shared(&mut self.counters.async_stores, &shape, mask);
        // What is not counted as in flight is not looked for.
        if self.machine.config.checks.asynchronous_copies {
            let words = copy.bytes as usize / 4;
            for lane in lanes(mask) {
                let first = shape.offsets[lane] as usize / 4;
                self.site.poison[first..first + words].fill(1);
            }
            self.site.in_flight += mask.count_ones() as usize;
        }
        let span = self.copy_spans[op.aux as usize];
        let copies = &mut self.site.copies[warp.index as usize];
        copies.pending.push(Copy {
            mask,
            group: copies.committed,
            destination: *shape.offsets,
            source,
            source_bytes,
            bytes: copy.bytes,
            span,
            op: at,
        });
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
    ) -> Checked {
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
        let mut sectors: Vec<u64> = lanes(reading).map(|lane| source[lane] >> 5).collect();
        sectors.sort_unstable();
        sectors.dedup();
        self.counters.async_copies.sectors += sectors.len() as u64;
        Ok(())
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
                self.perform(copy, done, warp)?;
                copy.mask &= !done;
            }
        }
        pending.retain(|copy| copy.mask != 0);
        self.site.copies[index].pending = pending;
        if self.site.in_flight == 0 {
            self.site.sources = (u64::MAX, 0);
        }
        Ok(())
    }

    /// Moves the bytes of some lanes of a copy.
    fn perform(&mut self, copy: &Copy, done: u32, warp: &Warp) -> Checked {
        let shared = self.site.shared.pointer();
        for lane in lanes(done) {
            let bytes = copy.bytes as usize;
            let count = copy.source_bytes[lane] as usize;
            // Words, for the alignment.
            let mut data = [0u64; 2];
            if count > 0 {
                let address = copy.source[lane];
                let known = address >= copy.span.base && address + count as u64 <= copy.span.end;
                let span = if known { Some(copy.span) } else { self.lookup(address, count as u64) };
                let Some(span) = span else {
                    return Err(self.memory_fault(warp, copy.op, lane as u32, "cp.async read", address, count as u32));
                };
                let host = span.shift.wrapping_add(copy.source[lane] as usize) as *const u8;
                let whole = matches!(count, 4 | 8 | 16) && copy.source[lane].is_multiple_of(count as u64);
                let step = if whole { count } else { 1 };
                for offset in (0..count).step_by(step) {
                    // SAFETY: `lookup` has shown that `count` bytes lie inside a live allocation; `data` has 16.
                    unsafe { copy_lane(host.add(offset), data.as_mut_ptr().cast::<u8>().add(offset), step as u32) };
                }
            }
            let start = copy.destination[lane] as usize;
            // SAFETY: the destination was checked at issue and shared memory does not shrink.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr().cast::<u8>(), shared.add(start), bytes) };
            self.site.poison[start / 4..(start + bytes) / 4].fill(0);
        }
        if self.machine.config.checks.asynchronous_copies {
            self.site.in_flight -= done.count_ones() as usize;
        }
        Ok(())
    }

    /// `ldmatrix`: matrix p takes its eight row addresses from lanes 8p to 8p + 7.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn load_matrix<S: Simd>(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let load = &kernel.tables.matrix_loads[op.aux as usize];
        if mask != u32::MAX {
            let what = format!("ldmatrix by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        let window = if load.generic { SHARED_WINDOW as i64 } else { 0 };
        let addresses = self.shared_addresses(warp, op.a, load.address, load.offset - window);
        let used = u32::MAX >> (32 - 8 * load.data.len());
        // SAFETY: the caller's promise.
        let rows = unsafe { self.shared_shape::<S>(warp, at, &addresses, used, 16, "ldmatrix")?.offsets };
        let shared = self.site.shared.pointer();
        self.counters.matrix_loads.requests += 1;
        for (p, &slot) in load.data.iter().enumerate() {
            let rows = &rows[8 * p..8 * p + 8];
            traffic::count_matrix(&mut self.counters.matrix_loads, rows);
            let mut matrix = [[0u32; 4]; 8];
            for (row, &address) in matrix.iter_mut().zip(rows) {
                // SAFETY: check_shared has shown that 16 bytes lie inside the block's shared memory, aligned to 16.
                *row = unsafe { shared.add(address as usize).cast::<[u32; 4]>().read() };
            }
            let result = warp.registers.word_mut(slot);
            if load.transposed {
                transpose(&matrix, result);
            } else {
                // Lane t holds elements 2(t % 4) and the next of row t / 4: the rows one after the other.
                for (part, row) in result.chunks_exact_mut(4).zip(&matrix) {
                    part.copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}

impl Engine<'_> {
    /// `movmatrix`: the 8x8 matrix in a register of the warp, transposed.
    #[cold]
    pub(super) fn move_matrix(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        if mask != u32::MAX {
            let what = format!("movmatrix by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        let mut matrix = [[0u32; 4]; 8];
        for (row, words) in matrix.iter_mut().zip(warp.registers.word(op.a).chunks_exact(4)) {
            row.copy_from_slice(words);
        }
        transpose(&matrix, warp.registers.word_mut(op.d));
        Ok(())
    }
}

/// Lane t gets elements (2(t % 4), t / 4) and (2(t % 4) + 1, t / 4) of the matrix.
#[inline(always)]
fn transpose(matrix: &[[u32; 4]; 8], result: &mut [u32; 32]) {
    let element = |row: usize, column: usize| matrix[row][column / 2] >> (16 * (column % 2)) & 0xffff;
    for (t, value) in result.iter_mut().enumerate() {
        let (row, column) = (2 * (t % 4), t / 4);
        *value = element(row, column) | element(row + 1, column) << 16;
    }
}
