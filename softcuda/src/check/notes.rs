//! Races that change nothing, as all threads write the same value: listed, not hidden.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Threads that wrote the same value to the same bytes without an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenignRace {
    /// The kernel.
    pub kernel: String,
    /// The first time: what, where, by which two threads.
    pub text: String,
    /// How often it happened at these two lines.
    pub count: u64,
}

/// Those of one launch, by the ops of both writes.
#[derive(Debug, Default)]
pub(crate) struct Notes(BTreeMap<(u32, u32), (String, u64)>);

impl Notes {
    /// Whether there has been one at these ops.
    pub(crate) fn has(&self, ops: (u32, u32)) -> bool {
        self.0.contains_key(&ops)
    }

    /// Counts one; `text` describes the first at these ops.
    pub(crate) fn add(&mut self, ops: (u32, u32), text: String) {
        self.0.entry(ops).or_insert((text, 0)).1 += 1;
    }

    pub(crate) fn into_races(self, kernel: &str) -> Vec<BenignRace> {
        let race = |(text, count)| BenignRace { kernel: kernel.to_owned(), text, count };
        self.0.into_values().map(race).collect()
    }
}

/// How many are kept; the oldest go first.
const KEPT: usize = 1 << 12;

static RACES: Mutex<VecDeque<BenignRace>> = Mutex::new(VecDeque::new());

/// Races of this process's launches that changed nothing, the oldest first; of more than 4,096 the last ones.
pub fn benign_races() -> Vec<BenignRace> {
    RACES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// Forgets them; each is said on stderr once more.
pub fn clear_benign_races() {
    RACES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Keeps what a launch has found, and says on stderr what has not been said before.
pub(crate) fn keep(found: &[BenignRace]) {
    let mut races = RACES.lock().unwrap_or_else(PoisonError::into_inner);
    for race in found {
        if let Some(known) = races.iter_mut().find(|known| known.kernel == race.kernel && known.text == race.text) {
            known.count += race.count;
            continue;
        }
        eprintln!("softcuda: {}", race.text);
        if races.len() == KEPT {
            races.pop_front();
        }
        races.push_back(race.clone());
    }
}
