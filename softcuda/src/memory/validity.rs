//! Which bytes of memory have ever been written: one bit a byte.

use super::reservation::Reservation;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The bits of one device's memory.
pub(super) struct Validity {
    bits: Reservation,
    base: u64,
}

impl Validity {
    /// For `bytes` addresses from `base` on, a multiple of 8; no byte has been written.
    pub(super) fn new(base: u64, bytes: u64) -> io::Result<Validity> {
        Ok(Validity { bits: Reservation::new(bytes.div_ceil(8))?, base })
    }

    pub(super) fn bits(&self) -> Written {
        Written { origin: (self.bits.pointer() as usize).wrapping_sub((self.base / 8) as usize) }
    }

    /// Forgets that these bytes have been written; `address` is a multiple of 8, and so are the bytes or nothing follows them.
    pub(super) fn clear(&self, address: u64, bytes: u64) {
        self.bits.clear((address - self.base) / 8, bytes.div_ceil(8));
    }
}

/// A map of bytes that have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Host address of the bits of address 0; 0: there is no map, as all bytes count as written.
    origin: usize,
}

impl Written {
    /// The map whose bits lie at `bits`, of a memory that begins at address 0.
    pub(crate) fn at(bits: *mut u8) -> Written {
        Written { origin: bits as usize }
    }

    /// Whether there is a map.
    #[inline(always)]
    pub(crate) fn exists(self) -> bool {
        self.origin != 0
    }

    /// The eight bits around an address.
    ///
    /// # Safety
    /// There must be a map, and the address belong to its memory.
    #[inline(always)]
    unsafe fn cell<'a>(self, address: u64) -> &'a AtomicU8 {
        // SAFETY: the caller's promise; bits are only ever touched as atomics, or before anyone knows of the memory.
        unsafe { &*(self.origin.wrapping_add((address / 8) as usize) as *const AtomicU8) }
    }

    /// Bytes have been written.
    ///
    /// # Safety
    /// They must belong to the map's memory.
    pub(crate) unsafe fn set(self, address: u64, bytes: u64) {
        if !self.exists() {
            return;
        }
        for (address, mask) in groups(address, bytes) {
            // SAFETY: the caller's promise.
            let cell = unsafe { self.cell(address) };
            // Kernels write what is written already most of the time.
            if cell.load(Relaxed) & mask != mask {
                cell.fetch_or(mask, Relaxed);
            }
        }
    }

    /// The first of some bytes that has never been written.
    ///
    /// # Safety
    /// They must belong to the map's memory.
    #[inline(always)]
    pub(crate) unsafe fn first_missing(self, address: u64, bytes: u64) -> Option<u64> {
        if !self.exists() {
            return None;
        }
        groups(address, bytes).find_map(|(address, mask)| {
            // SAFETY: the caller's promise.
            let missing = mask & !unsafe { self.cell(address) }.load(Relaxed);
            (missing != 0).then(|| address & !7 | u64::from(missing.trailing_zeros()))
        })
    }

    /// Copies what is known of `bytes` bytes at `from` to those at `to`, of the same or another map.
    ///
    /// # Safety
    /// Both must belong to their map's memory, and no kernel be about to write them.
    pub(crate) unsafe fn copy(self, to: u64, from: Written, source: u64, bytes: u64) {
        if !self.exists() {
            return;
        }
        let mut at = 0;
        while at < bytes {
            let count = (8 - (to + at) % 8).min(8 - (source + at) % 8).min(bytes - at);
            let part = (0xff >> (8 - count)) as u8;
            // SAFETY: the caller's promise.
            let known = if from.exists() { unsafe { from.cell(source + at) }.load(Relaxed) } else { u8::MAX };
            let known = known >> ((source + at) % 8) & part;
            let shift = (to + at) % 8;
            // SAFETY: as above.
            let cell = unsafe { self.cell(to + at) };
            cell.store(cell.load(Relaxed) & !(part << shift) | known << shift, Relaxed);
            at += count;
        }
    }
}

/// A range in groups of eight bytes: an address in each, and the bits that belong to the range.
#[inline(always)]
fn groups(address: u64, bytes: u64) -> impl Iterator<Item = (u64, u8)> {
    let end = address + bytes;
    let mut next = address;
    std::iter::from_fn(move || {
        (next < end).then(|| {
            let start = next;
            next = (start / 8 + 1) * 8;
            let low = u8::MAX << (start % 8);
            let high = if end < next { u8::MAX >> (next - end) } else { u8::MAX };
            (start, low & high)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bits: &mut [u8]) -> Written {
        Written::at(bits.as_mut_ptr())
    }

    #[test]
    fn a_byte_is_missing_until_it_is_written() {
        let mut bits = [0; 8];
        let map = map(&mut bits);
        // SAFETY: all addresses are below 64.
        unsafe {
            assert_eq!(map.first_missing(5, 20), Some(5));
            map.set(5, 20);
            assert_eq!(map.first_missing(5, 20), None);
            assert_eq!(map.first_missing(4, 2), Some(4));
            assert_eq!(map.first_missing(20, 10), Some(25));
            map.set(25, 1);
            assert_eq!(map.first_missing(20, 10), Some(26));
        }
        assert_eq!(bits, [0xe0, 0xff, 0xff, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn a_copy_carries_what_is_known_byte_by_byte() {
        let (mut first, mut second) = ([0x0f, 0xf0, 0xff, 0], [0xff; 4]);
        let (from, to) = (map(&mut first), map(&mut second));
        // SAFETY: all addresses are below 32.
        unsafe { to.copy(3, from, 1, 18) };
        // Bytes 1 to 18 of the source are written but for 4 to 11.
        let known = |byte: u32| !(6..14).contains(&byte);
        for byte in 0..32 {
            assert_eq!(second[byte as usize / 8] >> (byte % 8) & 1 == 1, known(byte), "{byte}");
        }
    }

    #[test]
    fn without_a_map_everything_is_written() {
        // SAFETY: there is no map.
        assert_eq!(unsafe { Written::default().first_missing(1 << 40, 1 << 20) }, None);
    }
}
