//! How the kernels for few rows cut a format up: the numbers of `VectorTile` and `VectorSlots` in
//! `kernels/quant/gguf_vector.cuh`.

use super::{Activations, Problem};
use crate::{Format, Limits};

/// How work is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorTile {
    /// Rows of weights of a warp.
    pub rows_per_warp: usize,
    /// Rows of activations of a thread block.
    pub vectors_per_block: usize,
    /// Warps of a thread block.
    pub warps: usize,
    /// Units of a row of weights.
    pub units_per_row: usize,
    /// Slots of a row of activations: its units, perhaps the first of them twice.
    pub num_slots: usize,
    /// Its shared memory.
    pub shared_bytes: usize,
}

/// Most rows of activations that a thread block multiplies at once.
pub(super) const MAX_VECTORS: usize = 8;

/// Blocks of a unit, where whole units make a row.
fn whole_unit_blocks(format: Format) -> usize {
    match format {
        Format::Q5_1 => 2,
        _ if format.block_weights() == 32 => 4,
        _ if format.block_bytes().is_multiple_of(4) => 1,
        _ => 2,
    }
}

/// Bytes of a chunk: 32 units, or more small ones.
fn stage_bytes(format: Format) -> usize {
    let units = match (format.block_weights(), format.block_bytes()) {
        (32, 24) => 128,
        (32, ..24) => 64,
        _ => 32,
    };
    units * whole_unit_blocks(format) * format.block_bytes()
}

/// Blocks of a unit.
fn unit_blocks(problem: &Problem) -> usize {
    let whole = whole_unit_blocks(problem.format);
    if problem.blocks_per_row().is_multiple_of(whole) { whole } else { 1 }
}

/// Bytes from a slot to the next: activations, and what else is to be known of each group of 32.
fn slot_pitch(problem: &Problem) -> usize {
    let format = problem.format;
    let groups = unit_blocks(problem) * format.block_weights() / 32;
    let bytes = match problem.activations {
        Activations::Exact => groups * 128,
        Activations::Q8 => groups * 32 + groups.div_ceil(groups_together(format)) * 16,
    };
    (bytes / 16 | 1) * 16
}

/// Groups whose scales and sums take 16 bytes.
fn groups_together(format: Format) -> usize {
    match format {
        Format::Q8_0 | Format::IQ4NL | Format::IQ4XS => 4,
        Format::Q2K | Format::Q3K | Format::Q6K => 1,
        _ => 2,
    }
}

impl VectorTile {
    /// Chooses the tile. What it takes of shared memory may be more than there is.
    pub(super) fn new(problem: &Problem, limits: &Limits) -> Self {
        let format = problem.format;
        let units_per_row = problem.blocks_per_row() / unit_blocks(problem);
        // Where lanes come round in the middle of 8 neighbours.
        let again = if units_per_row <= 8 || units_per_row.is_multiple_of(8) { 0 } else { 7 };
        let num_slots = units_per_row + again;
        let warps = if stage_bytes(format) > 8192 { 2 } else { 4 };
        // Many rows load the activations less often, few occupy more of the chip.
        let enough = |rows: &usize| problem.n.div_ceil(*rows * warps) >= limits.multiprocessors as usize;
        let rows_per_warp = [32, 16].into_iter().find(enough).unwrap_or(8);
        let stages = warps * 2 * stage_bytes(format);
        // What lanes leave: of each unit, or of a row 32 and one of padding.
        let left = if units_per_row < 32 { units_per_row } else { 33 };
        let partials = (rows_per_warp * left).next_multiple_of(32) * 4;
        let shared = |vectors: usize| stages + vectors * (num_slots * slot_pitch(problem) + warps * partials);
        let fits = |vectors: &usize| shared(*vectors) <= limits.shared_bytes_per_block as usize;
        let most = (1..=problem.m.min(MAX_VECTORS)).rev().find(fits).unwrap_or(1);
        // As even as the number of passes allows.
        let vectors_per_block = problem.m.div_ceil(problem.m.div_ceil(most).max(1)).max(1);
        let shared_bytes = shared(vectors_per_block);
        Self { rows_per_warp, vectors_per_block, warps, units_per_row, num_slots, shared_bytes }
    }

    /// Rows of weights of a thread block.
    pub fn rows_per_block(&self) -> usize {
        self.rows_per_warp * self.warps
    }
}
