//! Counters.

/// Deterministic counters of a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions.
    pub inst_executed: u64,
}
