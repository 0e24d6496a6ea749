//! Blocks on multiprocessors: each place takes the next block when its last one has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Blocks that are placed one by one; more are spread evenly.
const MOST_BLOCKS: u64 = 1 << 20;

/// Cycles until the last of `blocks` blocks ends on so many places, block `i` taking `durations(i)`.
pub(super) fn makespan(blocks: u64, places: u64, durations: impl Fn(u64) -> f64) -> f64 {
    if blocks == 0 {
        return 0.0;
    }
    let placed = blocks.min(MOST_BLOCKS);
    let mut ends: BinaryHeap<Reverse<u64>> = (0..places.min(placed)).map(|_| Reverse(0)).collect();
    let mut last = 0;
    for block in 0..placed {
        let Reverse(start) = ends.pop().unwrap_or(Reverse(0));
        let end = start + durations(block).max(0.0) as u64;
        last = last.max(end);
        ends.push(Reverse(end));
    }
    last as f64 * (blocks as f64 / placed as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_wave_takes_as_long_as_a_full_one() {
        assert_eq!(makespan(216, 216, |_| 100.0), 100.0);
        assert_eq!(makespan(217, 216, |_| 100.0), 200.0);
        assert_eq!(makespan(0, 216, |_| 100.0), 0.0);
    }

    #[test]
    fn short_blocks_make_room_for_others() {
        // Two places: 30, and 10 + 10 + 10.
        assert_eq!(makespan(4, 2, |block| if block == 0 { 30.0 } else { 10.0 }), 30.0);
    }
}
