//! How the kernel for few rows cuts a format up: the numbers of `VectorTile` and `VectorSlots` in
//! `kernels/quant/gguf_vector.cuh`.

use super::{Activations, Problem};
use crate::{Format, Limits};

/// How work is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorTile {
    /// Rows of weights of a thread block.
    pub rows_per_tile: usize,
    /// Most of them that one warp meets.
    pub rows_per_warp: usize,
    /// Rows of activations of a thread block.
    pub vectors_per_block: usize,
    /// Warps of a thread block.
    pub warps: usize,
    /// Slots of a row of activations.
    pub num_slots: usize,
    /// Whether lanes go back to the first slot behind the last.
    pub wraps: bool,
    /// Its shared memory.
    pub shared_bytes: usize,
}

/// Most rows of activations that a thread block multiplies at once, if they are quantised; and if not.
pub(super) const MAX_VECTORS: usize = 8;
const MAX_EXACT_VECTORS: usize = 4;

/// Blocks of a unit.
fn unit_blocks(format: Format) -> usize {
    match format {
        Format::Q5_1 => 2,
        _ if format.block_weights() == 32 => 4,
        _ if format.block_bytes().is_multiple_of(4) => 1,
        _ => 2,
    }
}

fn chunk_bytes(format: Format) -> usize {
    32 * unit_blocks(format) * format.block_bytes()
}

/// Slots of a row of activations, and whether lanes go back to the first behind the last.
///
/// They may where no two units of a warp then meet in a bank. Else a row goes round until 32 units find theirs.
fn slots(problem: &Problem) -> (usize, bool) {
    let (blocks, unit) = (problem.blocks_per_row(), unit_blocks(problem.format));
    if blocks == 0 {
        return (0, true);
    }
    let units = blocks / unit;
    let wraps = blocks.is_multiple_of(unit) && (32_usize.is_multiple_of(units) || units.is_multiple_of(32));
    if wraps { (blocks, true) } else { ((blocks + 32 * unit - 1).next_multiple_of(unit), false) }
}

/// Bytes of one row of activations.
fn slots_bytes(problem: &Problem) -> usize {
    let (slots, unit, weights) = (slots(problem).0, unit_blocks(problem.format), problem.format.block_weights());
    if problem.activations == Activations::Exact {
        return slots * weights * 4 + slots / unit * 16;
    }
    let groups = weights / 32;
    let entry = if matches!(problem.format, Format::Q8_0 | Format::IQ4NL | Format::IQ4XS) { 4 } else { 8 };
    let padding = if (groups * unit).is_multiple_of(2) { entry } else { 0 };
    let scales = slots * groups * entry + slots / unit * padding;
    slots * weights + slots / unit * 16 + scales.next_multiple_of(16)
}

impl VectorTile {
    /// Chooses the tile. What it takes of shared memory may be more than there is.
    pub(super) fn new(problem: &Problem, limits: &Limits) -> Self {
        let (format, blocks_per_row) = (problem.format, problem.blocks_per_row());
        let warps = if chunk_bytes(format) > 8192 { 2 } else { 4 };
        // Large tiles load the activations less often, small ones occupy more of the chip. Multiples of 16 rows start
        // at whole sectors.
        let enough = |rows: &usize| problem.n.div_ceil(*rows) >= limits.multiprocessors as usize;
        let rows_per_tile = [64, 32].into_iter().find(enough).unwrap_or(16);
        let chunk_blocks = 32 * unit_blocks(format);
        let chunks = (rows_per_tile * blocks_per_row).div_ceil(chunk_blocks);
        let blocks_per_warp = chunks.div_ceil(warps) * chunk_blocks;
        let rows_per_warp = (blocks_per_warp.div_ceil(blocks_per_row.max(1)) + 1).min(rows_per_tile);
        let stages = warps * 2 * chunk_bytes(format);
        let shared = |vectors: usize| stages + vectors * (slots_bytes(problem) + warps * rows_per_warp * 32 * 4);
        let fits = |vectors: &usize| shared(*vectors) <= limits.shared_bytes_per_block as usize;
        let limit = if problem.activations == Activations::Q8 { MAX_VECTORS } else { MAX_EXACT_VECTORS };
        let wanted = problem.m.min(limit);
        let most = (1..=wanted).rev().find(fits).unwrap_or(1);
        // As even as the number of passes allows.
        let vectors_per_block = problem.m.div_ceil(problem.m.div_ceil(most).max(1)).max(1);
        let ((num_slots, wraps), shared_bytes) = (slots(problem), shared(vectors_per_block));
        Self { rows_per_tile, rows_per_warp, vectors_per_block, warps, num_slots, wraps, shared_bytes }
    }
}
