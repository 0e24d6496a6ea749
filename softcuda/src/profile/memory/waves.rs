//! Blocks in one order, whatever order the host's threads finish them in: by number, as many at a time as the device has
//! room for, a few runs of each in turn.

use super::DeviceTraffic;
use super::cache::Cache;
use super::records::{Records, Run};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Runs that a block of a wave lets through before the next one's turn.
const TURN: usize = 8;
/// Runs of a wave, and runs that wait for blocks before them: 32 MiB.
const MOST_RUNS: usize = 1 << 22;
/// Runs of one block that are kept until it ends.
pub(crate) const MOST_BLOCK_RUNS: usize = 1 << 20;

/// Where the host threads of a launch hand in what their blocks have accessed.
pub(crate) struct Waves {
    state: Mutex<State>,
    moved_on: Condvar,
}

struct State {
    cache: Cache,
    /// Blocks of a wave at most.
    together: usize,
    /// The first block that has not been handed in whole.
    next: u64,
    /// Whether that block has been handed in up to some point, being too long to be kept.
    streams: bool,
    /// Blocks behind it, and their runs.
    waiting: BTreeMap<u64, Vec<Run>>,
    waiting_runs: usize,
    wave: Vec<Vec<Run>>,
    wave_runs: usize,
    spare: Vec<Vec<Run>>,
    /// The launch has failed: nobody waits for anybody.
    abandoned: bool,
}

impl Waves {
    /// For a chip with so many bytes of L2 cache that has room for so many blocks.
    pub(crate) fn new(l2_bytes: u64, resident_blocks: u64) -> Waves {
        let state = State {
            cache: Cache::new(l2_bytes),
            together: resident_blocks.clamp(1, 1 << 16) as usize,
            next: 0,
            streams: false,
            waiting: BTreeMap::new(),
            waiting_runs: 0,
            wave: Vec::new(),
            wave_runs: 0,
            spare: Vec::new(),
            abandoned: false,
        };
        Waves { state: Mutex::new(state), moved_on: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block has ended.
    pub(crate) fn finish(&self, block: u64, records: &mut Records) {
        let mut state = self.lock();
        let spare = state.spare.pop().unwrap_or_default();
        let runs = records.take(spare);
        if state.streams && state.next == block {
            state.pass(runs);
            state.streams = false;
            state.next += 1;
        } else {
            // Memory is bounded: who is far ahead waits for those behind, of whom the last never waits.
            while state.next < block && state.waiting_runs + runs.len() > MOST_RUNS && !state.abandoned {
                state = self.moved_on.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting_runs += runs.len();
            state.waiting.insert(block, runs);
        }
        state.advance();
        self.moved_on.notify_all();
    }

    /// A block that goes on has too much to be kept: waits for its turn, and lets it through.
    pub(crate) fn stream(&self, block: u64, records: &mut Records) {
        let mut state = self.lock();
        while state.next < block && !state.abandoned {
            state = self.moved_on.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.end_wave();
        state.streams = true;
        let spare = state.spare.pop().unwrap_or_default();
        let runs = records.take(spare);
        state.pass(runs);
    }

    /// Lets through what the blocks of a launch on one host thread have accessed, in the order of execution.
    pub(crate) fn execute(&self, records: &mut Records) {
        let mut state = self.lock();
        let spare = state.spare.pop().unwrap_or_default();
        let runs = records.take(spare);
        state.pass(runs);
    }

    /// The launch has failed.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
        self.moved_on.notify_all();
    }

    /// The traffic of a launch whose blocks have all ended.
    pub(crate) fn traffic(self) -> DeviceTraffic {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.end_wave();
        state.cache.finish()
    }
}

impl State {
    /// Takes blocks whose turn it is into the wave, which ends when it is full.
    fn advance(&mut self) {
        while let Some(runs) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.waiting_runs -= runs.len();
            self.wave_runs += runs.len();
            self.wave.push(runs);
            if self.wave.len() >= self.together || self.wave_runs >= MOST_RUNS {
                self.end_wave();
            }
        }
    }

    /// The blocks of the wave take turns.
    fn end_wave(&mut self) {
        let mut done = 0;
        let longest = self.wave.iter().map(Vec::len).max().unwrap_or(0);
        while done < longest {
            for runs in &self.wave {
                let turn = runs.get(done..).unwrap_or_default().iter().take(TURN);
                turn.for_each(|run| self.cache.access(*run));
            }
            done += TURN;
        }
        for mut runs in self.wave.drain(..) {
            runs.clear();
            self.spare.push(runs);
        }
        self.wave_runs = 0;
    }

    fn pass(&mut self, mut runs: Vec<Run>) {
        runs.iter().for_each(|run| self.cache.access(*run));
        runs.clear();
        self.spare.push(runs);
    }
}
