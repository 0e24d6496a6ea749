//! A block: its warps take turns, meet at barriers, and end; or the block is stuck, and says where.

use super::engine::{Engine, QUANTUM, Site};
use super::level::Interpreter;
use super::run::Stop;
use super::schedule::Random;
use super::warp::{NONE, PathState, Warp};
use crate::fault::{Fault, FaultKind};
use crate::program::op::{BarrierKind, BlockBarrier};

/// Warp instructions of whole turns that a path may use up before the other paths of its warp get theirs.
const BEFORE_ROTATION: i64 = 8 * QUANTUM;
/// Warps that run in lock-step at most: their registers should fit the first cache.
pub(super) const TOGETHER: usize = 8;
/// Rounds over the warps of a block before another resident block gets its turn.
const ROUNDS: u32 = 4;

/// How a block's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockStop {
    /// All threads have ended.
    Finished,
    /// It wants another turn.
    Turn,
}

/// One of the sixteen barriers.
#[derive(Clone, Default)]
struct Barrier {
    /// Threads counted so far.
    arrived: u32,
    /// Threads that release it; `None`: all threads that have not ended.
    expected: Option<u32>,
    /// Whether they bring a value.
    reduces: bool,
    /// (warp, path) of the waiting paths.
    waiting: Vec<(usize, usize)>,
    /// Reductions over the arrived threads.
    count: u32,
    all: bool,
    any: bool,
}

/// A resident block.
pub(crate) struct Block {
    pub(crate) site: Site,
    pub(super) warps: Vec<Warp>,
    barriers: Vec<Barrier>,
    /// Threads that have not ended.
    alive: u32,
    /// Warp instructions of the turns that each warp has used up since its paths last changed places.
    turns: Vec<i64>,
    /// Warps in the order of their turns, and who decides, where that is left to chance.
    pub(super) order: Vec<usize>,
    pub(super) random: Option<Random>,
}

impl Block {
    /// A block whose constants are filled in.
    pub(crate) fn new(engine: &Engine<'_>) -> Block {
        let threads = engine.launch.block.iter().product::<u32>();
        let kernel = engine.kernel;
        let warps: Vec<Warp> = (0..threads.div_ceil(32))
            .map(|index| {
                let valid = u32::MAX >> (32 - (threads - 32 * index).min(32));
                let mut warp = Warp::new(index, valid, kernel.slot_count, kernel.predicate_count);
                engine.fill_presets(&mut warp);
                warp
            })
            .collect();
        let turns = vec![0; warps.len()];
        let order = (0..warps.len()).collect();
        Block {
            site: Site::new(kernel, engine.launch),
            warps,
            barriers: vec![Barrier::default(); 16],
            alive: threads,
            turns,
            order,
            random: None,
        }
    }

    /// Ready to run block `number`; the engine's site must be this block's.
    pub(crate) fn restart(&mut self, engine: &mut Engine<'_>) {
        for warp in &mut self.warps {
            warp.restart();
            engine.fill_block_presets(warp);
        }
        for barrier in &mut self.barriers {
            barrier.arrived = 0;
            barrier.waiting.clear();
        }
        self.turns.fill(0);
        let seed = engine.machine.config.schedule;
        self.random = seed.map(|seed| Random::new(seed, !engine.site.number));
        self.alive = engine.launch.block.iter().product();
        engine.counters.blocks += 1;
        engine.counters.warps += self.warps.len() as u64;
    }

