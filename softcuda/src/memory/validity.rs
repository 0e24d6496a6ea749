//! Which bytes of memory have ever been written: one bit a byte.

use super::reservation::Reservation;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bits of one device's memory.
pub(super) struct Validity {
    bits: Reservation,
    base: u64,
}

impl Validity {
    /// For `bytes` addresses from `base` on, a multiple of 64; no byte has been written.
    pub(super) fn new(base: u64, bytes: u64) -> io::Result<Validity> {
        Ok(Validity { bits: Reservation::new(bytes.div_ceil(64) * 8)?, base })
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
    pub(crate) fn at(bits: *mut u64) -> Written {
        Written { origin: bits as usize }
    }

    /// Whether there is a map.
    #[inline(always)]
    pub(crate) fn exists(self) -> bool {
        self.origin != 0
    }

    /// The 64 bits around an address.
    ///
    /// # Safety
    /// There must be a map, and the address belong to its memory.
    #[inline(always)]
    unsafe fn cell<'a>(self, address: u64) -> &'a AtomicU64 {
        // SAFETY: the caller's promise; bits are only ever touched as atomics, or before anyone knows of the memory. A map
        // begins at a multiple of 8.
        unsafe { &*(self.origin.wrapping_add((address / 64 * 8) as usize) as *const AtomicU64) }
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

    /// Bytes are as if they had never been written.
    ///
    /// # Safety
    /// They must belong to the map's memory.
    pub(crate) unsafe fn unset(self, address: u64, bytes: u64) {
        if !self.exists() {
            return;
        }
        for (address, mask) in groups(address, bytes) {
            // SAFETY: the caller's promise.
            unsafe { self.cell(address) }.fetch_and(!mask, Relaxed);
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
            (missing != 0).then(|| address & !63 | u64::from(missing.trailing_zeros()))
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
            let count = (64 - (to + at) % 64).min(64 - (source + at) % 64).min(bytes - at);
            let part = u64::MAX >> (64 - count);
            // SAFETY: the caller's promise.
            let known = if from.exists() { unsafe { from.cell(source + at) }.load(Relaxed) } else { u64::MAX };
            let known = known >> ((source + at) % 64) & part;
            let shift = (to + at) % 64;
            // SAFETY: as above.
            let cell = unsafe { self.cell(to + at) };
            cell.store(cell.load(Relaxed) & !(part << shift) | known << shift, Relaxed);
            at += count;
        }
    }
}

/// A range in groups of 64 bytes: an address in each, and the bits that belong to the range.
#[inline(always)]
fn groups(address: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = address + bytes;
    let mut next = address;
    std::iter::from_fn(move || {
        (next < end).then(|| {
            let start = next;
            next = (start / 64 + 1) * 64;
            let low = u64::MAX << (start % 64);
            let high = if end < next { u64::MAX >> (next - end) } else { u64::MAX };
            (start, low & high)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bits: &mut [u64]) -> Written {
        Written::at(bits.as_mut_ptr())
    }

    #[test]
    fn a_byte_is_missing_until_it_is_written() {
        let mut bits = [0; 4];
        let map = map(&mut bits);
        // SAFETY: all addresses are below 256.
        unsafe {
            assert_eq!(map.first_missing(5, 120), Some(5));
            map.set(5, 120);
            assert_eq!(map.first_missing(5, 120), None);
            assert_eq!(map.first_missing(4, 2), Some(4));
            assert_eq!(map.first_missing(120, 10), Some(125));
            map.set(125, 2);
            map.unset(126, 60);
            assert_eq!(map.first_missing(120, 10), Some(126));
        }
        assert_eq!(bits, [u64::MAX << 5, u64::MAX >> 2, 0, 0]);
    }

    #[test]
    fn a_copy_carries_what_is_known_byte_by_byte() {
        let (mut first, mut second) = ([u64::MAX << 40, 0xff, 0], [u64::MAX; 3]);
        let (from, to) = (map(&mut first), map(&mut second));
        // SAFETY: all addresses are below 192.
        unsafe { to.copy(33, from, 10, 130) };
        // Of the source bytes 40 to 71 are written; byte 10 goes to 33.
        let known = |byte: u32| !(33..163).contains(&byte) || (63..95).contains(&byte);
        for byte in 0..192 {
            assert_eq!(second[byte as usize / 64] >> (byte % 64) & 1 == 1, known(byte), "{byte}");
        }
    }

    #[test]
    fn without_a_map_everything_is_written() {
        // SAFETY: there is no map.
        assert_eq!(unsafe { Written::default().first_missing(1 << 40, 1 << 20) }, None);
    }
}
