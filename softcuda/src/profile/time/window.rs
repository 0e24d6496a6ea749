//! A warp of the replay: the instructions that may be issued next, and what they wait for.
//!
//! Machine code is issued in order, but in an order that ptxas has chosen, so that results are seldom waited for. Here PTX
//! is replayed, whose order is the compiler's before that step; a small look-ahead stands for the choice: of the next
//! instructions of a basic block the first one that can is issued. Stores and loads keep their order, and nothing moves across a barrier, a
//! wait or a branch.

use super::plan::{Cost, Kind};
use super::steps::{Step, Steps};
use crate::program::{Kernel, Unit};
use std::collections::VecDeque;

/// Instructions that are looked at.
pub(super) const LOOK_AHEAD: usize = 48;
/// Instructions whose end is remembered; older ones have ended.
const REMEMBERED: usize = 4096;
/// Not issued yet.
const PENDING: u64 = u64::MAX;
/// Operands of an instruction whose producer is looked at, too.
const MOST_DEPENDENCIES: usize = 14;

/// What a warp waits for, under the names of Nsight Compute's stall reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A result of fixed latency.
    Wait,
    /// Shared memory, shuffles, xu.
    ShortScoreboard,
    /// L2 or device memory.
    LongScoreboard,
    /// A group of asynchronous copies.
    AsyncCopy,
    Barrier,
    BranchResolving,
    /// Its unit.
    MathPipeThrottle,
    /// The memory pipe.
    MioThrottle,
    /// The way to L2.
    LgThrottle,
    /// Other warps of the sub-core are issued.
    NotSelected,
}

/// Names of the reasons, in the order of [`Why`].
pub(super) const REASONS: [&str; 10] = [
    "wait",
    "short_scoreboard",
    "long_scoreboard",
    "async_copy",
    "barrier",
    "branch_resolving",
    "math_pipe_throttle",
    "mio_throttle",
    "lg_throttle",
    "not_selected",
];

/// An instruction that may be issued soon.
pub(super) struct Pending {
    pub(super) site: u32,
    pub(super) wavefronts: u32,
    pub(super) sectors: u32,
    sequence: u32,
    /// When the operands are there whose producers have been issued, and what the last one of them is from.
    ready: u64,
    why: Why,
    /// Producers that have not been issued.
    producers: [u32; MOST_DEPENDENCIES],
    count: usize,
}

/// A warp of the multiprocessor.
pub(super) struct Warp<'a> {
    steps: Steps<'a>,
    pub(super) window: VecDeque<Pending>,
    /// The instruction that writes each register last.
    writers: Vec<u32>,
    /// When recent instructions end, and what they are.
    ends: Vec<(u64, Why)>,
    next: u32,
    /// The next instructions are in another basic block: they come when the window is empty.
    block_ended: bool,
    trace_ended: bool,
    /// It issues nothing before, and why.
    pub(super) free: (u64, Why),
    /// When it last issued.
    pub(super) idle_since: u64,
    /// Copies since the last commit, and committed groups: when they end.
    open_copies: u64,
    groups: VecDeque<u64>,
    /// Cycles by reason.
    pub(super) stalls: [u64; 10],
    pub(super) block: usize,
    pub(super) sub_core: usize,
}