    /// Runs the block until it ends or its turn is over.
    pub(crate) fn run(&mut self, engine: &mut Engine<'_>, interpreter: Interpreter) -> Result<BlockStop, Box<Fault>> {
        for _ in 0..ROUNDS {
            let mut progress = self.run_shuffled(engine, interpreter)?;
            let mut index = if self.random.is_some() { self.warps.len() } else { 0 };
            while index < self.warps.len() {
                let count = if engine.machine.config.lock_step && engine.site.trace.is_none() {
                    self.together(index)
                } else {
                    1
                };
                progress |= if count > 1 {
                    self.run_group(engine, interpreter, index, count)?
                } else {
                    self.run_warp(engine, interpreter, index, NONE)?
                };
                index += count;
            }
            if self.warps.iter().all(Warp::finished) {
                return self.finish(engine);
            }
            // A thread that ended may have been the last that a barrier waited for.
            progress |= self.release_all(engine);
            if !progress {
                return Err(self.stuck(engine));
            }
        }
        Ok(BlockStop::Turn)
    }

    /// How many warps from `first` on can run in lock-step; at least 1.
    fn together(&self, first: usize) -> usize {
        let Some(pc) = self.warps[first].together() else { return 1 };
        let others = &self.warps[first + 1..];
        1 + others.iter().take(TOGETHER - 1).take_while(|warp| warp.together() == Some(pc)).count()
    }

    /// Runs warps in lock-step for one turn; whether they got anywhere. Where they go different ways, each goes its way alone
    /// to the point where they meet again, at the latest until its turn is over.
    fn run_group(
        &mut self,
        engine: &mut Engine<'_>,
        interpreter: Interpreter,
        first: usize,
        count: usize,
    ) -> Result<bool, Box<Fault>> {
        let group = first..first + count;
        let mut budget = QUANTUM;
        while budget > 0 {
            let before = self.living(group.clone());
            engine.fuel = QUANTUM;
            engine.whole_block = self.waits_for(before);
            let warps = &mut self.warps[group.clone()];
            // SAFETY: the function was selected for this host.
            let end = unsafe { (interpreter.whole)(engine, warps, NONE) };
            let spent = QUANTUM - engine.fuel;
            budget -= spent.max(1);
            warps.iter_mut().for_each(|warp| warp.elapsed = warp.elapsed.wrapping_add_signed(spent.max(0)));
            self.alive -= before - self.living(group.clone());
            let slept = std::mem::take(&mut engine.slept);
            let missed = std::mem::take(&mut engine.missed);
            engine.spend(&self.warps[first], (spent - slept) * count as i64 - missed)?;
            match end {
                Err(fault) => {
                    let failed = first + engine.failed;
                    return Err(self.first_fault(engine, interpreter, first..failed, fault));
                }
                Ok(Stop::Barrier) => {
                    for index in group.clone() {
                        self.arrive(engine, index)?;
                    }
                }
                Ok(Stop::Apart) => {
                    let meet = engine.meeting;
                    for index in group.clone() {
                        if let Err(fault) = self.run_warp(engine, interpreter, index, meet) {
                            return Err(self.first_fault(engine, interpreter, first..index, fault));
                        }
                    }
                }
                Ok(Stop::Switch) => {}
                Ok(_) => break,
            }
            if self.together(first) < count {
                break;
            }
        }
        Ok(true)
    }

    /// The fault of the lowest warp of a group: those before the one that failed may fail, too, where they go on.
    #[cold]
    fn first_fault(
        &mut self,
        engine: &mut Engine<'_>,
        interpreter: Interpreter,
        before: std::ops::Range<usize>,
        fault: Box<Fault>,
    ) -> Box<Fault> {
        for index in before {
            if let Err(earlier) = self.run_warp(engine, interpreter, index, NONE) {
                return earlier;
            }
        }
        fault
    }

    /// Threads of some warps that have not ended.
    fn living(&self, warps: std::ops::Range<usize>) -> u32 {
        self.warps[warps].iter().map(|warp| warp.alive().count_ones()).sum()
    }

    /// Whether these threads are all that the block has left, and none of its barriers waits for any.
    fn waits_for(&self, threads: u32) -> bool {
        threads == self.alive && self.barriers.iter().all(|barrier| barrier.arrived == 0)
    }

