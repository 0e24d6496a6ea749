//! Side tables of what a warp or a block does together.

/// Shuffle modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Vote modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

/// Reductions of `redux.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum ReduxKind {
    Add,
    MinS,
    MinU,
    MaxS,
    MaxU,
    And,
    Or,
    Xor,
}

/// A `.sync` warp operation: the lanes of `mask` take part together. Side table.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are slots named as PTX names its operands; p and source are predicates")]
pub enum WarpOperation {
    /// `shfl.sync`: d slot, p predicate, a, b, c slots.
    Shuffle { mode: ShuffleMode, d: u16, p: Option<u16>, a: u16, b: u16, c: u16, mask: u16 },
    /// `vote.sync`: d is a predicate, or a slot for ballot.
    Vote { mode: VoteMode, d: u16, source: u16, negated: bool, mask: u16 },
    /// `match.sync`.
    Match { all: bool, wide: bool, d: u16, p: Option<u16>, a: u16, mask: u16 },
    /// `redux.sync`.
    Redux { kind: ReduxKind, d: u16, a: u16, mask: u16 },
    /// `bar.warp.sync`.
    Sync { mask: u16 },
}

impl WarpOperation {
    /// Slot of the member mask.
    pub fn mask(&self) -> u16 {
        match *self {
            Self::Shuffle { mask, .. }
            | Self::Vote { mask, .. }
            | Self::Match { mask, .. }
            | Self::Redux { mask, .. }
            | Self::Sync { mask } => mask,
        }
    }
}

/// What a thread does at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    /// Waits.
    Sync,
    /// Is counted and goes on.
    Arrive,
    /// Waits and counts true predicates.
    RedPopc,
    /// Waits: all predicates true.
    RedAnd,
    /// Waits: any predicate true.
    RedOr,
}

/// `bar` and `barrier`. Side table.
#[derive(Clone, Debug)]
pub struct BlockBarrier {
    /// What the threads do.
    pub kind: BarrierKind,
    /// All threads of a warp must meet it together.
    pub aligned: bool,
    /// Slot of the barrier number.
    pub id: u16,
    /// Slot of the thread count; all threads of the block where absent.
    pub count: Option<u16>,
    /// Destination of a reduction: slot (popc) or predicate.
    pub d: u16,
    /// Predicate of a reduction and whether it is negated.
    pub source: (u16, bool),
}
