//! What a launch checks beyond bounds: reads of bytes never written, and races.
//!
//! Pure state and rules; `exec/` tells them what threads do. A race is two accesses to a byte by different threads, at least
//! one a write, that no chain of synchronisation orders, unless both are strong (relaxed, volatile, atomic) with scopes that
//! include both threads. The order is that of the PTX memory model, followed with clocks as FastTrack does (Flanagan and
//! Freund, PLDI 2009): an access leaves a stamp, a thread knows up to which stamp others' accesses come before its next one.

pub(crate) mod clock;
mod knowledge;
mod notes;
pub(crate) mod shadow;
pub(crate) mod stamp;
pub(crate) mod variables;

pub use notes::{BenignRace, benign_races, clear_benign_races};
pub(crate) use notes::{Notes, keep};