    /// Runs a warp for one turn, or until its threads are together at `meet`; whether it got anywhere.
    pub(super) fn run_warp(
        &mut self,
        engine: &mut Engine<'_>,
        interpreter: Interpreter,
        index: usize,
        meet: u32,
    ) -> Result<bool, Box<Fault>> {
        engine.fuel = engine.quantum;
        let progress = self.turn(engine, interpreter, index, meet);
        self.warps[index].elapsed += (engine.quantum - engine.fuel).max(0) as u64;
        progress
    }

    fn turn(
        &mut self,
        engine: &mut Engine<'_>,
        interpreter: Interpreter,
        index: usize,
        meet: u32,
    ) -> Result<bool, Box<Fault>> {
        let mut progress = false;
        while !self.warps[index].finished() {
            let (before, gone) = (engine.fuel, self.warps[index].exited);
            engine.whole_block = self.waits_for(self.living(index..index + 1));
            // SAFETY: the function was selected for this host.
            let stop = unsafe { (interpreter.alone)(engine, &mut self.warps[index], meet) }?;
            self.alive -= (self.warps[index].exited & !gone).count_ones();
            let slept = std::mem::take(&mut engine.slept);
            engine.spend(&self.warps[index], before - engine.fuel - slept)?;
            progress |= engine.fuel < before || stop == Stop::Barrier;
            match stop {
                Stop::Finished => break,
                Stop::Waiting => return Ok(progress),
                Stop::Barrier => self.arrive(engine, index)?,
                // A warp alone goes on by itself where its threads part.
                Stop::Switch | Stop::Met | Stop::Apart => return Ok(true),
                Stop::Turn => {
                    self.turns[index] += engine.quantum;
                    // A warp whose threads have once waited for one another in vain, as at a lock, may well do so again.
                    if self.warps[index].sent_ahead || self.turns[index] >= BEFORE_ROTATION {
                        self.turns[index] = 0;
                        self.warps[index].rotate();
                    }
                    return Ok(true);
                }
            }
        }
        Ok(progress)
    }

    /// The current path of a warp meets a barrier.
    fn arrive(&mut self, engine: &mut Engine<'_>, index: usize) -> Result<(), Box<Fault>> {
        let kernel = engine.kernel;
        let warp = &mut self.warps[index];
        let path_index = warp.current;
        let path = warp.paths[path_index];
        let PathState::AtBarrier(table) = path.state else {
            return Ok(());
        };
        let barrier = &kernel.tables.barriers[table as usize];
        let at = path.pc - 1;
        let lane = path.mask.trailing_zeros();
        let fault =
            |engine: &Engine<'_>, warp: &Warp, what: &str| engine.fault(FaultKind::LaunchFailed, warp, at, lane, what);
        let alive = warp.valid & !warp.exited;
        if barrier.aligned && path.mask != alive {
            if warp.sent_ahead {
                warp.gather(at);
                return Ok(());
            }
            let what = format!(
                "barrier met by the lanes {:#010x} of warp {index} only, while {:#010x} are elsewhere: all threads of a warp must meet it together",
                path.mask,
                alive & !path.mask
            );
            return Err(fault(engine, warp, &what));
        }
        engine.counters.barriers += 1;
        let id = warp.registers.word(barrier.id)[lane as usize];
        if id >= 16 {
            return Err(fault(engine, warp, &format!("barrier {id}: a block has the barriers 0 to 15")));
        }
        let expected = barrier.count.map(|slot| warp.registers.word(slot)[lane as usize]);
        if let Some(count) = expected
            && (count == 0 || count % 32 != 0)
        {
            return Err(fault(engine, warp, &format!("barrier {id} for {count} threads: not a multiple of 32")));
        }
        let (source, negated) = barrier.source;
        let value = warp.registers.predicate(source) ^ if negated { u32::MAX } else { 0 };
        let reduces = !matches!(barrier.kind, BarrierKind::Sync | BarrierKind::Arrive);
        let state = &mut self.barriers[id as usize];
        if state.arrived == 0 {
            *state = Barrier { expected, reduces, all: true, ..Barrier::default() };
        } else if state.expected != expected {
            let what = format!("barrier {id} met with different thread counts: {:?} and {expected:?}", state.expected);
            return Err(fault(engine, warp, &what));
        }
        if state.reduces != reduces {
            return Err(fault(
                engine,
                warp,
                &format!("barrier {id} met by some threads with a reduction, by others without"),
            ));
        }
        // Barriers count whole warps: the threads of the warp that have ended count too where a number is given.
        state.arrived += if expected.is_some() && barrier.aligned { 32 } else { path.mask.count_ones() };
        state.count += (value & path.mask).count_ones();
        state.all &= value & path.mask == path.mask;
        state.any |= value & path.mask != 0;
        let (lanes, leaves) = (path.mask, barrier.kind == BarrierKind::Arrive);
        engine.came_to_barrier(id, index, lanes, leaves);
        if leaves {
            warp.paths[path_index].state = PathState::Ready;
        } else {
            state.waiting.push((index, path_index));
        }
        if let Some(count) = expected
            && state.arrived > count
        {
            let what = format!("barrier {id} is for {count} threads, {} have come", state.arrived);
            return Err(fault(engine, &self.warps[index], &what));
        }
        self.release(engine, id as usize);
        Ok(())
    }

