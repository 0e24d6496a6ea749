//! Runs a kernel: blocks over host threads, warps of a block in turns, 32 lanes side by side.

mod access;
mod active;
mod alu;
mod async_copy;
mod atomic;
mod block;
mod builtin;
mod calls;
mod copy;
mod divide;
mod engine;
mod fields;
mod guest;
mod level;
mod local;
mod matrix;
pub mod mma;
mod observe;
mod other;
mod parted;
mod print;
mod race_report;
mod rare_float;
mod rare_integer;
mod registers;
mod report;
mod run;
mod schedule;
mod shape;
mod shuffle;
mod simd;
mod spaces;
mod synchronise;
mod tally;
mod tensor;
mod traffic;
mod transfer;
pub mod value;
mod warp;
mod warp_operation;
mod watch;
mod word;

use crate::profile::{BlockTrace, Counters, MOST_BLOCK_RUNS, Tally, Waves};
use crate::{check::BenignRace, chip::Architecture, config::Config, fault::Fault, memory::View, program::Kernel};
use block::{Block, BlockStop};
use engine::{Engine, Shared};
use schedule::{Order, Random};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a launch needs to know of the device.
pub struct Machine<'a> {
    /// Decides tensor-core arithmetic.
    pub architecture: Architecture,
    /// Device memory.
    pub memory: &'a dyn View,
    /// Settings.
    pub config: &'a Config,
}

/// A launch.
pub struct Launch<'a> {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub dynamic_shared_bytes: u32,
    /// The parameter block, `Kernel::param_bytes` long.
    pub params: &'a [u8],
    /// How many blocks are on the device at once: they make progress together.
    pub resident_blocks: u64,
    /// Stack of a thread, for kernels whose calls nest as deep as the data say.
    pub stack_bytes: u32,
    /// Most bytes that `malloc` in kernels may have given out.
    pub heap_bytes: u64,
    /// Device address of the barrier of a cooperative launch, which %envreg1 and %envreg2 give; 0: it is none.
    pub grid_workspace: u64,
    /// Takes the races that changed nothing, as all threads wrote the same value.
    pub benign_races: &'a (dyn Fn(&[BenignRace]) + Sync),
    /// Takes what the kernel prints, block after block, when it has ended.
    pub output: &'a (dyn Fn(&[u8]) + Sync),
    /// Blocks whose steps are kept, ascending.
    pub traced: &'a [u64],
    /// Only those blocks run.
    pub only_traced: bool,
}

/// What a launch has done.
#[derive(Debug)]
pub struct Execution {
    /// Its counters.
    pub counters: Counters,
    /// Counts by record and basic block.
    pub tally: Tally,
    /// Steps of the blocks that were traced, in the order of their numbers.
    pub traces: Vec<BlockTrace>,
}

impl Launch<'_> {
    /// Local memory of a thread.
    fn local_bytes(&self, kernel: &Kernel) -> u32 {
        let stack = if kernel.needs_stack { self.stack_bytes.next_multiple_of(16) } else { 0 };
        kernel.local_bytes.next_multiple_of(16).saturating_add(stack)
    }
}

/// Where the output of kernels goes unless a launch says otherwise.
fn to_stderr(text: &[u8]) {
    // Nobody can be told that this failed.
    let _ = std::io::stderr().write_all(text);
}

impl Default for Launch<'_> {
    /// One thread, with the stack of a new context.
    fn default() -> Self {
        Launch {
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared_bytes: 0,
            params: &[],
            resident_blocks: 1,
            stack_bytes: 1024,
            grid_workspace: 0,
            heap_bytes: 8 << 20,
            benign_races: &crate::check::keep,
            output: &to_stderr,
            traced: &[],
            only_traced: false,
        }
    }
}

/// Runs a kernel to its end. Limits of the chip are the caller's to check.
///
/// # Errors
/// The fault of the first block that has one, in the order of their start: that of their numbers, unless there is a seed.
pub fn launch(machine: &Machine<'_>, kernel: &Kernel, launch: &Launch<'_>) -> Result<Counters, Box<Fault>> {
    execute(machine, kernel, launch).map(|execution| execution.counters)
}

