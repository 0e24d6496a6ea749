//! What each part of the chip needs at least.

use super::plan::{tensor_cycles, unit_cycles};
use super::{Bound, Subject};
use crate::chip::SUB_CORES;
use crate::profile::memory::SECTOR_BYTES;
use crate::program::Unit;

/// The bounds of all parts, and the machine instructions of all blocks by unit.
pub(super) fn bounds(subject: &Subject<'_>) -> (Vec<Bound>, [f64; 9]) {
    let figures = &subject.chip.time;
    let (kernel, tally) = (subject.kernel, &subject.execution.tally);
    // Cycles of one multiprocessor, were it alone.
    let (mut units, mut executed) = ([0.0; 9], [0.0; 9]);
    let (mut issues, mut memory) = (0.0, 0.0);
    let entered = kernel.blocks.iter().zip(&tally.passes).filter(|(block, passes)| passes.0 > 0 && !block.waits);
    for (block, &(warps, _)) in entered {
        let first = block.first_site as usize;
        for site in &kernel.sites[first..first + block.instructions as usize] {
            let passes = warps as f64;
            issues += passes * site.work.iter().map(|count| f64::from(*count)).sum::<f64>();
            for unit in Unit::ALL {
                let count = f64::from(site.work[unit as usize]);
                executed[unit as usize] += passes * count;
                units[unit as usize] += match unit {
                    Unit::Tensor if count > 0.0 => passes * tensor_cycles(figures, kernel, site),
                    _ => passes * count * unit_cycles(figures, unit),
                };
            }
            if site.work[Unit::Lsu as usize] > 0 {
                let traffic = site.ops.clone().map(|op| &tally.traffic[op as usize]);
                let pieces = traffic.map(|traffic| {
                    traffic.shared.wavefronts + traffic.global.requests.max(traffic.global.sectors.div_ceil(4))
                });
                // What accesses no memory, such as a shuffle, passes the pipe once.
                let pieces: u64 = pieces.sum();
                memory += if pieces > 0 { pieces as f64 } else { passes };
            }
        }
    }
    // The busiest multiprocessor has a whole number of blocks, of average length; a block has its warps in turn on the
    // sub-cores.
    let multiprocessors = u64::from(subject.chip.multiprocessors);
    let most = subject.blocks.div_ceil(multiprocessors) as f64;
    let share = most / subject.ran.max(1) as f64 / figures.clock_hz;
    let warps = f64::from(subject.warps_per_block) * most.min(f64::from(subject.resident.max(1)));
    let sub_cores = f64::from(SUB_CORES);
    let idle = (sub_cores / warps).max(1.0);
    let mut bounds = vec![
        Bound { part: "issue", seconds: issues / sub_cores * idle * share },
        Bound { part: "lsu", seconds: memory * share },
    ];
    // The memory pipe has its bound from accesses, and what only takes issue slots has none of its own.
    for unit in Unit::ALL.into_iter().filter(|unit| !matches!(unit, Unit::Lsu | Unit::Control)) {
        bounds.push(Bound { part: unit.name(), seconds: units[unit as usize] * idle * share });
    }
    let counters = &subject.execution.counters;
    let scale = subject.blocks as f64 / subject.ran.max(1) as f64;
    let l2_bytes = (SECTOR_BYTES * subject.l2_sectors()) as f64;
    let port = l2_bytes * share / figures.memory.l2_port_bytes_per_clock;
    bounds.push(Bound { part: "l2", seconds: (l2_bytes * scale / figures.memory.l2_bytes_per_second).max(port) });
    if let Some(bytes) = counters.dram_bytes() {
        // Of several grids each has its own memory. In a sample device memory is not followed at all.
        bounds.push(Bound { part: "dram", seconds: bytes as f64 * scale / figures.dram_bytes_per_second() });
    }
    (bounds, executed.map(|count| count * scale))
}
