//! Counts of every PTX instruction and of every source line.

use super::{GlobalAccess, InstructionCount, SharedAccess, Tally};
use crate::program::{Kernel, Line};
use std::collections::BTreeMap;

/// What one line has done: one of the PTX text, or one of the CUDA source, which is many of those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Line of the PTX text; of a source line the first one that comes from it.
    pub ptx_line: u32,
    /// `file.cu:12`, where the PTX says.
    pub source: Option<String>,
    /// The PTX mnemonic; of a source line the one executed most.
    pub mnemonic: &'static str,
    /// Warp and thread instructions.
    pub instructions: InstructionCount,
    /// Of the threads, those that a false guard kept from it.
    pub predicated_off: u64,
    /// Accesses to device memory.
    pub global: GlobalAccess,
    /// Accesses to shared memory.
    pub shared: SharedAccess,
}

impl LineCounters {
    /// Cycles of one multiprocessor's sub-core, or of the memory pipe that its four share, that the line takes at least: what
    /// "hot" means. Issue is one instruction a cycle; wavefronts and 128-byte pieces pass the shared pipe one a cycle.
    pub fn cycles(&self) -> u64 {
        let memory = self.shared.wavefronts + self.global.sectors.div_ceil(4);
        // Four sub-cores share the memory pipe.
        self.instructions.warp.max(4 * memory)
    }

    /// Adds the same line of another launch.
    pub fn add(&mut self, other: &LineCounters) {
        self.instructions.add(other.instructions);
        self.predicated_off += other.predicated_off;
        self.global.add(other.global);
        self.shared.add(other.shared);
    }

    /// Bank conflicts: wavefronts beyond the ideal.
    pub fn conflicts(&self) -> u64 {
        self.shared.wavefronts.saturating_sub(self.shared.ideal_wavefronts)
    }
}

/// Counts of each PTX instruction that ran, in the order of the text.
pub fn lines(kernel: &Kernel, tally: &Tally) -> Vec<LineCounters> {
    let mut lines: BTreeMap<(u32, &'static str), LineCounters> = BTreeMap::new();
    for (block, &(warp, thread)) in kernel.blocks.iter().zip(&tally.passes).filter(|(_, passes)| passes.0 > 0) {
        let first = block.first_site as usize;
        for site in &kernel.sites[first..first + block.instructions as usize] {
            let mnemonic = kernel.mnemonics[site.mnemonic as usize].0;
            let line = lines.entry((site.line.ptx, mnemonic)).or_insert_with(|| new_line(kernel, site.line, mnemonic));
            line.instructions.add(InstructionCount { warp, thread });
            for op in site.ops.clone() {
                let traffic = &tally.traffic[op as usize];
                line.global.add(traffic.global);
                line.shared.add(traffic.shared);
                line.predicated_off += tally.predicated_off[op as usize];
            }
        }
    }
    lines.into_values().collect()
}

fn new_line(kernel: &Kernel, line: Line, mnemonic: &'static str) -> LineCounters {
    LineCounters { ptx_line: line.ptx, source: kernel.source_text(line), mnemonic, ..LineCounters::default() }
}

/// The same by line of the CUDA source; lines of the PTX without one are left out.
pub fn by_source(lines: &[LineCounters]) -> Vec<LineCounters> {
    let mut sources: BTreeMap<&str, (LineCounters, u64)> = BTreeMap::new();
    for line in lines {
        let Some(source) = &line.source else { continue };
        let (sum, most) = sources.entry(source).or_insert_with(|| {
            let start =
                LineCounters { ptx_line: line.ptx_line, source: line.source.clone(), ..LineCounters::default() };
            (start, 0)
        });
        sum.add(line);
        if line.instructions.warp > *most {
            (sum.mnemonic, *most) = (line.mnemonic, line.instructions.warp);
        }
    }
    sources.into_values().map(|(sum, _)| sum).collect()
}

/// The lines that take most [cycles](LineCounters::cycles), at most `count`, the hottest first.
pub fn hottest(lines: &[LineCounters], count: usize) -> Vec<&LineCounters> {
    let mut order: Vec<&LineCounters> = lines.iter().collect();
    order.sort_by_key(|line| (std::cmp::Reverse(line.cycles()), line.ptx_line));
    order.truncate(count);
    order
}
