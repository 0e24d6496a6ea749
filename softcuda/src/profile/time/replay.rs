//! One multiprocessor, cycle by cycle, with as many copies of a traced block on it as it has room for.
//!
//! Four sub-cores issue one instruction a cycle each, the lowest warp that can first. Units of a sub-core take an instruction
//! every so many cycles; the memory pipe, which all share, passes a wavefront a cycle; what goes to L2 queues for the
//! multiprocessor's part of the bandwidths of L2 and device memory.

use super::Subject;
use super::plan::{Cost, Kind, costs};
use super::schedule::makespan;
use super::steps::Steps;
use super::window::{Pending, REASONS, Warp, Why};
use crate::chip::{SUB_CORES, TimeFigures};
use crate::profile::memory::SECTOR_BYTES;
use crate::profile::{BlockTrace, What};
use crate::program::{Block, Kernel, Unit};

/// Wavefronts that wait for the memory pipe before it takes no more.
const MIO_QUEUE: u64 = 32;
/// Cycles of requests that wait for L2 before it takes no more.
const L2_QUEUE: f64 = 512.0;
/// Cycles between the starts of blocks on one multiprocessor.
const STAGGER: u64 = 400;
/// Events of a block that are replayed; of a longer one the first ones, and the time is scaled.
const MOST_EVENTS: usize = 24_000;

/// What the replay says of a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Cycles from the first block's start to the last one's end.
    pub cycles: f64,
    /// Blocks that were replayed.
    pub blocks: usize,
    /// Blocks on a multiprocessor at once while they were.
    pub resident: u32,
    /// Of the issue slots, the part in which an instruction was issued.
    pub issue_active: f64,
    /// Of the time of the warps, the parts spent waiting, the largest first: Nsight Compute's stall reasons, and
    /// `async_copy` for waits for `cp.async`.
    pub stalls: Vec<(&'static str, f64)>,
    /// Of the warps' time, the part in which they were issued.
    pub selected: f64,
}

/// Replays the traced blocks of a launch, and places all blocks; `None`: none was traced.
pub(super) fn replay(subject: &Subject<'_>) -> Option<Replay> {
    let figures = &subject.chip.time;
    let traces = &subject.execution.traces;
    if traces.is_empty() {
        return None;
    }
    let costs = costs(figures, subject.kernel);
    let multiprocessors = u64::from(subject.chip.multiprocessors);
    let resident = subject.blocks.div_ceil(multiprocessors).clamp(1, u64::from(subject.resident.max(1)));
    let active = subject.blocks.min(multiprocessors) as f64;
    let misses = subject.l2_misses();
    let l2_rate = figures.memory.l2_bytes_per_second / figures.clock_hz / active;
    let pipes = Pipes {
        l2_bytes_per_cycle: l2_rate.min(figures.memory.l2_port_bytes_per_clock),
        dram_bytes_per_cycle: figures.dram_bytes_per_second() / figures.clock_hz / active,
        misses,
    };
    // Blocks differ in their work, as under a causal mask; the mean of all is known.
    let (all, traced) = (mean_issues(subject), traces.iter().map(|trace| issues(subject.kernel, trace)).sum::<f64>());
    let usual = if traced > 0.0 { all * traces.len() as f64 / traced } else { 1.0 };
    let mut durations = Vec::new();
    let (mut stalls, mut issued, mut slots, mut lifetime) = ([0.0; 10], 0.0, 0.0, 0.0);
    for trace in traces {
        let run = Multiprocessor::new(subject.kernel, &costs, figures, pipes).run(trace, resident as usize);
        durations.push(run.cycles * run.scale * usual);
        run.stalls.iter().zip(&mut stalls).for_each(|(part, sum)| *sum += part);
        issued += run.issued;
        slots += run.cycles * f64::from(SUB_CORES);
        lifetime += run.lifetime;
    }
    // Which sampled block another one is like, nobody knows: all are used equally often.
    let cycles = makespan(subject.blocks, resident * multiprocessors, |block| {
        let place = (block as f64 * 0.618_033_988_749_894_9).fract() * durations.len() as f64;
        durations[place as usize]
    });
    let total: f64 = lifetime.max(1.0);
    let mut stalls: Vec<(&'static str, f64)> =
        REASONS.into_iter().zip(stalls.map(|part| part / total)).filter(|(_, part)| *part > 0.0).collect();
    stalls.sort_by(|one, other| other.1.total_cmp(&one.1));
    let selected = issued / total;
    let blocks = traces.len();
    Some(Replay { cycles, blocks, resident: resident as u32, issue_active: issued / slots.max(1.0), stalls, selected })
}

/// Issue slots of the blocks that ran, on average.
fn mean_issues(subject: &Subject<'_>) -> f64 {
    let passes = subject.execution.tally.passes.iter().map(|(warps, _)| *warps as f64);
    let entered = passes.zip(&subject.kernel.blocks).filter(|(_, block)| !block.waits);
    let slots = entered.map(|(passes, block)| passes * block_issues(subject.kernel, block));
    slots.sum::<f64>() / subject.ran.max(1) as f64
}

/// Issue slots of a traced block.
fn issues(kernel: &Kernel, trace: &BlockTrace) -> f64 {
    let slots: Vec<f64> = kernel.blocks.iter().map(|block| block_issues(kernel, block)).collect();
    let events: usize = trace.warps.iter().map(Vec::len).sum();
    let entered = trace.warps.iter().flatten().filter(|event| event.what == What::Enter);
    let kept: f64 = entered.map(|event| slots[event.at as usize]).sum();
    kept * (1.0 + trace.left_out as f64 / events.max(1) as f64)
}

/// Issue slots of a basic block.
fn block_issues(kernel: &Kernel, block: &Block) -> f64 {
    let first = block.first_site as usize;
    let sites = &kernel.sites[first..first + block.instructions as usize];
    sites.iter().flat_map(|site| &site.work).map(|count| f64::from(*count)).sum()
}

/// Bandwidths of one multiprocessor, and the part of its requests that L2 does not have.
#[derive(Clone, Copy)]
struct Pipes {
    l2_bytes_per_cycle: f64,
    dram_bytes_per_cycle: f64,
    misses: f64,
}

/// What a replay of one block found.
struct Run {
    cycles: f64,
    /// By how much it was too short.
    scale: f64,
    stalls: [f64; 10],
    issued: f64,
    /// Cycles of all warps.
    lifetime: f64,
}

struct Multiprocessor<'a> {
    kernel: &'a Kernel,
    costs: &'a [Cost],
    figures: &'a TimeFigures,
    pipes: Pipes,
    /// When each sub-core can issue, and when its units can take something.
    schedulers: [u64; SUB_CORES as usize],
    units: [[f64; 9]; SUB_CORES as usize],
    mio: u64,
    l2: f64,
    dram: f64,
    /// Misses that are due.
    missed: f64,
}

