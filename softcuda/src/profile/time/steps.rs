//! A warp's trace as a stream of instructions.

use crate::profile::{Event, What};
use crate::program::Kernel;
use std::ops::Range;

/// The next thing that a warp does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It enters a basic block.
    Block,
    /// An instruction, with what it accessed.
    Instruction {
        /// Index into the kernel's sites.
        site: u32,
        /// Wavefronts of shared memory, and sectors of device memory.
        wavefronts: u32,
        sectors: u32,
    },
}

/// What is left of a trace.
pub(super) struct Steps<'a> {
    kernel: &'a Kernel,
    events: &'a [Event],
    sites: Range<u32>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(kernel: &'a Kernel, events: &'a [Event]) -> Steps<'a> {
        Steps { kernel, events, sites: 0..0 }
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(site) = self.sites.next() {
            let ops = &self.kernel.sites[site as usize].ops;
            let (mut wavefronts, mut sectors) = (0, 0);
            while let Some((event, rest)) = self.events.split_first()
                && event.what != What::Enter
                && ops.contains(&event.at)
            {
                match event.what {
                    What::Shared => wavefronts += u32::from(event.cost),
                    _ => sectors += u32::from(event.cost),
                }
                self.events = rest;
            }
            return Some(Step::Instruction { site, wavefronts, sectors });
        }
        while let Some((event, rest)) = self.events.split_first() {
            self.events = rest;
            if event.what == What::Enter {
                let block = &self.kernel.blocks[event.at as usize];
                self.sites = block.first_site..block.first_site + block.instructions;
                return Some(Step::Block);
            }
        }
        None
    }
}
