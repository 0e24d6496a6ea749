//! The shadow of a memory: for each piece of it the last write and some of the reads since.
//!
//! A piece is as large as the smallest access that its page has seen, 16 bytes at most: tensors that are read and written by
//! 16 bytes a lane cost a quarter of those whose elements move one by one. Pages come into being when they are touched.
//!
//! Of the reads since the last write a piece remembers the last one, one of another warp, and one of another block. A write
//! that races with a read is found unless three warps have read and it is ordered after these, but not after a fourth.

use super::clock::WarpClock;
use super::stamp::Stamp;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a page, as a power of two.
const PAGE_SHIFT: u32 = 12;
/// Bytes of the largest piece.
const LARGEST_PIECE: u32 = 16;

/// What is known of a piece of memory.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    write: Stamp,
    /// The last read.
    read: Stamp,
    /// One by another warp of the same block, unordered with it.
    other: Stamp,
    /// One by another block.
    far: Stamp,
}

struct Page {
    /// Bytes of a piece, as a power of two.
    shift: u32,
    pieces: Vec<Piece>,
}

impl Page {
    fn new(shift: u32) -> Page {
        Page { shift, pieces: vec![Piece::default(); 1 << (PAGE_SHIFT - shift)] }
    }

    /// Pieces become smaller.
    #[cold]
    fn split(&mut self, shift: u32) {
        let parts = 1usize << (self.shift - shift);
        self.pieces = self.pieces.iter().flat_map(|&piece| std::iter::repeat_n(piece, parts)).collect();
        self.shift = shift;
    }
}

/// Numbers of pages spread over the table.
#[derive(Default)]
pub(crate) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// The accesses of a warp, one a lane.
pub(crate) struct Accesses<'a> {
    /// Who, when and where; its lanes are filled in.
    pub(crate) stamp: Stamp,
    pub(crate) clock: &'a WarpClock,
    pub(crate) mask: u32,
    pub(crate) addresses: &'a [u64; 32],
    /// Bytes of each lane, a power of two, of which its address is a multiple.
    pub(crate) bytes: u32,
    pub(crate) write: bool,
    /// Stamps with a lower clock come before these accesses, whoever has left them.
    pub(crate) oldest: u32,
}

/// Two accesses that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The lane of the later one.
    pub(crate) lane: usize,
    /// The first bytes that both touch, and how many of them are looked at.
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    /// The earlier one, and whether it is a write.
    pub(crate) earlier: Stamp,
    pub(crate) wrote: bool,
}

/// The shadow.
#[derive(Default)]
pub(crate) struct Shadow {
    numbers: HashMap<u64, usize, BuildHasherDefault<PageHasher>>,
    pages: Vec<Page>,
    /// The page used last: its number and its place.
    last: Option<(u64, usize)>,
}

impl Shadow {
    fn page(&mut self, number: u64, shift: u32) -> &mut Page {
        let place = match self.last {
            Some((known, place)) if known == number => place,
            _ => {
                let pages = &mut self.pages;
                let place = *self.numbers.entry(number).or_insert_with(|| {
                    pages.push(Page::new(shift));
                    pages.len() - 1
                });
                self.last = Some((number, place));
                place
            }
        };
        let page = &mut self.pages[place];
        if page.shift > shift {
            page.split(shift);
        }
        page
    }

    /// Leaves stamps for the accesses, and adds to `conflicts` where they meet others that do not come before.
    pub(crate) fn record(&mut self, accesses: &Accesses<'_>, conflicts: &mut Vec<Conflict>) {
        let shift = accesses.bytes.min(LARGEST_PIECE).trailing_zeros();
        let mut rest = accesses.mask;
        while rest != 0 {
            let number = accesses.addresses[rest.trailing_zeros() as usize] >> PAGE_SHIFT;
            let page = self.page(number, shift);
            let count = (accesses.bytes >> page.shift) as usize;
            // The lanes of a page, which most of the time are all there are.
            while rest != 0 {
                let lane = rest.trailing_zeros() as usize;
                let address = accesses.addresses[lane];
                if address >> PAGE_SHIFT != number {
                    break;
                }
                rest &= rest - 1;
                let me = By { accesses, lane, stamp: accesses.stamp.by(lane) };
                let first = (address as usize & ((1 << PAGE_SHIFT) - 1)) >> page.shift;
                for (index, piece) in page.pieces[first..first + count].iter_mut().enumerate() {
                    let found = if accesses.write { piece.record_write(&me) } else { piece.record_read(&me) };
                    if let Some((earlier, wrote)) = found {
                        let address = address + ((index as u64) << page.shift);
                        conflicts.push(Conflict { lane, address, bytes: 1 << page.shift, earlier, wrote });
                    }
                }
            }
        }
    }
}

/// One lane of an access.
struct By<'a> {
    accesses: &'a Accesses<'a>,
    lane: usize,
    stamp: Stamp,
}

/// An earlier access, and whether it is a write.
type Earlier = (Stamp, bool);

impl By<'_> {
    /// Whether nothing orders it behind another access.
    #[inline(always)]
    fn races_with(&self, earlier: &Stamp) -> bool {
        earlier.clock >= self.accesses.oldest && !self.accesses.clock.ordered(self.lane, &self.stamp, earlier)
    }
}

impl Piece {
    #[inline(always)]
    fn record_read(&mut self, me: &By<'_>) -> Option<Earlier> {
        let found = me.races_with(&self.write).then_some((self.write, true));
        if self.read.clock == me.stamp.clock && self.read.same_warp(&me.stamp) {
            self.read = Stamp { lanes: self.read.lanes | me.stamp.lanes, ..me.stamp };
        } else {
            self.add_read(me);
        }
        found
    }