    fn release_all(&mut self, engine: &mut Engine<'_>) -> bool {
        (0..self.barriers.len()).fold(false, |released, id| self.release(engine, id) | released)
    }

    /// Lets the threads at a barrier go on if all have come.
    fn release(&mut self, engine: &mut Engine<'_>, id: usize) -> bool {
        let needed = match self.barriers[id].expected {
            Some(count) => count,
            None if self.barriers[id].arrived == 0 => return false,
            None => self.alive,
        };
        let state = &mut self.barriers[id];
        if state.arrived == 0 || state.arrived < needed {
            return false;
        }
        let mut waiting = std::mem::take(&mut state.waiting);
        let lanes = |&(index, path): &(usize, usize)| self.warps[index].paths[path].mask.count_ones();
        // Where a number is given threads that have ended do not count as having come.
        let all = if state.expected.is_some() { engine.launch.block.iter().product() } else { self.alive };
        let everyone = waiting.iter().map(lanes).sum::<u32>() == all;
        engine.left_barrier(id, everyone, &self.warps);
        for (index, path) in waiting.drain(..) {
            let warp = &mut self.warps[index];
            let PathState::AtBarrier(table) = warp.paths[path].state else { continue };
            let barrier = &engine.kernel.tables.barriers[table as usize];
            deliver(warp, barrier, warp.paths[path].mask, state);
            warp.paths[path].state = PathState::Ready;
        }
        state.arrived = 0;
        state.waiting = waiting;
        true
    }

    fn finish(&mut self, engine: &Engine<'_>) -> Result<BlockStop, Box<Fault>> {
        // Copies that nobody waited for have had no effect; their destinations are gone with the block.
        debug_assert!(self.barriers.iter().all(|barrier| barrier.waiting.is_empty()), "nobody waits at the end");
        let _ = engine;
        Ok(BlockStop::Finished)
    }
}

/// Writes the result of a barrier reduction.
fn deliver(warp: &mut Warp, barrier: &BlockBarrier, mask: u32, state: &Barrier) {
    let everywhere = |value: bool| if value { u32::MAX } else { 0 };
    match barrier.kind {
        BarrierKind::RedPopc => {
            let row = warp.registers.word_mut(barrier.d);
            super::traffic::lanes(mask).for_each(|lane| row[lane] = state.count);
        }
        BarrierKind::RedAnd => warp.registers.set_predicate(barrier.d, mask, everywhere(state.all)),
        BarrierKind::RedOr => warp.registers.set_predicate(barrier.d, mask, everywhere(state.any)),
        BarrierKind::Sync | BarrierKind::Arrive => {}
    }
}
