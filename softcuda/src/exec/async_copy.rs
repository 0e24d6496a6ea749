//! `cp.async`: copies in flight. They take effect as late as legal, at the wait that covers them.
//!
//! Until then the destination is poisoned: reading or writing it is a fault, and so is overwriting the source.

use super::engine::Span;

/// One warp-wide `cp.async`.
#[derive(Clone, Default)]
pub(crate) struct Copy {
    /// Lanes that take part.
    pub(crate) mask: u32,
    /// Group of each lane: how many commits the lane had made before.
    pub(crate) group: [u32; 32],
    /// Destination in the block's shared memory.
    pub(crate) destination: [u32; 32],
    /// Source in device memory.
    pub(crate) source: [u64; 32],
    /// Bytes read from the source; the rest is filled with zeros.
    pub(crate) source_bytes: [u32; 32],
    /// Bytes written.
    pub(crate) bytes: u32,
    /// The allocation that holds the sources, or most of them.
    pub(crate) span: Span,
    /// The op that issued it.
    pub(crate) op: u32,
    /// Its data have moved when it was issued.
    pub(crate) early: bool,
}

/// Copies of one warp that have been issued and not yet waited for.
#[derive(Default)]
pub(crate) struct AsyncCopies {
    /// In order of issue.
    #[expect(clippy::vec_box, reason = "a copy is large: boxes are kept and move in their place")]
    pub(crate) pending: Vec<Box<Copy>>,
    /// To be used again.
    #[expect(clippy::vec_box, reason = "see above")]
    spare: Vec<Box<Copy>>,
    /// Commits made so far by each lane.
    pub(crate) committed: [u32; 32],
}

impl AsyncCopies {
    pub(crate) fn clear(&mut self) {
        self.spare.append(&mut self.pending);
        self.committed = [0; 32];
    }

    /// Adds a copy, filled in by `fill`, which gets the group of each lane.
    pub(crate) fn issue(&mut self, fill: impl FnOnce(&mut Copy, [u32; 32])) {
        let mut copy = self.spare.pop().unwrap_or_default();
        fill(&mut copy, self.committed);
        self.pending.push(copy);
    }

    /// Keeps those of the pending copies that still have lanes.
    #[expect(clippy::vec_box, reason = "see above")]
    pub(crate) fn keep(&mut self, mut pending: Vec<Box<Copy>>) {
        self.spare.extend(pending.extract_if(.., |copy| copy.mask == 0));
        self.pending = pending;
    }

    /// `cp.async.commit_group`.
    pub(crate) fn commit(&mut self, mask: u32) {
        for (lane, count) in self.committed.iter_mut().enumerate() {
            *count += mask >> lane & 1;
        }
    }

    /// Lanes of `copy` that a wait of `mask` completes when at most `allowed` groups may stay in flight.
    pub(crate) fn covered(&self, copy: &Copy, mask: u32, allowed: u32) -> u32 {
        let mut lanes = 0;
        for lane in 0..32 {
            // Group g is complete when at most `allowed` groups were committed after it.
            let done = copy.group[lane] < self.committed[lane].saturating_sub(allowed);
            lanes |= u32::from(done) << lane;
        }
        lanes & copy.mask & mask
    }

    /// Whether a store of `bytes` at `address` overwrites the source of a copy in flight; the op that issued it.
    pub(crate) fn source_at(&self, address: u64, bytes: u64) -> Option<u32> {
        self.pending.iter().find_map(|copy| {
            let hit = (0..32).any(|lane| {
                let (start, length) = (copy.source[lane], u64::from(copy.source_bytes[lane]));
                copy.mask >> lane & 1 == 1 && address < start + length && start < address + bytes
            });
            hit.then_some(copy.op)
        })
    }
}