/// The same, with all that is known of it.
///
/// # Errors
/// As [`launch`].
pub fn execute(machine: &Machine<'_>, kernel: &Kernel, launch: &Launch<'_>) -> Result<Execution, Box<Fault>> {
    let blocks = match launch.only_traced {
        true => launch.traced.len() as u64,
        false => launch.grid.iter().map(|&count| u64::from(count)).product::<u64>(),
    };
    let l2_bytes = u64::from(machine.architecture.chip().l2_bytes);
    let memory = machine.config.profile.memory && !launch.only_traced;
    let waves = memory.then(|| Waves::new(l2_bytes, launch.resident_blocks));
    let shared = Shared { executed: AtomicU64::new(0), faulted: AtomicU64::new(u64::MAX) };
    let next = AtomicU64::new(0);
    let order = Order::new(machine.config.schedule, blocks);
    // Blocks that talk to one another run in one order, so that what they say does not depend on the host; so do those whose
    // accesses are compared with one another's, so that a report does not.
    let threads = if kernel.communicates || machine.config.checks.watch() {
        1
    } else {
        machine.config.threads.clamp(1, blocks.max(1) as usize)
    };
    let results = Mutex::new(Vec::new());
    let work = || {
        let mut worker = Worker::new(Engine::new(machine, kernel, launch, &shared), &next, order, waves.as_ref());
        let fault = worker.run();
        let benign = worker.engine.take_benign_races();
        if !benign.is_empty() {
            (launch.benign_races)(&benign);
        }
        let (traces, printed) = (std::mem::take(&mut worker.traces), std::mem::take(&mut worker.printed));
        let counts = worker.take_counts();
        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((counts, traces, fault, printed));
    };
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut counters = Counters::default();
    let mut first: Option<(u64, Box<Fault>)> = None;
    let (mut printed, mut traces) = (Vec::new(), Vec::new());
    let mut tally = Tally::new(kernel);
    for ((part, part_tally), part_traces, fault, texts) in results {
        counters.merge(&part);
        tally.merge(&part_tally);
        traces.extend(part_traces);
        printed.extend(texts);
        if let Some((number, fault)) = fault
            && first.as_ref().is_none_or(|(lowest, _)| number < *lowest)
        {
            first = Some((number, fault));
        }
    }
    // Blocks behind one that faulted may have run or not: what they printed is no one's business.
    let last = first.as_ref().map_or(u64::MAX, |(number, _)| *number);
    printed.retain(|(number, _)| *number <= last);
    printed.sort_by_key(|(number, _)| *number);
    printed.iter().for_each(|(_, text)| (launch.output)(text));
    match first {
        Some((_, fault)) => Err(fault),
        None => {
            tally.add_to(&mut counters, kernel);
            counters.memory = waves.map(Waves::traffic);
            traces.sort_by_key(|trace: &BlockTrace| trace.block);
            Ok(Execution { counters, tally, traces })
        }
    }
}

/// One host thread of a launch.
struct Worker<'a> {
    engine: Engine<'a>,
    next: &'a AtomicU64,
    order: Order,
    /// Which of the running blocks gets the next turn, where that is left to chance.
    random: Option<Random>,
    interpreter: level::Interpreter,
    /// Where the blocks' accesses to device memory go.
    waves: Option<&'a Waves>,
    /// Whether all its blocks have ended.
    done: bool,
    /// What each block has printed.
    printed: Vec<(u64, Vec<u8>)>,
    /// Steps of the blocks that are traced.
    traces: Vec<BlockTrace>,
}

