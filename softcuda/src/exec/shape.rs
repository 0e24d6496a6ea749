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
pub(super) struct Shape {
    /// Offset of each lane; inactive lanes hold nothing of use.
    pub(super) offsets: [u32; 32],
    /// Lanes 0 to 15 and 16 to 31.
    pub(super) runs: [Run; 2],
    /// Bytes a lane.
    pub(super) bytes: u32,
}

impl Shape {
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn new<S: Simd>(offsets: [u32; 32], mask: u32, bytes: u32) -> Shape {
        let (mut apart, mut stepped) = (Lanes([0; 32]), Lanes([0; 32]));
        for i in 0..32 {
            let first = offsets[i & 16];
            apart.0[i] = offsets[i] ^ first;
            stepped.0[i] = offsets[i] ^ first.wrapping_add((i & 15) as u32 * bytes);
        }
        // SAFETY: the caller's promise.
        let (apart, stepped) = unsafe { (S::nonzero(&apart), S::nonzero(&stepped)) };
        let runs = [0, 16].map(|first| {
            match (
                mask >> first & 0xffff == 0xffff,
                stepped >> first & 0xffff == 0,
                apart >> first & 0xffff == 0,
            ) {
                (true, true, _) => Run::Contiguous,
                (true, _, true) => Run::Uniform,
                _ => Run::Scattered,
            }
        });
        Shape {
            offsets,
            runs,
            bytes,
        }
    }

    /// An access of single lanes.
    pub(super) fn scattered(offsets: [u32; 32], bytes: u32) -> Shape {
        Shape {
            offsets,
            runs: [Run::Scattered; 2],
            bytes,
        }
    }

    /// Active lanes that do not lie within `size` bytes or are not a multiple of their own size.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn outside<S: Simd>(&self, mask: u32, size: u32) -> u32 {
        if size < self.bytes {
            return mask;
        }
        let limit = size - self.bytes;
        let mut wrong = Lanes([0; 32]);
        for i in 0..32 {
            wrong.0[i] = u32::from(self.offsets[i] > limit) | self.offsets[i] & (self.bytes - 1);
        }
        // SAFETY: the caller's promise.
        mask & unsafe { S::nonzero(&wrong) }
    }

    /// Whether neither half is scattered.
    #[inline(always)]
    pub(super) fn regular(&self) -> bool {
        self.runs[0] != Run::Scattered && self.runs[1] != Run::Scattered
    }

    /// First byte and length in bytes of a half that is not scattered.
    #[inline(always)]
    pub(super) fn range(&self, half: usize) -> (u32, u32) {
        let count = if self.runs[half] == Run::Contiguous {
            16
        } else {
            1
        };
        (self.offsets[16 * half], count * self.bytes)
    }
}
