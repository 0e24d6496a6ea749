//! The L2 cache: lines of four sectors, the least recently used one replaced first, any line in any place.
//!
//! Real caches have sets, chosen by a hash of the address that no one documents; without them, a working set that fits has
//! no misses but the first, and one that is walked through in circles and does not fit misses always.

use super::records::{Access, Run};
use super::{DeviceTraffic, LINE_SECTORS, SECTOR_BYTES};
use std::collections::HashMap;

/// Lines of a page of the table: 1 MiB of device memory.
const PAGE_LINES: u64 = 8192;
/// No place.
const NONE: u32 = 0;

/// A line of device memory that some access has touched: its place in the cache in 24 bits (0: none), and for its sectors
/// whether they have been read before any write, and whether they have been written.
type Entry = u32;
const PLACE: u32 = (1 << 24) - 1;

/// A place of the cache.
#[derive(Clone, Copy)]
struct Place {
    /// When it was used last.
    used: u64,
    /// Where the table has the line: the page, and the line within it.
    page: u32,
    line: u16,
    /// Sectors that are there, and those that device memory does not have.
    valid: u8,
    dirty: u8,
}

type Page = Box<[Entry; PAGE_LINES as usize]>;

/// The cache, with what it has moved so far.
pub(super) struct Cache {
    /// How many lines it holds.
    capacity: usize,
    pages: Vec<Page>,
    /// Where the page with a number is among them.
    numbers: HashMap<u64, u32>,
    /// The page used last: its number, and where it is.
    last: (u64, u32),
    /// Place 0 is none.
    places: Vec<Place>,
    /// How often places have been used.
    now: u64,
    /// Places to be replaced next, with the last use that they are here for, the last one first: who has been used again is not
    /// meant any more, and has been used later than all that are. Made anew when it has run out, so that nothing but the time
    /// is noted of an access.
    oldest: Vec<(u64, u32)>,
    traffic: DeviceTraffic,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Cache {
        let capacity = (bytes / (SECTOR_BYTES * LINE_SECTORS)).clamp(1, u64::from(PLACE) - 1) as usize;
        let none = Place { used: 0, page: 0, line: 0, valid: 0, dirty: 0 };
        Cache {
            capacity,
            pages: Vec::new(),
            numbers: HashMap::new(),
            last: (u64::MAX, 0),
            places: vec![none],
            now: 0,
            oldest: Vec::new(),
            traffic: DeviceTraffic::default(),
        }
    }

    /// Lets a run of accesses through.
    pub(super) fn access(&mut self, run: Run) {
        let (mut sector, end) = (run.first(), run.first() + run.count());
        while sector < end {
            let line = sector / LINE_SECTORS;
            let page = self.page(line / PAGE_LINES);
            let next = end.min((line + 1) * LINE_SECTORS);
            let mask = (1u8 << (next - line * LINE_SECTORS)) - (1 << (sector - line * LINE_SECTORS));
            self.touch(page, (line % PAGE_LINES) as u16, mask, run.access());
            sector = next;
        }
    }

    /// Where the page with this number is.
    #[inline(always)]
    fn page(&mut self, number: u64) -> u32 {
        if self.last.0 != number {
            let pages = &mut self.pages;
            let place = *self.numbers.entry(number).or_insert_with(|| {
                pages.push(Box::new([0; PAGE_LINES as usize]));
                (pages.len() - 1) as u32
            });
            self.last = (number, place);
        }
        self.last.1
    }

    #[inline(always)]
    fn touch(&mut self, page: u32, line: u16, mask: u8, access: Access) {
        let entry = self.pages[page as usize][line as usize];
        let (mut place, read, written) = (entry & PLACE, (entry >> 24 & 15) as u8, (entry >> 28) as u8);
        if place == NONE {
            place = self.place_for(page, line);
        }
        self.now += 1;
        let held = &mut self.places[place as usize];
        held.used = self.now;
        // What has all been here before, as it usually has, changes nothing else.
        let known = held.valid & if access == Access::Read { read | written } else { written & held.dirty };
        if mask & !known == 0 {
            return;
        }
        let (mut first_reads, mut first_writes) = (0, 0);
        if access != Access::Write {
            self.traffic.read_sectors += u64::from((mask & !held.valid).count_ones());
            first_reads = mask & !read & !written;
        }
        if access != Access::Read {
            held.dirty |= mask;
            first_writes = mask & !written;
        }
        held.valid |= mask;
        self.traffic.compulsory_read_sectors += u64::from(first_reads.count_ones());
        self.traffic.compulsory_write_sectors += u64::from(first_writes.count_ones());
        let entry = place | u32::from(read | first_reads) << 24 | u32::from(written | first_writes) << 28;
        self.pages[page as usize][line as usize] = entry;
    }