impl<'a> Worker<'a> {
    fn new(engine: Engine<'a>, next: &'a AtomicU64, order: Order, waves: Option<&'a Waves>) -> Worker<'a> {
        let config = engine.machine.config;
        let random = config.schedule.map(|seed| Random::new(seed, u64::MAX - 1));
        let interpreter = level::select(config.level());
        let (printed, traces) = (Vec::new(), Vec::new());
        Worker { engine, next, order, random, interpreter, waves, done: false, printed, traces }
    }

    fn take_counts(&mut self) -> (Counters, Tally) {
        (std::mem::take(&mut self.engine.counters), std::mem::take(&mut self.engine.tally))
    }

    /// Hands in what a block has accessed so far; `ended`: in all.
    fn hand_in(&mut self, position: u64, ended: bool) {
        let Some(waves) = self.waves else { return };
        let records = &mut self.engine.records;
        match ended {
            _ if self.engine.kernel.communicates => waves.execute(records),
            true => waves.finish(position, records),
            false if records.len() > MOST_BLOCK_RUNS => waves.stream(position, records),
            false => {}
        }
    }

    /// Steps of a block that is traced and has ended.
    fn keep_trace(&mut self, block: &mut Block) {
        self.traces.extend(block.site.trace.take().map(|trace| *trace));
    }

    /// Runs blocks until none is left; which one failed, in the order of their start, and its fault.
    ///
    /// Blocks whose turn ends go to the back of the queue, and new ones start as long as the device has room for them: a
    /// block that waits for another one's flag ends.
    fn run(&mut self) -> Option<(u64, Box<Fault>)> {
        let mut running: VecDeque<Block> = VecDeque::new();
        let mut idle: Vec<Block> = Vec::new();
        let resident = if self.engine.kernel.communicates { self.engine.launch.resident_blocks.max(1) } else { 1 };
        loop {
            if (running.len() as u64) < resident
                && let Some(position) = self.take()
            {
                let mut block = idle.pop().unwrap_or_else(|| Block::new(&self.engine));
                std::mem::swap(&mut self.engine.site, &mut block.site);
                self.engine.site.position = position;
                let number = self.number(position);
                self.engine.site.restart(number, self.engine.launch.grid, self.engine.machine.config.schedule);
                self.engine.site.trace = self.trace_of(number);
                block.restart(&mut self.engine);
                self.engine.begin_block();
                std::mem::swap(&mut self.engine.site, &mut block.site);
                running.push_back(block);
            } else if running.is_empty() {
                self.done = true;
                return None;
            }
            let turn = self.random.as_mut().map_or(0, |random| random.below(running.len() as u64));
            let Some(mut block) = running.remove(turn as usize) else {
                continue;
            };
            std::mem::swap(&mut self.engine.site, &mut block.site);
            let stop = block.run(&mut self.engine, self.interpreter);
            let position = self.engine.site.position;
            std::mem::swap(&mut self.engine.site, &mut block.site);
            match stop {
                Ok(BlockStop::Finished) => {
                    self.hand_in(position, true);
                    self.keep_printed(&mut block);
                    self.keep_trace(&mut block);
                    idle.push(block);
                }
                Ok(BlockStop::Turn) => {
                    self.hand_in(position, false);
                    running.push_back(block);
                }
                Err(fault) => {
                    self.keep_printed(&mut block);
                    running.iter_mut().for_each(|block| self.keep_printed(block));
                    self.engine.shared_state.faulted.fetch_min(position, Ordering::Relaxed);
                    return Some((position, fault));
                }
            }
        }
    }

    fn keep_printed(&mut self, block: &mut Block) {
        if !block.site.printed.is_empty() {
            self.printed.push((block.site.position, std::mem::take(&mut block.site.printed)));
        }
    }

    /// The place in the order of the next block to start; blocks behind one that faulted are not started.
    fn take(&self) -> Option<u64> {
        let position = self.next.fetch_add(1, Ordering::Relaxed);
        let faulted = self.engine.shared_state.faulted.load(Ordering::Relaxed);
        (position < self.order.count() && position < faulted).then_some(position)
    }

    /// The number of the block at a place in the order.
    fn number(&self, position: u64) -> u64 {
        let (launch, block) = (self.engine.launch, self.order.block(position));
        if launch.only_traced { launch.traced[block as usize] } else { block }
    }

    /// Room for the steps of a block, if they are to be kept.
    fn trace_of(&self, number: u64) -> Option<Box<BlockTrace>> {
        let launch = self.engine.launch;
        let warps = launch.block.iter().product::<u32>().div_ceil(crate::chip::WARP_SIZE);
        let traced = launch.traced.binary_search(&number).is_ok();
        traced.then(|| Box::new(BlockTrace::new(number, warps as usize)))
    }
}

impl Drop for Worker<'_> {
    /// A worker that ends early, by a fault or a panic, must not be waited for.
    fn drop(&mut self) {
        if !self.done
            && let Some(waves) = self.waves
        {
            waves.abandon();
        }
    }
}
