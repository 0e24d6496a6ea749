//! Asynchronous copies, ldmatrix and atomics: accesses that move data by their own rules.

use super::async_copy::Copy;
use super::engine::{Engine, SHARED_WINDOW};
use super::traffic::{self, lanes};
use super::transfer::{copy_lane, extent, in_window};
use super::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::program::op::Op;

type Checked<T = ()> = Result<T, Box<Fault>>;

impl Engine<'_> {
    /// `cp.async`: checked and counted now, copied at the wait that covers it.
    pub(crate) fn issue_copy(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let copy = &kernel.tables.async_copies[op.aux as usize];
        let (slot, width, offset) = copy.destination;
        let mut destination = self.addresses(warp, slot, width, offset);
        for address in &mut destination {
            // A generic address of the shared window is as good as the window's own.
            if address.wrapping_sub(SHARED_WINDOW) < super::engine::WINDOW_BYTES {
                *address -= SHARED_WINDOW;
            }
        }
        let bytes = u64::from(copy.bytes);
        let narrow = self.check_shared(warp, at, &destination, mask, bytes, "cp.async write")?;
        let source = self.addresses(warp, copy.source.0, crate::program::op::AddressWidth::Wide, copy.source.1);
        let mut source_bytes = [copy.bytes; 32];
        if let Some(slot) = copy.source_bytes {
            for (count, &asked) in source_bytes.iter_mut().zip(warp.registers.word(slot)) {
                *count = asked;
            }
        }
        if let Some((predicate, negated)) = copy.ignore_source {
            let ignored = warp.registers.predicate(predicate) ^ if negated { u32::MAX } else { 0 };
            lanes(ignored).for_each(|lane| source_bytes[lane] = 0);
        }
        let reading = self.check_copy_source(warp, op, at, mask, &source, &source_bytes, copy.bytes)?;
        let counters = &mut self.counters;
        if reading != 0 {
            let sectors = traffic::sectors(&source, reading, 1);
            counters.async_copies.requests += 1;
            counters.async_copies.sectors += sectors;
            counters.async_copies.bytes += lanes(reading).map(|lane| u64::from(source_bytes[lane])).sum::<u64>();
        }
        traffic::count_shared(&mut counters.async_stores, &narrow, mask, copy.bytes);
        for lane in lanes(mask) {
            let first = narrow[lane] as usize / 4;
            self.site.poison[first..first + copy.bytes as usize / 4].fill(1);
        }
        self.site.in_flight += mask.count_ones() as usize;
        let copies = &mut warp.copies;
        for lane in lanes(reading) {
            copies.low = copies.low.min(source[lane]);
            copies.high = copies.high.max(source[lane] + u64::from(source_bytes[lane]));
        }
        copies.pending.push(Copy {
            mask,
            group: copies.committed,
            destination: narrow,
            source,
            source_bytes,
            bytes: copy.bytes,
            span: self.copy_spans[op.aux as usize],
            op: at,
        });
        Ok(())
    }

    /// Bounds and alignment of the sources; returns the lanes that read any byte.
    #[expect(clippy::too_many_arguments, reason = "one copy: who, where, how much")]
    fn check_copy_source(
        &mut self,
        warp: &Warp,
        op: &Op,
        at: u32,
        mask: u32,
        source: &[u64; 32],
        source_bytes: &[u32; 32],
        bytes: u32,
    ) -> Checked<u32> {
        let reading = lanes(mask).filter(|&lane| source_bytes[lane] != 0).fold(0, |found, lane| found | 1 << lane);
        let span = self.copy_spans[op.aux as usize];
        let (low, high, unaligned) = extent(source, reading, u64::from(bytes));
        let full = lanes(reading).all(|lane| source_bytes[lane] <= bytes);
        if full && !unaligned && (reading == 0 || low >= span.base && high + u64::from(bytes) <= span.end) {
            return Ok(reading);
        }
        for lane in lanes(reading) {
            let (address, count) = (source[lane], source_bytes[lane]);
            if count > bytes {
                let what = format!("cp.async of {bytes} bytes with a source size of {count}");
                return Err(self.fault(FaultKind::IllegalInstruction, warp, at, lane as u32, &what));
            }
            if address % u64::from(bytes) != 0 {
                return Err(self.misaligned(warp, at, lane as u32, "cp.async read", address, u64::from(bytes)));
            }
            match self.lookup(address, u64::from(count)) {
                Some(span) => self.copy_spans[op.aux as usize] = span,
                None => return Err(self.memory_fault(warp, at, lane as u32, "cp.async read", address, u64::from(count))),
            }
        }
        Ok(reading)
    }

    /// `cp.async.wait_group`, `wait_all`: completes what the wait covers, for the lanes that wait.
    pub(crate) fn complete_copies(&mut self, warp: &mut Warp, mask: u32, allowed: Option<u32>) -> Checked {
        if warp.copies.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut warp.copies.pending);
        for copy in &mut pending {
            // wait_all waits for copies that no commit covers, too.
            let done = match allowed {
                None => copy.mask & mask,
                Some(allowed) => warp.copies.covered(copy, mask, allowed),
            };
            if done != 0 {
                self.perform(copy, done, warp)?;
                copy.mask &= !done;
            }
        }
        pending.retain(|copy| copy.mask != 0);
        if pending.is_empty() {
            (warp.copies.low, warp.copies.high) = (u64::MAX, 0);
        }
        warp.copies.pending = pending;
        Ok(())
    }

    /// Moves the bytes of some lanes of a copy.
    fn perform(&mut self, copy: &Copy, done: u32, warp: &Warp) -> Checked {
        let shared = self.site.shared.pointer();
        for lane in lanes(done) {
            let bytes = copy.bytes as usize;
            let count = copy.source_bytes[lane] as usize;
            let mut data = [0u8; 16];
            if count > 0 {
                let address = copy.source[lane];
                let known = address >= copy.span.base && address + count as u64 <= copy.span.end;
                let span = if known { Some(copy.span) } else { self.lookup(address, count as u64) };
                let Some(span) = span else {
                    return Err(self.memory_fault(warp, copy.op, lane as u32, "cp.async read", address, count as u64));
                };
                let host = span.shift.wrapping_add(copy.source[lane] as usize) as *const u8;
                let whole = matches!(count, 4 | 8 | 16) && copy.source[lane] % count as u64 == 0;
                let step = if whole { count } else { 1 };
                for offset in (0..count).step_by(step) {
                    // SAFETY: `lookup` has shown that `count` bytes lie inside a live allocation; `data` has 16.
                    unsafe { copy_lane(host.add(offset), data.as_mut_ptr().add(offset), step as u64) };
                }
            }
            let start = copy.destination[lane] as usize;
            // SAFETY: the destination was checked at issue and shared memory does not shrink.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), shared.add(start), bytes) };
            self.site.poison[start / 4..(start + bytes) / 4].fill(0);
        }
        self.site.in_flight -= done.count_ones() as usize;
        Ok(())
    }

    /// `ldmatrix`: matrix p takes its eight row addresses from lanes 8p to 8p + 7.
    #[inline(always)]
    pub(crate) fn load_matrix(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let load = &kernel.tables.matrix_loads[op.aux as usize];
        if mask != u32::MAX {
            let what = format!("ldmatrix by the lanes {mask:#010x} only: all 32 must take part");
            return Err(self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), &what));
        }
        let mut addresses = self.addresses(warp, op.a, load.address, load.offset);
        if load.generic {
            let inside = in_window(&addresses, mask, SHARED_WINDOW);
            lanes(inside).for_each(|lane| addresses[lane] -= SHARED_WINDOW);
        }
        let used = u32::MAX >> (32 - 8 * load.data.len());
        let rows = self.check_shared(warp, at, &addresses, used, 16, "ldmatrix")?;
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

/// Lane t gets elements (2(t % 4), t / 4) and (2(t % 4) + 1, t / 4) of the matrix.
#[inline(always)]
fn transpose(matrix: &[[u32; 4]; 8], result: &mut [u32; 32]) {
    let element = |row: usize, column: usize| matrix[row][column / 2] >> (16 * (column % 2)) & 0xffff;
    for (t, value) in result.iter_mut().enumerate() {
        let (row, column) = (2 * (t % 4), t / 4);
        *value = element(row, column) | element(row + 1, column) << 16;
    }
}
