//! Modelled time: what a launch would take on the emulated chip, from what it did and the figures of the chip.
//!
//! Two ways. The **bounds** are the least that each part of the chip needs for its share: the busiest multiprocessor's issue
//! slots, arithmetic units, memory pipe and tensor cores, and the bandwidths of L2 and device memory. The largest is a time
//! that no kernel that executes these instructions undercuts. The **replay** runs the steps of some blocks through a model of one
//! multiprocessor, warp by warp, where instructions wait for results, units, memory and barriers; it says what the kernel waits
//! for. Neither is a measurement.

mod bounds;
mod plan;
mod replay;
mod schedule;
mod steps;
mod window;

use crate::chip::Chip;
use crate::exec::Execution;
use crate::program::Kernel;
pub use replay::Replay;

/// A launch, as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The chip.
    pub chip: &'a Chip,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// What it did, with the steps of some blocks if it is to be replayed.
    pub execution: &'a Execution,
    /// Blocks of the grid, or of several like it.
    pub blocks: u64,
    /// Of those, the ones that ran; fewer if it was a sample, or one grid of several.
    pub ran: u64,
    /// Warps of a block.
    pub warps_per_block: u32,
    /// Blocks that a multiprocessor has room for.
    pub resident: u32,
}

impl Subject<'_> {
    /// Sectors that L2 is asked for, but for those of loops that wait for other blocks.
    fn l2_sectors(&self) -> u64 {
        let tally = &self.execution.tally;
        let waiting = self.kernel.blocks.iter().filter(|block| block.waits).flat_map(|block| {
            let first = block.first_site as usize;
            &self.kernel.sites[first..first + block.instructions as usize]
        });
        let polled = waiting.flat_map(|site| site.ops.clone()).map(|op| tally.traffic[op as usize].global.sectors);
        self.execution.counters.l2_sectors().saturating_sub(polled.sum())
    }

    /// Of those, the part that device memory is read for; none if it was not followed.
    fn l2_misses(&self) -> f64 {
        let read = self.execution.counters.memory.map_or(0, |memory| memory.read_sectors);
        (read as f64 / self.l2_sectors().max(1) as f64).clamp(0.0, 1.0)
    }
}

/// What one part of the chip needs at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// `issue`, `fma`, `imad`, `half`, `alu`, `xu`, `fp64`, `lsu`, `tensor`, `l2` or `dram`.
    pub part: &'static str,
    /// Its time, at full use.
    pub seconds: f64,
}

/// The modelled time of a launch.
#[derive(Clone, Debug)]
pub struct LaunchTime {
    /// In all, launch overhead included.
    pub seconds: f64,
    /// Of that, what passes between launches that do nothing.
    pub launch_seconds: f64,
    /// What each part needs at least, the largest first.
    pub bounds: Vec<Bound>,
    /// Machine instructions of all warps by unit, in the order of [`Unit::ALL`](crate::program::Unit::ALL): what ptxas
    /// usually makes of the PTX that ran, an estimate.
    pub machine_instructions: [f64; 9],
    /// Blocks on one multiprocessor at once.
    pub resident_blocks: u32,
    /// How often the grid fills the device: blocks over the blocks that are on it at once.
    pub waves: f64,
    /// The replay that the time is from; `None`: it is from the bounds alone.
    pub replay: Option<Replay>,
    /// Power and price.
    cost: crate::chip::Cost,
}

impl LaunchTime {
    /// What `part` needs, over the whole time.
    pub fn share(&self, part: &str) -> f64 {
        let found = self.bounds.iter().find(|bound| bound.part == part);
        found.map_or(0.0, |bound| bound.seconds / self.seconds)
    }

    /// Energy: the chip's power at rest, and with the use of tensor cores or device memory, whichever is larger, a part of the
    /// rest of its limit.
    pub fn joules(&self) -> f64 {
        let used = self.share("tensor").max(self.share("dram")).min(1.0);
        self.seconds * (self.cost.idle_watts + (self.cost.tdp_watts - self.cost.idle_watts) * used)
    }

    /// Rent, in US dollars.
    pub fn dollars(&self) -> f64 {
        self.seconds * self.cost.dollars_per_hour / 3600.0
    }

    /// `tensor 83 %, issue 61 %, dram 12 %`: the parts with the largest shares of the time.
    pub fn describe(&self, parts: usize) -> String {
        let share = |bound: &Bound| format!("{} {:.0} %", bound.part, 100.0 * bound.seconds / self.seconds);
        self.bounds.iter().take(parts).map(share).collect::<Vec<_>>().join(", ")
    }
}

/// The model's time for a launch.
pub fn model(subject: &Subject<'_>) -> LaunchTime {
    let figures = &subject.chip.time;
    let (mut bounds, machine_instructions) = bounds::bounds(subject);
    bounds.retain(|bound| bound.seconds > 0.0);
    bounds.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let least = bounds.first().map_or(0.0, |bound| bound.seconds);
    let replay = replay::replay(subject);
    // What all multiprocessors share has no place in a replay of one.
    let work = replay.as_ref().map_or(least, |replay| {
        let shared = bounds.iter().filter(|bound| matches!(bound.part, "l2" | "dram")).map(|bound| bound.seconds);
        shared.fold(replay.cycles / figures.clock_hz, f64::max)
    });
    let at_once = u64::from(subject.resident.max(1)) * u64::from(subject.chip.multiprocessors);
    LaunchTime {
        seconds: figures.launch_seconds + work,
        launch_seconds: figures.launch_seconds,
        bounds,
        machine_instructions,
        resident_blocks: subject.resident,
        waves: subject.blocks as f64 / at_once as f64,
        replay,
        cost: figures.cost,
    }
}

/// Blocks to trace of a grid: as many as `count`, in an order in which any stretch covers the grid evenly, whatever its
/// period (steps of the golden ratio). Ascending.
pub fn sample(blocks: u64, count: u64) -> Vec<u64> {
    if blocks <= count {
        return (0..blocks).collect();
    }
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    // On both sides of the middle alike: where the work of blocks grows with their number, as under a causal mask, the
    // sample's mean is that of all.
    let middle = (count - 1) as f64 / 2.0;
    let mut chosen: Vec<u64> = (0..count)
        .map(|index| ((0.5 + GOLDEN * (index as f64 - middle)).rem_euclid(1.0) * blocks as f64) as u64)
        .map(|block| block.min(blocks - 1))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