impl<'a> Warp<'a> {
    pub(super) fn new(steps: Steps<'a>, kernel: &Kernel, block: usize, sub_core: usize, start: u64) -> Warp<'a> {
        let registers = kernel.sites.iter().flat_map(|site| site.writes.iter().chain(&site.reads)).max();
        Warp {
            steps,
            window: VecDeque::with_capacity(LOOK_AHEAD),
            writers: vec![0; registers.map_or(0, |last| *last as usize + 1)],
            ends: vec![(0, Why::Wait); REMEMBERED],
            next: 1,
            block_ended: false,
            trace_ended: false,
            free: (start, Why::Wait),
            idle_since: start,
            open_copies: 0,
            groups: VecDeque::new(),
            stalls: [0; 10],
            block,
            sub_core,
        }
    }

    /// Whether nothing is left.
    pub(super) fn ended(&self) -> bool {
        self.trace_ended && self.window.is_empty()
    }

    fn end_of(&self, sequence: u32) -> (u64, Why) {
        // Who was looked at so long ago has long been issued.
        let old = sequence == 0 || self.next - sequence >= REMEMBERED as u32;
        if old { (0, Why::Wait) } else { self.ends[sequence as usize % REMEMBERED] }
    }

    /// Looks ahead as far as it may.
    pub(super) fn fill(&mut self, kernel: &Kernel, costs: &[Cost]) {
        while self.window.len() < LOOK_AHEAD {
            if self.block_ended && !self.window.is_empty() {
                return;
            }
            self.block_ended = false;
            match self.steps.next() {
                None => {
                    self.trace_ended = true;
                    return;
                }
                Some(Step::Block) => self.block_ended = true,
                Some(Step::Instruction { site, wavefronts, sectors }) => {
                    let cost = &costs[site as usize];
                    if cost.issues == 0 {
                        self.rename(kernel, site);
                        continue;
                    }
                    self.look_at(kernel, site, (wavefronts, sectors));
                    if !matches!(cost.kind, Kind::Arithmetic | Kind::Load | Kind::Store | Kind::Copy | Kind::Commit) {
                        self.block_ended = true;
                    }
                }
            }
        }
    }

    /// An instruction that costs nothing: its results are there when its last operand is.
    fn rename(&mut self, kernel: &Kernel, site: u32) {
        let site = &kernel.sites[site as usize];
        let reads = site.reads.iter().map(|&register| self.writers[register as usize]);
        let last = reads.max_by_key(|&writer| self.end_of(writer).0).unwrap_or(0);
        site.writes.iter().for_each(|&register| self.writers[register as usize] = last);
    }

    fn look_at(&mut self, kernel: &Kernel, site: u32, (wavefronts, sectors): (u32, u32)) {
        let sequence = self.next;
        let registers = &kernel.sites[site as usize];
        let mut pending = Pending {
            site,
            wavefronts,
            sectors,
            sequence,
            ready: 0,
            why: Why::Wait,
            producers: [0; MOST_DEPENDENCIES],
            count: 0,
        };
        for &register in &registers.reads {
            let writer = self.writers[register as usize];
            let (end, why) = self.end_of(writer);
            if end != PENDING {
                if end > pending.ready {
                    (pending.ready, pending.why) = (end, why);
                }
            } else if pending.count < MOST_DEPENDENCIES && !pending.producers[..pending.count].contains(&writer) {
                pending.producers[pending.count] = writer;
                pending.count += 1;
            }
        }
        self.next += 1;
        self.ends[sequence as usize % REMEMBERED] = (PENDING, Why::Wait);
        for &register in &registers.writes {
            self.writers[register as usize] = sequence;
        }
        self.window.push_back(pending);
    }

    /// The first instruction that can be issued earliest: its place in the window, when, when its operands are there, and why
    /// they were waited for. `free(unit, pending)` says when its unit takes it.
    pub(super) fn candidate(
        &self,
        costs: &[Cost],
        free: impl Fn(&Cost, &Pending) -> u64,
    ) -> Option<(usize, u64, u64, Why)> {
        let mut best: Option<(usize, u64, u64, Why)> = None;
        let (mut load_waits, mut store_waits) = (false, false);
        for (place, pending) in self.window.iter().enumerate() {
            let cost = &costs[pending.site as usize];
            let in_order = match cost.kind {
                Kind::Arithmetic => true,
                Kind::Load => !store_waits,
                Kind::Store | Kind::Copy | Kind::Commit => !store_waits && !load_waits,
                _ => place == 0,
            };
            load_waits |= cost.kind == Kind::Load;
            store_waits |= matches!(cost.kind, Kind::Store | Kind::Copy | Kind::Commit);
            if !in_order || pending.count > 0 {
                continue;
            }
            let (mut ready, mut why) = (pending.ready, pending.why);
            if let Kind::Wait(left) = cost.kind {
                let end = self.copies_end(left);
                if end > ready {
                    (ready, why) = (end, Why::AsyncCopy);
                }
            }
            if self.free.0 > ready {
                (ready, why) = self.free;
            }
            let at = ready.max(free(cost, pending));
            if best.as_ref().is_none_or(|(_, earliest, ..)| at < *earliest) {
                best = Some((place, at, ready, why));
            }
            // Nothing can be earlier.
            if at == self.free.0 {
                break;
            }
        }
        best
    }

    /// When all but `left` groups of copies have ended.
    fn copies_end(&self, left: u32) -> u64 {
        let open = if left == u32::MAX { self.open_copies } else { 0 };
        let done = self.groups.len().saturating_sub(if left == u32::MAX { 0 } else { left as usize });
        self.groups.iter().take(done).copied().fold(open, u64::max)
    }

    /// Issues an instruction of the window, whose results are there at `end`.
    pub(super) fn issue(&mut self, place: usize, end: u64, why: Why) -> Option<Pending> {
        let issued = self.window.remove(place)?;
        self.ends[issued.sequence as usize % REMEMBERED] = (end, why);
        for pending in &mut self.window {
            let producers = &mut pending.producers[..pending.count];
            if let Some(found) = producers.iter().position(|producer| *producer == issued.sequence) {
                producers.swap(found, pending.count - 1);
                pending.count -= 1;
                if end > pending.ready {
                    (pending.ready, pending.why) = (end, why);
                }
            }
        }
        Some(issued)
    }

    /// A copy that ends then.
    pub(super) fn copied(&mut self, end: u64) {
        self.open_copies = self.open_copies.max(end);
    }

    /// The copies so far are a group.
    pub(super) fn commit(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open_copies));
        // Groups end in order: waits ask for the newest few.
        if self.groups.len() > 64 {
            self.groups.pop_front();
        }
    }

    /// Notes what the cycles since it last issued went to: until `ready` the operands, then the unit, then others' turns.
    pub(super) fn account(&mut self, at: u64, (ready, why): (u64, Why), unit_free: u64, unit: Unit, far: bool) {
        let from = self.idle_since;
        let operands = ready.min(at).saturating_sub(from);
        let then = from.max(ready);
        let throttled = unit_free.min(at).saturating_sub(then);
        let rest = at.saturating_sub(then.max(unit_free.min(at)));
        self.stalls[why as usize] += operands;
        let throttle = match unit {
            Unit::Lsu if far => Why::LgThrottle,
            Unit::Lsu => Why::MioThrottle,
            _ => Why::MathPipeThrottle,
        };
        self.stalls[throttle as usize] += throttled;
        self.stalls[Why::NotSelected as usize] += rest;
    }
}
