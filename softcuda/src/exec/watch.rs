//! What the checkers of races and of bytes never written keep while a launch runs.

use super::engine::Engine;
use crate::check::clock::BlockClocks;
use crate::check::shadow::{Conflict, Shadow};
use crate::check::variables::Variables;
use crate::check::{BenignRace, Notes};
use crate::config::Checks;
use crate::memory::Written;

/// An allocation and which of its bytes have been written.
#[derive(Clone, Copy, Default)]
pub(super) struct Allocation {
    pub(super) base: u64,
    pub(super) end: u64,
    pub(super) written: Written,
}

/// State of a launch; there is none where neither checker is on.
pub(crate) struct Watch {
    pub(super) races: bool,
    pub(super) initialisation: bool,
    /// The allocation that was looked up last.
    pub(super) span: Allocation,
    /// Counts what synchronises threads.
    now: u32,
    /// Of device memory.
    pub(super) shadow: Shadow,
    pub(super) variables: Variables,
    pub(super) notes: Notes,
    pub(super) conflicts: Vec<Conflict>,
}

impl Watch {
    pub(crate) fn new(checks: Checks) -> Option<Box<Watch>> {
        checks.watch().then(|| {
            Box::new(Watch {
                races: checks.races,
                initialisation: checks.initialisation,
                span: Allocation::default(),
                now: 0,
                shadow: Shadow::default(),
                variables: Variables::default(),
                notes: Notes::default(),
                conflicts: Vec::new(),
            })
        })
    }

    /// The next clock.
    pub(super) fn tick(&mut self) -> u32 {
        match self.now.checked_add(1) {
            Some(next) => self.now = next,
            None if self.races => {
                eprintln!(
                    "softcuda: this launch is too long for the race checker, which ends here: 2^32 synchronisations"
                );
                self.races = false;
            }
            None => {}
        }
        self.now
    }
}

/// State of a block.
#[derive(Default)]
pub(crate) struct BlockWatch {
    pub(super) clocks: BlockClocks,
    /// Of shared memory.
    pub(super) shadow: Shadow,
    pub(super) variables: Variables,
    /// One bit for each byte of shared memory, and of the local memory of its threads, that has been written.
    shared_written: Vec<u64>,
    local_written: Vec<u64>,
}

impl BlockWatch {
    pub(super) fn shared_written(&mut self) -> Written {
        Written::at(self.shared_written.as_mut_ptr())
    }

    pub(super) fn local_written(&mut self) -> Written {
        Written::at(self.local_written.as_mut_ptr())
    }
}

impl Engine<'_> {
    /// The engine's block begins.
    pub(crate) fn begin_block(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let block = &mut self.site.watch;
        let threads = self.launch.block.iter().product::<u32>() as usize;
        if watch.races {
            let now = watch.tick();
            // What the block before left in the shadow of shared memory comes before all that this one does.
            block.clocks.restart(self.site.number as u32, threads.div_ceil(32), now);
            block.variables.clear();
        }
        if watch.initialisation {
            let local = threads.next_multiple_of(32) * self.local_bytes as usize;
            for (bits, bytes) in
                [(&mut block.shared_written, self.site.shared.len() as usize), (&mut block.local_written, local)]
            {
                bits.clear();
                bits.resize(bytes.div_ceil(64), 0);
            }
        }
    }

    /// Races of this engine's blocks that changed nothing.
    pub(crate) fn take_benign_races(&mut self) -> Vec<BenignRace> {
        let notes = self.watch.as_mut().map(|watch| std::mem::take(&mut watch.notes));
        notes.map_or(Vec::new(), |notes| notes.into_races(&self.kernel.name))
    }
}
