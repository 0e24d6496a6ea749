//! Which addresses of a device are allocated: pure bookkeeping, deterministic.

use super::AllocationInfo;
use std::collections::{BTreeMap, VecDeque};

/// Every allocation starts at a multiple of this.
const ALIGNMENT: u64 = 512;
/// Unallocated bytes after every allocation, at least.
const RED_ZONE: u64 = 512;
/// Freed allocations that are remembered for reports and kept from reuse.
const REMEMBERED: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Block {
    bytes: u64,
    read_only: bool,
}

/// Allocated, freed and mapped ranges.
///
/// New allocations take space that was never used as long as there is any; then what was freed longest ago, first fit.
pub(super) struct Allocator {
    base: u64,
    end: u64,
    /// From here to `end` nothing was ever allocated.
    top: u64,
    capacity: u64,
    used: u64,
    live: BTreeMap<u64, Block>,
    freed: BTreeMap<u64, Block>,
    /// Bases in `freed`, the oldest first.
    freed_order: VecDeque<u64>,
    /// Start and end of ranges that may be reused; no two touch.
    gaps: BTreeMap<u64, u64>,
    /// Host memory visible to the device; never inside the device's own addresses.
    mapped: BTreeMap<u64, Block>,
    /// Addresses whose memory comes and goes, and how many bytes.
    reserved: BTreeMap<u64, u64>,
}