    /// A place for a line.
    #[inline(never)]
    fn place_for(&mut self, page: u32, line: u16) -> u32 {
        let fresh = Place { used: 0, page, line, valid: 0, dirty: 0 };
        if self.places.len() <= self.capacity {
            self.places.push(fresh);
            return (self.places.len() - 1) as u32;
        }
        let oldest = self.least_recently_used();
        let old = std::mem::replace(&mut self.places[oldest as usize], fresh);
        self.traffic.write_sectors += u64::from(old.dirty.count_ones());
        self.pages[old.page as usize][old.line as usize] &= !PLACE;
        oldest
    }

    fn least_recently_used(&mut self) -> u32 {
        loop {
            while let Some((used, place)) = self.oldest.pop() {
                if self.places[place as usize].used == used {
                    return place;
                }
            }
            self.oldest.extend((1..).zip(&self.places[1..]).map(|(number, place)| (place.used, number)));
            self.oldest.sort_unstable_by_key(|&(used, _)| std::cmp::Reverse(used));
        }
    }

    /// The traffic, with what is still to be written back.
    pub(super) fn finish(&self) -> DeviceTraffic {
        let dirty: u64 = self.places.iter().map(|place| u64::from(place.dirty.count_ones())).sum();
        DeviceTraffic { write_sectors: self.traffic.write_sectors + dirty, ..self.traffic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::memory::records::Records;

    /// (read, written, and of those compulsory) of accesses to (first sector, sectors), through a cache of so many lines.
    fn traffic(lines: u64, accesses: &[(Access, u64, u64)]) -> [u64; 4] {
        let mut cache = Cache::new(128 * lines);
        for &(access, first, count) in accesses {
            let mut records = Records::new(true);
            records.sectors(access, first, first + count);
            records.take(Vec::new()).into_iter().for_each(|run| cache.access(run));
        }
        let traffic = cache.finish();
        let compulsory = [traffic.compulsory_read_sectors, traffic.compulsory_write_sectors];
        [traffic.read_sectors, traffic.write_sectors, compulsory[0], compulsory[1]]
    }
    use Access::{Read, Update, Write};

    #[test]
    fn what_is_there_is_not_read_again() {
        assert_eq!(traffic(8, &[(Read, 0, 16), (Read, 0, 16), (Read, 4, 4)]), [16, 0, 16, 0]);
        assert_eq!(traffic(8, &[(Read, 3, 2), (Read, 0, 8)]), [8, 0, 8, 0]);
    }

    #[test]
    fn a_store_needs_no_read_and_is_written_back_once() {
        assert_eq!(traffic(8, &[(Write, 0, 8), (Write, 0, 8), (Read, 0, 8)]), [0, 8, 0, 8]);
        assert_eq!(traffic(8, &[(Update, 0, 2), (Update, 0, 2)]), [2, 2, 2, 2]);
    }

    #[test]
    fn walking_in_circles_through_more_than_fits_misses_always() {
        // Nine lines through eight places, three times.
        assert_eq!(traffic(8, &[(Read, 0, 36), (Read, 0, 36), (Read, 0, 36)]), [108, 0, 36, 0]);
        // Eight lines fit.
        assert_eq!(traffic(8, &[(Read, 0, 32), (Read, 0, 32), (Read, 0, 32)]), [32, 0, 32, 0]);
        // Stored lines are written when others need their place, and again at the end.
        assert_eq!(traffic(1, &[(Write, 0, 4), (Write, 4, 4), (Write, 0, 4)]), [0, 12, 0, 8]);
    }

    #[test]
    fn the_least_recently_used_line_goes_first() {
        // Line 0 is used again before line 2 comes: line 1 goes.
        assert_eq!(traffic(2, &[(Read, 0, 4), (Read, 4, 4), (Read, 0, 4), (Read, 8, 4), (Read, 0, 4)]), [12, 0, 12, 0]);
        assert_eq!(traffic(2, &[(Read, 0, 4), (Read, 4, 4), (Read, 8, 4), (Read, 0, 4)]), [16, 0, 12, 0]);
    }

    #[test]
    fn pages_are_found_again() {
        let far = 1 << 30;
        assert_eq!(traffic(8, &[(Read, 0, 4), (Read, far, 4), (Read, 0, 4), (Write, far, 4)]), [8, 4, 8, 4]);
    }
}
