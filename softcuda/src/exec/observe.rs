//! Tells the checkers what threads access, and makes faults of what they find.

use super::access::{Checked, Direction};
use super::engine::Engine;
use super::guest::copy_lane;
use super::traffic::lanes;
use super::transfer::{Staging, pack};
use super::warp::Warp;
use super::watch::Allocation;
use crate::check::shadow::{Accesses, Conflict};
use crate::check::stamp::Stamp;
use crate::check::variables::Effect;
use crate::fault::{Fault, FaultKind};
use crate::memory::Written;
use crate::program::op::{Code, Op};

/// The memories that threads share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Shared,
    Device,
}

/// What an op does to the bytes that it touches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Read,
    Write,
    /// An atomic does both.
    Update,
}

impl From<Direction> for Does {
    fn from(direction: Direction) -> Does {
        if direction == Direction::Load { Does::Read } else { Does::Write }
    }
}

impl Engine<'_> {
    /// Checks accesses of a warp to memory that threads share, bounds and alignment checked before, and data not yet moved.
    /// `bytes` of each lane are a power of two.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one access: who, where, what")]
    pub(super) fn observe(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        bytes: u32,
        memory: Memory,
        does: Does,
    ) -> Checked {
        self.check_written(warp, at, mask, addresses, bytes, memory, does)?;
        if !self.watch.as_ref().is_some_and(|watch| watch.races) {
            return Ok(());
        }
        let op = &self.kernel.ops[at as usize];
        let strong = op.order().strong;
        let mask = if does == Does::Write { self.check_lanes(warp, at, mask, addresses, bytes, memory)? } else { mask };
        let mut conflicts = self.record(warp, at, mask, addresses, bytes, memory, does != Does::Read);
        for conflict in conflicts.drain(..) {
            self.judge(warp, at, &conflict, memory, does)?;
        }
        if let Some(watch) = &mut self.watch {
            watch.conflicts = conflicts;
        }
        match does {
            Does::Read if strong => {
                self.strong_accesses(warp, op, mask, addresses, Effect::Read, memory == Memory::Shared);
            }
            Does::Write if strong => {
                self.strong_accesses(warp, op, mask, addresses, Effect::Write, memory == Memory::Shared);
            }
            Does::Write => {
                let watch = self.watch.as_mut();
                let variables = match memory {
                    Memory::Shared => Some(&mut self.site.watch.variables),
                    Memory::Device => watch.map(|watch| &mut watch.variables),
                };
                if let Some(variables) = variables {
                    lanes(mask).for_each(|lane| variables.overwrite(addresses[lane]));
                }
            }
            // Atomics tell one by one whether they have written.
            Does::Read | Does::Update => {}
        }
        Ok(())
    }

    /// Leaves stamps.
    #[expect(clippy::too_many_arguments, reason = "one access: who, where, what")]
    fn record(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        bytes: u32,
        memory: Memory,
        write: bool,
    ) -> Vec<Conflict> {
        let Some(watch) = &mut self.watch else { return Vec::new() };
        let mut conflicts = std::mem::take(&mut watch.conflicts);
        let block = &mut self.site.watch;
        let clock = &block.clocks.warps[warp.index as usize];
        let stamp = Stamp::new(clock.epoch, block.clocks.number, warp.index, at, 0);
        let (shadow, oldest) = match memory {
            // What the block before has left in this memory is older than this one's beginning.
            Memory::Shared => (&mut block.shadow, clock.block_floor()),
            Memory::Device => (&mut watch.shadow, 1),
        };
        shadow.record(&Accesses { stamp, clock, mask, addresses, bytes, write, oldest }, &mut conflicts);
        conflicts
    }

    /// The lanes of a `cp.async` that has been completed: others see its data from here on.
    pub(super) fn observe_completed(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        destination: &[u32; 32],
        bytes: u32,
    ) -> Checked {
        let Some(watch) = &self.watch else { return Ok(()) };
        let addresses = destination.map(u64::from);
        let races = watch.races;
        if watch.initialisation {
            let written = self.site.watch.shared_written();
            // SAFETY: the destination was found inside shared memory when the copy was issued.
            lanes(mask).for_each(|lane| unsafe { written.set(addresses[lane], u64::from(bytes)) });
        }
        if races {
            let mut conflicts = self.record(warp, at, mask, &addresses, bytes, Memory::Shared, true);
            for conflict in conflicts.drain(..) {
                self.judge(warp, at, &conflict, Memory::Shared, Does::Write)?;
            }
        }
        Ok(())
    }

    /// The sources of a `cp.async`: `counts` bytes of each lane.
    pub(super) fn observe_sources(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        counts: &[u32; 32],
        bytes: u32,
    ) -> Checked {
        let whole = lanes(mask).filter(|&lane| counts[lane] == bytes).fold(0, |found, lane| found | 1 << lane);
        if whole != 0 {
            self.observe(warp, at, whole, addresses, bytes, Memory::Device, Does::Read)?;
        }
        for lane in lanes(mask & !whole) {
            let mut done = 0;
            while done < counts[lane] {
                // The largest power of two that the rest has room for, aligned as the source is.
                let piece = 1 << (counts[lane] - done).ilog2();
                let from = addresses.map(|address| address + u64::from(done));
                self.observe(warp, at, 1 << lane, &from, piece, Memory::Device, Does::Read)?;
                done += piece;
            }
        }
        Ok(())
    }

    /// Reads of bytes never written are a fault; what is written has been.
    #[expect(clippy::too_many_arguments, reason = "one access: who, where, what")]
    fn check_written(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        bytes: u32,
        memory: Memory,
        does: Does,
    ) -> Checked {
        if !self.watch.as_ref().is_some_and(|watch| watch.initialisation) {
            return Ok(());
        }
        let length = u64::from(bytes);
        // Lanes side by side are looked at as one range.
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let start = addresses[first];
            let (written, limit) = self.written_around(start, memory);
            let mut end = start + length;
            rest &= rest - 1;
            while rest != 0 && addresses[rest.trailing_zeros() as usize] == end && end < limit {
                end += length;
                rest &= rest - 1;
            }
            // SAFETY: the bounds have been checked: the bytes lie in the memory that the map belongs to.
            unsafe {
                if does != Does::Write
                    && let Some(missing) = written.first_missing(start, end - start)
                {
                    let whose = |lane: &usize| (addresses[*lane]..addresses[*lane] + length).contains(&missing);
                    let lane = lanes(mask).find(whose).unwrap_or(first);
                    return Err(self.uninitialised(warp, at, lane, addresses[lane], bytes, missing, memory));
                }
                if does != Does::Read && self.kernel.ops[at as usize].code != Code::CpAsync {
                    written.set(start, end - start);
                }
            }
        }
        Ok(())
    }

    /// The map of written bytes around an address, and the end of the memory that it belongs to.
    fn written_around(&mut self, address: u64, memory: Memory) -> (Written, u64) {
        match memory {
            Memory::Shared => (self.site.watch.shared_written(), u64::MAX),
            Memory::Device => {
                let Some(watch) = &mut self.watch else { return (Written::default(), u64::MAX) };
                if address < watch.span.base || address >= watch.span.end {
                    watch.span = match self.machine.memory.reach(address) {
                        Some(found) => {
                            Allocation { base: found.base, end: found.base + found.bytes, written: found.written }
                        }
                        None => Allocation::default(),
                    };
                }
                (watch.span.written, watch.span.end)
            }
        }
    }

    /// The same for local memory, which each thread has to itself.
    pub(super) fn observe_local(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u32; 32],
        bytes: u32,
        direction: Direction,
    ) -> Checked {
        if !self.watch.as_ref().is_some_and(|watch| watch.initialisation) {
            return Ok(());
        }
        let written = self.site.watch.local_written();
        for lane in lanes(mask) {
            let frame = u64::from(32 * warp.index + lane as u32) * u64::from(self.local_bytes);
            let address = frame + u64::from(addresses[lane]);
            // SAFETY: the bounds have been checked, and the map covers the local memory of all threads.
            unsafe {
                if direction == Direction::Store {
                    written.set(address, u64::from(bytes));
                } else if let Some(missing) = written.first_missing(address, u64::from(bytes)) {
                    let what = format!(
                        "local load of {bytes} bytes at {:#x}: byte {} of them has never been written",
                        addresses[lane],
                        missing - address
                    );
                    return Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what));
                }
            }
        }
        Ok(())
    }

    /// Lanes of one store that meet: the last one wins here, any of them on a chip. Gives back the lanes without those that
    /// another one overwrites.
    fn check_lanes(
        &mut self,
        warp: &Warp,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        bytes: u32,
        memory: Memory,
    ) -> Checked<u32> {
        let apart = lanes(mask).zip(lanes(mask & (mask - 1))).all(|(lane, next)| addresses[lane] < addresses[next]);
        let op = &self.kernel.ops[at as usize];
        if apart || op.code == Code::CpAsync {
            return Ok(mask);
        }
        let mut order: Vec<usize> = lanes(mask).collect();
        order.sort_by_key(|&lane| (addresses[lane], lane));
        let mut winners = mask;
        for pair in order.windows(2).filter(|pair| addresses[pair[0]] == addresses[pair[1]]) {
            winners &= !(1 << pair[0]);
            if op.order().strong {
                continue;
            }
            let clock = &self.site.watch.clocks;
            let earlier =
                Stamp::new(clock.warps[warp.index as usize].epoch, clock.number, warp.index, at, 1 << pair[0]);
            let conflict = Conflict { lane: pair[1], address: addresses[pair[1]], bytes, earlier, wrote: true };
            let data = self.stored(warp, op, bytes);
            let value = |lane: usize| &data[lane * bytes as usize..][..bytes as usize];
            if value(pair[0]) != value(pair[1]) {
                return Err(self.race(warp, at, &conflict, memory, Does::Write));
            }
            self.note(warp, at, &conflict, memory);
        }
        Ok(winners)
    }

    /// What a store writes, lane after lane.
    fn stored(&self, warp: &Warp, op: &Op, bytes: u32) -> Vec<u8> {
        let access = &self.kernel.tables.accesses[op.aux as usize];
        let mut staging = Staging::new();
        pack(warp, access, &mut staging);
        // SAFETY: `pack` has filled in all lanes, `bytes` each.
        unsafe { std::slice::from_raw_parts(staging.pointer(), 32 * bytes as usize) }.to_vec()
    }

    /// Whether two accesses that nothing orders are a race.
    fn judge(&mut self, warp: &Warp, at: u32, conflict: &Conflict, memory: Memory, does: Does) -> Checked {
        let kernel = self.kernel;
        let op = &kernel.ops[at as usize];
        let Some(other) = kernel.ops.get(conflict.earlier.op() as usize) else { return Ok(()) };
        let (own, theirs) = (op.order(), other.order());
        let within = conflict.earlier.block == self.site.watch.clocks.number;
        if own.strong && theirs.strong && (within || own.beyond_block && theirs.beyond_block) {
            return Ok(());
        }
        if does == Does::Write && conflict.wrote && is_store(op) && is_store(other) {
            let access = &kernel.tables.accesses[op.aux as usize];
            let bytes = access.bytes();
            let data = self.stored(warp, op, bytes);
            let first = addresses_in(conflict.address, bytes);
            let new = &data[conflict.lane * bytes as usize + first..][..conflict.bytes as usize];
            if self.contents(conflict.address, conflict.bytes, memory) == new {
                self.note(warp, at, conflict, memory);
                return Ok(());
            }
        }
        Err(self.race(warp, at, conflict, memory, does))
    }

    /// What memory holds, within one piece.
    fn contents(&self, address: u64, bytes: u32, memory: Memory) -> Vec<u8> {
        let mut data = vec![0; bytes as usize];
        match memory {
            Memory::Shared => data.copy_from_slice(&self.site.shared.slice()[address as usize..][..bytes as usize]),
            Memory::Device => {
                if let Some(span) = self.lookup(address, u64::from(bytes)) {
                    let from = span.shift.wrapping_add(address as usize) as *const u8;
                    // SAFETY: the bytes lie inside a live allocation, as they have just been looked up.
                    unsafe { copy_lane(from, data.as_mut_ptr(), bytes) };
                }
            }
        }
        data
    }

    #[cold]
    fn note(&mut self, warp: &Warp, at: u32, conflict: &Conflict, memory: Memory) {
        let text = || self.race_text(warp, at, conflict, memory, Does::Write, "benign race, the same value by both,");
        let ops = (conflict.earlier.op(), at);
        let Some(watch) = &self.watch else { return };
        let text = if watch.notes.has(ops) { String::new() } else { text() };
        if let Some(watch) = &mut self.watch {
            watch.notes.add(ops, text);
        }
    }

    #[cold]
    fn race(&self, warp: &Warp, at: u32, conflict: &Conflict, memory: Memory, does: Does) -> Box<Fault> {
        let text = self.race_text(warp, at, conflict, memory, does, "race");
        Box::new(Fault { kind: FaultKind::LaunchFailed, text })
    }
}

/// Where within an aligned access of `bytes` an address lies.
fn addresses_in(address: u64, bytes: u32) -> usize {
    (address % u64::from(bytes)) as usize
}

fn is_store(op: &Op) -> bool {
    matches!(op.code, Code::StShared | Code::StShared32 | Code::StGlobal | Code::StGlobal32 | Code::StGeneric)
}