impl Allocator {
    /// For addresses `base .. base + range`, of which `capacity` bytes may be in use at once.
    pub(super) fn new(base: u64, range: u64, capacity: u64) -> Allocator {
        Allocator {
            base,
            end: base.saturating_add(range),
            // Nothing at the base itself: one byte before the first allocation must not belong to another device.
            top: base + RED_ZONE,
            capacity,
            used: 0,
            live: BTreeMap::new(),
            freed: BTreeMap::new(),
            freed_order: VecDeque::new(),
            gaps: BTreeMap::new(),
            mapped: BTreeMap::new(),
            reserved: BTreeMap::new(),
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn allocate(&mut self, bytes: u64, read_only: bool) -> Option<u64> {
        let rounded = bytes.checked_next_multiple_of(ALIGNMENT)?;
        if bytes == 0 || rounded > self.capacity.checked_sub(self.used)? {
            return None;
        }
        let base = self.place(rounded + RED_ZONE)?;
        self.live.insert(base, Block { bytes, read_only });
        self.used += rounded;
        Some(base)
    }

    /// Takes `extent` bytes, red zone included.
    fn place(&mut self, extent: u64) -> Option<u64> {
        if extent <= self.end - self.top {
            let base = self.top;
            self.top += extent;
            return Some(base);
        }
        loop {
            let fit = self.gaps.iter().map(|(start, end)| (*start, *end)).find(|(start, end)| end - start >= extent);
            if let Some((start, end)) = fit {
                self.gaps.remove(&start);
                if start + extent < end {
                    self.gaps.insert(start + extent, end);
                }
                return Some(start);
            }
            if !self.forget_oldest() {
                return None;
            }
        }
    }

    pub(super) fn free(&mut self, base: u64) -> Option<AllocationInfo> {
        let block = self.live.remove(&base)?;
        self.used -= block.bytes.next_multiple_of(ALIGNMENT);
        self.freed.insert(base, block);
        if !self.reserved.contains_key(&base) {
            self.retire(base);
        }
        Some(info(base, block, true))
    }

    /// Lets a freed range be reused some day.
    fn retire(&mut self, base: u64) {
        self.freed_order.push_back(base);
        if self.freed_order.len() > REMEMBERED {
            self.forget_oldest();
        }
    }

    /// Sets addresses aside for `bytes` bytes, without memory.
    pub(super) fn reserve(&mut self, bytes: u64) -> Option<u64> {
        let rounded = bytes.checked_next_multiple_of(ALIGNMENT)?;
        if bytes == 0 || rounded > self.capacity {
            return None;
        }
        let base = self.place(rounded.checked_add(RED_ZONE)?)?;
        self.reserved.insert(base, bytes);
        Some(base)
    }

    /// Gives reserved addresses memory, until it is freed; `false`: it has some already, or there is not enough.
    pub(super) fn commit(&mut self, base: u64, bytes: u64) -> bool {
        let rounded = bytes.next_multiple_of(ALIGNMENT);
        if self.reserved.get(&base) != Some(&bytes) || self.live.contains_key(&base) || !self.charge(rounded) {
            return false;
        }
        self.freed.remove(&base);
        self.live.insert(base, Block { bytes, read_only: false });
        true
    }

    /// Gives up reserved addresses; memory that is there stays until it is freed.
    pub(super) fn release(&mut self, base: u64) {
        if let Some(bytes) = self.reserved.remove(&base)
            && !self.live.contains_key(&base)
        {
            self.freed.insert(base, Block { bytes, read_only: false });
            self.retire(base);
        }
    }

    /// Counts bytes as used that have no address here; `false`: there are not as many.
    pub(super) fn charge(&mut self, bytes: u64) -> bool {
        let fits = self.capacity - self.used >= bytes;
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Undoes [`charge`](Self::charge).
    pub(super) fn discharge(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Makes the allocation that was freed longest ago available again.
    fn forget_oldest(&mut self) -> bool {
        let Some(base) = self.freed_order.pop_front() else {
            return false;
        };
        if let Some(block) = self.freed.remove(&base) {
            let mut start = base;
            let mut end = base + block.bytes.next_multiple_of(ALIGNMENT) + RED_ZONE;
            let before = self.gaps.range(..start).next_back();
            if let Some((before, _)) = before.filter(|(_, before_end)| **before_end == start) {
                start = *before;
            }
            if let Some(after_end) = self.gaps.remove(&end) {
                end = after_end;
            }
            self.gaps.insert(start, end);
        }
        true
    }

    /// Registers host memory; `false`: it overlaps what is registered already, or is empty.
    pub(super) fn map(&mut self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes) else {
            return false;
        };
        let before = self.mapped.range(..end).next_back();
        let overlaps = before.is_some_and(|(base, block)| base + block.bytes > address);
        if bytes == 0 || overlaps {
            return false;
        }
        let block = Block { bytes, read_only: false };
        self.mapped.insert(address, block);
        true
    }

    pub(super) fn unmap(&mut self, address: u64) -> bool {
        self.mapped.remove(&address).is_some()
    }

    pub(super) fn find(&self, address: u64) -> Option<AllocationInfo> {
        let ranges = if address.wrapping_sub(self.base) < self.end - self.base { &self.live } else { &self.mapped };
        let (base, block) = ranges.range(..=address).next_back()?;
        (address - base < block.bytes).then(|| info(*base, *block, false))
    }

    pub(super) fn nearest(&self, address: u64) -> Option<AllocationInfo> {
        let neighbours = |ranges: &BTreeMap<u64, Block>, freed| {
            let below = ranges.range(..=address).next_back();
            let above = ranges.range(address..).next();
            let found = [below, above].into_iter().flatten();
            found.map(|(base, block)| info(*base, *block, freed)).collect::<Vec<_>>()
        };
        let mut candidates = neighbours(&self.live, false);
        candidates.extend(neighbours(&self.freed, true));
        candidates.extend(neighbours(&self.mapped, false));
        // Of several at the same distance the live one, which comes first.
        candidates.into_iter().min_by_key(|candidate| distance(candidate, address))
    }
}

/// Bytes between `address` and the allocation; 0 inside it.
fn distance(allocation: &AllocationInfo, address: u64) -> u64 {
    let last = allocation.base + (allocation.bytes - 1);
    allocation.base.saturating_sub(address).max(address.saturating_sub(last))
}

fn info(base: u64, block: Block, freed: bool) -> AllocationInfo {
    AllocationInfo { base, bytes: block.bytes, freed, read_only: block.read_only }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x7000_0000_0000;

    #[test]
    fn allocations_are_aligned_apart_and_the_same_every_time() {
        let addresses = || {
            let mut allocator = Allocator::new(BASE, 1 << 20, 1 << 20);
            [1, 511, 512, 513, 4096].map(|bytes| allocator.allocate(bytes, false).unwrap())
        };
        let first = addresses();
        assert_eq!(first, addresses());
        for (pair, bytes) in first.windows(2).zip([1, 511, 512, 513]) {
            assert_eq!(pair[0] % ALIGNMENT, 0);
            assert!(pair[1] - (pair[0] + bytes) >= RED_ZONE);
        }
    }

    #[test]
    fn zero_bytes_and_more_than_the_capacity_are_refused() {
        let mut allocator = Allocator::new(BASE, 1 << 20, 4096);
        assert_eq!(allocator.allocate(0, false), None);
        assert_eq!(allocator.allocate(4097, false), None);
        assert_eq!(allocator.allocate(u64::MAX, false), None);
        let base = allocator.allocate(4096, false).unwrap();
        assert_eq!(allocator.allocate(1, false), None);
        allocator.free(base).unwrap();
        assert!(allocator.allocate(1, false).is_some());
    }

    #[test]
    fn freed_memory_is_reused_only_under_pressure_and_then_coalesced() {
        let mut allocator = Allocator::new(BASE, 64 * 1024, 64 * 1024);
        let a = allocator.allocate(16 * 1024, false).unwrap();
        let b = allocator.allocate(16 * 1024, false).unwrap();
        allocator.free(a).unwrap();
        allocator.free(b).unwrap();
        let c = allocator.allocate(16 * 1024, false).unwrap();
        assert!(c > b, "space that was never used comes first");
        // Neither freed range alone is large enough, nor what was never used.
        assert_eq!(allocator.allocate(32 * 1024, false), Some(a));
        assert_eq!(allocator.free(a + 512), None, "not the start of an allocation");
    }

    #[test]
    fn find_sees_live_bytes_only_and_nearest_remembers_freed_ones() {
        let mut allocator = Allocator::new(BASE, 1 << 20, 1 << 20);
        let a = allocator.allocate(100, true).unwrap();
        assert!(allocator.find(a + 99).unwrap().read_only);
        assert_eq!(allocator.find(a + 100), None);
        assert_eq!(allocator.find(a - 1), None);
        let b = allocator.allocate(100, false).unwrap();
        allocator.free(b).unwrap();
        assert_eq!(allocator.find(b), None);
        let nearest = allocator.nearest(b + 50).unwrap();
        assert_eq!((nearest.base, nearest.freed), (b, true));
        assert_eq!(allocator.nearest(a + 110).unwrap().base, a);
        assert_eq!(allocator.nearest(0).unwrap().base, a);
        assert_eq!(allocator.nearest(u64::MAX).unwrap().base, b);
    }

    #[test]
    fn reserved_addresses_get_memory_again_and_again() {
        let mut allocator = Allocator::new(BASE, 1 << 20, 8192);
        let a = allocator.reserve(4096).unwrap();
        assert_eq!((allocator.find(a), allocator.used()), (None, 0));
        for _ in 0..3 {
            assert!(allocator.commit(a, 4096));
            assert!(!allocator.commit(a, 4096), "it is there already");
            assert_eq!(allocator.find(a + 4095).unwrap().bytes, 4096);
            assert_eq!(allocator.allocate(8192, false), None);
            allocator.free(a).unwrap();
            assert_eq!((allocator.find(a), allocator.used()), (None, 0));
            assert!(allocator.nearest(a).unwrap().freed);
        }
        allocator.release(a);
        assert!(!allocator.commit(a, 4096));
    }

    #[test]
    fn charged_bytes_count_as_used() {
        let mut allocator = Allocator::new(BASE, 1 << 20, 4096);
        assert!(!allocator.charge(4097));
        assert!(allocator.charge(4096));
        assert_eq!(allocator.allocate(1, false), None);
        allocator.discharge(4096);
        assert!(allocator.allocate(1, false).is_some());
    }

    #[test]
    fn mapped_host_memory_is_found_at_its_own_address() {
        let mut allocator = Allocator::new(BASE, 1 << 20, 1 << 20);
        assert!(allocator.map(0x5000, 0x1000));
        assert!(!allocator.map(0x5fff, 1), "overlaps");
        assert!(!allocator.map(0x4fff, 2), "overlaps");
        assert!(allocator.map(0x6000, 1));
        assert_eq!(allocator.find(0x5fff).unwrap().base, 0x5000);
        assert!(allocator.unmap(0x5000));
        assert_eq!(allocator.find(0x5fff), None);
        assert!(!allocator.unmap(0x5000));
    }
}
