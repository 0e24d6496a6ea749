//! The shape of a warp's access: what most accesses look like, found once and used for the bounds check, the copy and the
//! counters alike.

use super::registers::Simd;
use super::value::Lanes;

/// How the sixteen lanes of half a warp lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// One after the other.
    Contiguous,
    /// All at one address.
    Uniform,
    /// Anyhow, or not all lanes are active.
    Scattered,
}

/// Offsets of the lanes within a space or an allocation, and the shape of both halves.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    /// Offset of each lane; inactive lanes hold nothing of use.
    pub(super) offsets: &'a [u32; 32],
    /// Lanes 0 to 15 and 16 to 31.
    pub(super) runs: [Run; 2],
    /// Bytes a lane.
    pub(super) bytes: u32,
}

impl<'a> Shape<'a> {
    /// The shape of an access to a space of `size` bytes, and the active lanes that do not lie within it or are not a
    /// multiple of their own size.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn new<S: Simd>(offsets: &'a Lanes, mask: u32, bytes: u32, size: u32) -> (Shape<'a>, u32) {
        // SAFETY: the caller's promise.
        let classes = unsafe { S::classify(offsets, bytes, size.saturating_sub(bytes)) };
        let mut runs = [Run::Scattered; 2];
        for (half, run) in runs.iter_mut().enumerate() {
            let part = 0xffffu32 << (16 * half);
            if mask & part == part {
                if classes.stepped & part == 0 {
                    *run = Run::Contiguous;
                } else if classes.apart & part == 0 {
                    *run = Run::Uniform;
                }
            }
        }
        let wrong = if size < bytes { mask } else { classes.wrong & mask };
        (Shape { offsets: &offsets.0, runs, bytes }, wrong)
    }

    /// An access of single lanes.
    pub(super) fn scattered(offsets: &'a [u32; 32], bytes: u32) -> Shape<'a> {
        Shape { offsets, runs: [Run::Scattered; 2], bytes }
    }

    /// Whether neither half is scattered.
    #[inline(always)]
    pub(super) fn regular(&self) -> bool {
        self.runs[0] != Run::Scattered && self.runs[1] != Run::Scattered
    }

    /// First byte and length in bytes of a half that is not scattered.
    #[inline(always)]
    pub(super) fn range(&self, half: usize) -> (u32, u32) {
        let count = if self.runs[half] == Run::Contiguous { 16 } else { 1 };
        (self.offsets[16 * half], count * self.bytes)
    }
}

/// How one 32-bit word a lane lies, all lanes active, found from the addresses alone.
#[derive(Clone, Copy)]
pub(super) struct Halves {
    /// Lanes 0 to 15 and 16 to 31.
    pub(super) runs: [Run; 2],
    /// First byte of each half.
    pub(super) first: [u64; 2],
}

impl Halves {
    /// Bytes that a half touches.
    #[inline(always)]
    pub(super) fn length(&self, half: usize) -> u64 {
        if self.runs[half] == Run::Contiguous { 64 } else { 4 }
    }

    /// Whether any of the words is marked: one mark a word of the space.
    #[inline(always)]
    pub(super) fn marked(&self, marks: &[u8]) -> bool {
        (0..2).any(|half| {
            let first = self.first[half] as usize / 4;
            marks[first..first + self.length(half) as usize / 4].iter().fold(0, |any, &mark| any | mark) != 0
        })
    }
}