impl<'a> Multiprocessor<'a> {
    fn new(kernel: &'a Kernel, costs: &'a [Cost], figures: &'a TimeFigures, pipes: Pipes) -> Multiprocessor<'a> {
        let none = [0.0; 9];
        let units = [none; SUB_CORES as usize];
        Multiprocessor {
            kernel,
            costs,
            figures,
            pipes,
            schedulers: [0; SUB_CORES as usize],
            units,
            mio: 0,
            l2: 0.0,
            dram: 0.0,
            missed: 0.0,
        }
    }

    fn run(mut self, trace: &BlockTrace, copies: usize) -> Run {
        let all: usize = trace.warps.iter().map(Vec::len).sum();
        let part = (MOST_EVENTS as f64 / all.max(1) as f64).min(1.0);
        let mut warps = Vec::new();
        for block in 0..copies {
            for events in &trace.warps {
                let sub_core = warps.len() % SUB_CORES as usize;
                let steps = Steps::new(self.kernel, &events[..(events.len() as f64 * part) as usize]);
                warps.push(Warp::new(steps, self.kernel, block, sub_core, STAGGER * block as u64));
            }
        }
        let mut blocks = vec![Barrier { warps: trace.warps.len(), waiting: Vec::new() }; copies];
        // No warp issues before its time here; `PARKED`: it waits at a barrier, or has ended.
        let mut earliest: Vec<u64> = warps.iter().map(|warp| warp.free.0).collect();
        let (mut issued, mut last, mut lifetime) = (0u64, 0, 0u64);
        while let Some((index, &at)) = earliest.iter().enumerate().min_by_key(|(_, at)| **at)
            && at != PARKED
        {
            let warp = &mut warps[index];
            warp.fill(self.kernel, self.costs);
            if warp.ended() {
                earliest[index] = PARKED;
                let end = warp.idle_since;
                last = last.max(end);
                lifetime += end - STAGGER * warp.block as u64;
                let block = warp.block;
                blocks[block].warps -= 1;
                self.release(&mut blocks[block], &mut warps, &mut earliest, end);
                continue;
            }
            let sub_core = warp.sub_core;
            let free = |cost: &Cost, pending: &Pending| self.free(sub_core, cost, pending);
            let Some((place, at, ready, why)) = warp.candidate(self.costs, free) else {
                // An instruction whose producer is not looked at: cannot be, and must not hang.
                earliest[index] = PARKED;
                continue;
            };
            let at = at.max(self.schedulers[sub_core]);
            if at > earliest[index] {
                earliest[index] = at;
                continue;
            }
            let pending = &warp.window[place];
            let cost = self.costs[pending.site as usize];
            let unit_free = self.free(sub_core, &cost, pending);
            let far = pending.sectors > 0;
            let (end, result) = self.take(sub_core, &cost, pending, at);
            warp.account(at, (ready, why), unit_free, cost.unit, far);
            warp.issue(place, end, result);
            let slots = u64::from(cost.issues);
            self.schedulers[sub_core] = at + slots;
            issued += slots;
            warp.idle_since = at + slots;
            warp.free = (at + slots, Why::Wait);
            earliest[index] = at + slots;
            match cost.kind {
                Kind::Copy => warp.copied(end),
                Kind::Commit => warp.commit(),
                Kind::Branch => warp.free = (at + self.figures.latency.branch as u64, Why::BranchResolving),
                Kind::Barrier => {
                    earliest[index] = PARKED;
                    let block = warp.block;
                    blocks[block].waiting.push(index);
                    self.release(&mut blocks[block], &mut warps, &mut earliest, at);
                }
                _ => {}
            }
        }
        let mut stalls = [0.0; 10];
        for warp in &warps {
            warp.stalls.iter().zip(&mut stalls).for_each(|(part, sum)| *sum += *part as f64);
        }
        let scale = (all as f64 + trace.left_out as f64) / (all as f64 * part).max(1.0);
        Run { cycles: last as f64, scale, stalls, issued: issued as f64, lifetime: lifetime as f64 }
    }

    /// Lets the warps of a block go on if all that have not ended wait.
    fn release(&self, block: &mut Barrier, warps: &mut [Warp<'_>], earliest: &mut [u64], at: u64) {
        if block.waiting.is_empty() || block.waiting.len() < block.warps {
            return;
        }
        for index in block.waiting.drain(..) {
            let go = at + self.figures.latency.barrier as u64;
            warps[index].free = (go, Why::Barrier);
            earliest[index] = go;
        }
    }

    /// When the unit of an instruction can take it.
    fn free(&self, sub_core: usize, cost: &Cost, pending: &Pending) -> u64 {
        let unit = self.units[sub_core][cost.unit as usize] as u64;
        if cost.unit != Unit::Lsu {
            return unit;
        }
        let far = if pending.sectors > 0 { (self.l2 - L2_QUEUE).max(0.0) as u64 } else { 0 };
        unit.max(self.mio.saturating_sub(MIO_QUEUE)).max(far)
    }

    /// Occupies units from `at` on; when the result is there, and what waiting for it is called.
    fn take(&mut self, sub_core: usize, cost: &Cost, pending: &Pending, at: u64) -> (u64, Why) {
        for (free, busy) in self.units[sub_core].iter_mut().zip(cost.busy) {
            if busy > 0.0 {
                *free = free.max(at as f64) + f64::from(busy);
            }
        }
        let latency = &self.figures.latency;
        let short = match cost.unit {
            Unit::Xu | Unit::Lsu => Why::ShortScoreboard,
            _ => Why::Wait,
        };
        if cost.unit != Unit::Lsu {
            return (at + cost.latency as u64, short);
        }
        // A sub-core hands over an instruction every other cycle.
        self.units[sub_core][Unit::Lsu as usize] = at as f64 + 2.0;
        let pieces = u64::from((pending.wavefronts + pending.sectors.div_ceil(4)).max(1));
        let start = self.mio.max(at);
        self.mio = start + pieces;
        if pending.sectors == 0 {
            let accessed = pending.wavefronts > 0;
            let takes = if accessed { latency.shared } else { f64::from(cost.latency) };
            return (start + pieces - 1 + takes as u64, short);
        }
        let bytes = SECTOR_BYTES as f64 * f64::from(pending.sectors);
        self.l2 = self.l2.max(start as f64) + bytes / self.pipes.l2_bytes_per_cycle;
        self.missed += self.pipes.misses;
        // Stores are done when they are handed over; misses come evenly among the requests.
        let missed = self.missed >= 1.0;
        let mut end = self.l2 + latency.l2;
        self.dram = self.dram.max(start as f64) + self.pipes.misses * bytes / self.pipes.dram_bytes_per_cycle;
        if missed {
            self.missed -= 1.0;
            end = self.l2.max(self.dram) + latency.dram;
        }
        (end as u64, Why::LongScoreboard)
    }
}

/// Not before something else happens.
const PARKED: u64 = u64::MAX;

/// The warps of a block that have not ended, and those that wait at a barrier.
#[derive(Clone)]
struct Barrier {
    warps: usize,
    waiting: Vec<usize>,
}