    #[inline(always)]
    fn add_read(&mut self, me: &By<'_>) {
        let read = self.read;
        if me.races_with(&read) {
            if read.block != me.stamp.block {
                (self.far, self.other) = (read, Stamp::default());
            } else {
                self.other = read;
            }
        }
        self.read = me.stamp;
    }

    #[inline(always)]
    fn record_write(&mut self, me: &By<'_>) -> Option<Earlier> {
        let mut found = None;
        for (earlier, wrote) in [(&self.write, true), (&self.read, false), (&self.other, false), (&self.far, false)] {
            if me.races_with(earlier) {
                found = Some((*earlier, wrote));
                break;
            }
        }
        *self = Piece { write: me.stamp, ..Piece::default() };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::BlockClocks;
    use super::*;

    struct Bench {
        shadow: Shadow,
        clocks: BlockClocks,
        now: u32,
    }

    impl Bench {
        fn new() -> Bench {
            let mut clocks = BlockClocks::default();
            clocks.restart(0, 4, 1);
            Bench { shadow: Shadow::default(), clocks, now: 1 }
        }

        fn tick(&mut self) -> u32 {
            self.now += 1;
            self.now
        }

        fn access(
            &mut self,
            warp: u32,
            mask: u32,
            address: impl Fn(u64) -> u64,
            bytes: u32,
            write: bool,
        ) -> Vec<Conflict> {
            let clock = &self.clocks.warps[warp as usize];
            let addresses: [u64; 32] = std::array::from_fn(|lane| address(lane as u64));
            let stamp = Stamp::new(clock.epoch, 0, warp, 10, 0);
            let mut conflicts = Vec::new();
            let accesses = Accesses { stamp, clock, mask, addresses: &addresses, bytes, write, oldest: 1 };
            self.shadow.record(&accesses, &mut conflicts);
            conflicts
        }

        fn write(&mut self, warp: u32, address: impl Fn(u64) -> u64, bytes: u32) -> usize {
            self.access(warp, u32::MAX, address, bytes, true).len()
        }

        fn read(&mut self, warp: u32, address: impl Fn(u64) -> u64, bytes: u32) -> usize {
            self.access(warp, u32::MAX, address, bytes, false).len()
        }
    }

    #[test]
    fn a_barrier_orders_what_lies_on_both_sides_of_it() {
        let mut bench = Bench::new();
        assert_eq!(bench.write(0, |lane| 4 * lane, 4), 0);
        assert_eq!(bench.read(1, |lane| 4 * lane, 4), 32);
        let now = bench.tick();
        bench.clocks.meet(now);
        assert_eq!(bench.read(2, |lane| 4 * lane, 4), 0);
        assert_eq!(bench.write(3, |lane| 4 * lane, 4), 32);
    }

    #[test]
    fn a_page_is_looked_at_as_finely_as_it_is_used() {
        let mut bench = Bench::new();
        assert_eq!(bench.write(0, |lane| 16 * lane, 16), 0);
        let now = bench.tick();
        bench.clocks.meet(now);
        // Neighbouring halves by different warps do not meet. A wide read meets both: four of the other warp, and four of
        // its own warp's lanes, but for one that is the lane's own in lanes 0, 10, 21 and 31.
        assert_eq!(bench.write(0, |lane| 4 * lane, 2), 0);
        assert_eq!(bench.write(1, |lane| 4 * lane + 2, 2), 0);
        assert_eq!(bench.read(0, |lane| 16 * (lane % 8), 16), 32 * (4 + 4) - 4);
    }

    #[test]
    fn lanes_of_a_warp_are_ordered_by_meeting_only() {
        let mut bench = Bench::new();
        assert_eq!(bench.write(0, |lane| 4 * lane, 4), 0);
        assert_eq!(bench.read(0, |lane| 4 * lane, 4), 0, "its own word");
        assert_eq!(bench.read(0, |lane| 4 * (31 - lane), 4), 32);
        let now = bench.tick();
        bench.clocks.meet_in_warp(0, &[0xffff; 32], 0xffff, u32::MAX, now);
        let mirrored = |lane: u64| 4 * (15 - lane % 16);
        assert_eq!(bench.access(0, 0xffff, mirrored, 4, false), []);
        assert_eq!(bench.access(0, 0xffff_0000, mirrored, 4, false).len(), 16, "these have not met the others");
    }

    #[test]
    fn a_write_meets_the_last_reads_of_two_warps() {
        let mut bench = Bench::new();
        for warp in 0..3 {
            assert_eq!(bench.read(warp, |_| 64, 4), 0);
        }
        let found = bench.access(3, 1, |_| 64, 4, true);
        assert_eq!((found.len(), found[0].wrote, found[0].earlier.warp()), (1, false, 2));
        assert_eq!(found[0].earlier.lanes, u32::MAX);
    }

    #[test]
    fn an_arrival_covers_what_came_before_it_and_no_more() {
        let mut bench = Bench::new();
        let alive = [u32::MAX; 4];
        bench.write(0, |lane| 4 * lane, 4);
        let now = bench.tick();
        bench.clocks.arrive(5, 0, u32::MAX, true, now);
        bench.write(0, |lane| 256 + 4 * lane, 4);
        let now = bench.tick();
        bench.clocks.arrive(5, 1, u32::MAX, false, now);
        let now = bench.tick();
        bench.clocks.release(5, false, &alive, now);
        assert_eq!(bench.read(1, |lane| 4 * lane, 4), 0);
        assert_eq!(bench.read(1, |lane| 256 + 4 * lane, 4), 32);
        assert_eq!(bench.read(2, |lane| 4 * lane, 4), 32, "it was not at the barrier");
    }
}
