//! Stamps: who accessed some bytes, by which op, and when.

/// Marks an access. Clocks count the synchronisation of the whole launch; 0 is no access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) clock: u32,
    pub(crate) block: u32,
    /// The op, and in the lowest five bits the warp.
    pub(crate) place: u32,
    /// Lanes of the warp that did the same.
    pub(crate) lanes: u32,
}

impl Stamp {
    /// Ops beyond 2^27 share a number: a report would name a wrong line.
    pub(crate) fn new(clock: u32, block: u32, warp: u32, op: u32, lanes: u32) -> Stamp {
        Stamp { clock, block, place: op << 5 | warp, lanes }
    }

    pub(crate) fn warp(&self) -> u32 {
        self.place & 31
    }

    pub(crate) fn op(&self) -> u32 {
        self.place >> 5
    }

    /// The same by one lane.
    pub(crate) fn by(self, lane: usize) -> Stamp {
        Stamp { lanes: 1 << lane, ..self }
    }

    /// Whether both are by one warp.
    #[inline(always)]
    pub(crate) fn same_warp(&self, other: &Stamp) -> bool {
        self.block == other.block && (self.place ^ other.place) & 31 == 0
    }
}
