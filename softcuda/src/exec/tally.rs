//! What is noted of an execution as it goes on: counts by record and basic block, the sectors that the model of the L2 cache
//! gets, and the trace of blocks that the time model replays.

use super::access::Direction;
use super::engine::Engine;
use super::registers::Simd;
use super::shape::{Halves, Run, Shape};
use super::traffic::lanes;
use crate::profile::{Access, Records};

impl From<Direction> for Access {
    fn from(direction: Direction) -> Access {
        if direction == Direction::Load { Access::Read } else { Access::Write }
    }
}

impl Engine<'_> {
    /// Warps with so many threads enter a basic block.
    #[inline(always)]
    pub(super) fn enter(&mut self, block: usize, warps: u64, threads: u64, warp: u32) {
        let passes = &mut self.tally.passes[block];
        passes.0 += warps;
        passes.1 += threads;
        if let Some(trace) = &mut self.site.trace {
            trace.enter(warp, block as u32, self.kernel.blocks[block].waits);
        }
    }

    /// A request on device memory, so many bytes a lane.
    #[inline(always)]
    pub(super) fn count_global(&mut self, warp: u32, at: u32, sectors: u64, mask: u32, bytes: u32) {
        self.count_global_bytes(warp, at, sectors, u64::from(mask.count_ones() * bytes));
    }

    /// The same, so many bytes in all.
    #[inline(always)]
    pub(super) fn count_global_bytes(&mut self, warp: u32, at: u32, sectors: u64, bytes: u64) {
        let access = &mut self.tally.traffic[at as usize].global;
        access.requests += 1;
        access.sectors += sectors;
        access.bytes += bytes;
        if let Some(trace) = &mut self.site.trace {
            trace.global(warp, at, sectors);
        }
    }

    /// A request on shared memory: its wavefronts, and what they would be without conflicts.
    #[inline(always)]
    pub(super) fn count_shared(&mut self, warp: u32, at: u32, (wavefronts, ideal): (u64, u64)) {
        let access = &mut self.tally.traffic[at as usize].shared;
        access.requests += 1;
        access.wavefronts += wavefronts;
        access.ideal_wavefronts += ideal;
        if let Some(trace) = &mut self.site.trace {
            trace.shared(warp, at, wavefronts);
        }
    }

    /// Requests of one word a lane by warps from `warp` on, all lanes active: sectors or wavefronts in all.
    #[inline(always)]
    pub(super) fn count_words<const SHARED: bool>(&mut self, warp: u32, at: u32, requests: u64, cost: u64) {
        let traffic = &mut self.tally.traffic[at as usize];
        if SHARED {
            traffic.shared.requests += requests;
            traffic.shared.ideal_wavefronts += requests;
            traffic.shared.wavefronts += cost;
        } else {
            traffic.global.requests += requests;
            traffic.global.sectors += cost;
            traffic.global.bytes += 128 * requests;
        }
        // Blocks that are traced run one warp at a time.
        if let Some(trace) = &mut self.site.trace {
            if SHARED { trace.shared(warp, at, cost) } else { trace.global(warp, at, cost) }
        }
    }

    /// Notes the sectors of an access, each once; how many there are.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn note_sectors<S: Simd>(
        &mut self,
        access: Access,
        shape: &Shape<'_>,
        low: u64,
        mask: u32,
    ) -> u64 {
        if shape.regular() {
            self.note_shape(access, shape, low, mask);
            // SAFETY: the caller's promise.
            return unsafe { super::traffic::sectors::<S>(shape, low, mask) };
        }
        // SAFETY: the caller's promise.
        let firsts = unsafe { super::traffic::first_of_sectors::<S>(shape, low, mask) };
        if self.records.on() {
            let sector = |lane: usize| (low + u64::from(shape.offsets[lane])) >> 5;
            self.records.scattered(access, lanes(firsts).map(sector));
        }
        u64::from(firsts.count_ones())
    }

    /// Notes the sectors of an access.
    #[inline(always)]
    pub(super) fn note_shape(&mut self, access: Access, shape: &Shape<'_>, low: u64, mask: u32) {
        if !self.records.on() {
            return;
        }
        for half in 0..2 {
            if shape.runs[half] == Run::Scattered {
                for lane in lanes(mask & 0xffff << (16 * half)) {
                    self.records.bytes(access, low + u64::from(shape.offsets[lane]), u64::from(shape.bytes));
                }
            } else {
                let (start, length) = shape.range(half);
                self.records.bytes(access, low + u64::from(start), u64::from(length));
            }
        }
    }

    /// Notes the sectors of lanes at any addresses, each within one sector; how many different ones they are.
    pub(super) fn note_lanes(&mut self, access: Access, addresses: &[u64; 32], mask: u32) -> u64 {
        let mut sectors: Vec<u64> = lanes(mask).map(|lane| addresses[lane] >> 5).collect();
        sectors.sort_unstable();
        sectors.dedup();
        if self.records.on() {
            sectors.iter().for_each(|&sector| self.records.sectors(access, sector, sector + 1));
        }
        sectors.len() as u64
    }
}

/// Notes the sectors of a word access with regular halves.
#[inline(always)]
pub(super) fn note_halves(records: &mut Records, access: Access, halves: &Halves) {
    records.bytes(access, halves.first[0], halves.length(0));
    records.bytes(access, halves.first[1], halves.length(1));
}
