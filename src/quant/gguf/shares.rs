//! How tiles of the kernel for many rows of bf16 are shared out among blocks: `DenseShare` in
//! `kernels/quant/gguf_dense_shares.cuh`.

use super::{MatrixTile, Problem};
use crate::Limits;

/// Which blocks compute which tiles of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Blocks of the launch.
    pub blocks: usize,
    /// Tiles that one block computes each.
    pub whole_tiles: usize,
    /// Tiles behind them, that blocks share: each computes an equal part of all their units.
    pub shared_tiles: usize,
    /// Units of a tile: 256 of k each.
    pub tile_units: usize,
}

/// Of k; steps are 64.
const UNIT_DEPTH: usize = 256;
/// What sharing costs in units' time: partial sums written and read, and another launch.
const COST: usize = 2;

impl Shares {
    /// Every tile has a block.
    pub(super) fn none(tiles: usize) -> Self {
        Self { blocks: tiles, whole_tiles: tiles, shared_tiles: 0, tile_units: 0 }
    }

    /// Shares the tiles that would fill no wave of blocks, one block on each multiprocessor, with those of the wave before them; or
    /// none, where it takes no less time.
    pub(super) fn new(problem: &Problem, tile: &MatrixTile, limits: &Limits) -> Self {
        let tiles = problem.m.div_ceil(tile.rows) * problem.n.div_ceil(tile.columns);
        let tile_units = problem.k.div_ceil(UNIT_DEPTH);
        let places = limits.multiprocessors.max(1) as usize;
        let whole_waves = (tiles / places).saturating_sub(1);
        let whole_tiles = whole_waves * places;
        let shared_tiles = tiles - whole_tiles;
        let blocks = places.min(shared_tiles * tile_units);
        let alone = tiles.div_ceil(places) * tile_units;
        let together = whole_waves * tile_units + (shared_tiles * tile_units).div_ceil(blocks.max(1));
        if tiles.is_multiple_of(places) || together + COST >= alone {
            return Self::none(tiles);
        }
        Self { blocks, whole_tiles, shared_tiles, tile_units }
    }

    /// Bytes of partial sums: two tiles of f32 for each block.
    pub fn partial_bytes(&self, tile: &MatrixTile) -> usize {
        if self.shared_tiles == 0 { 0 } else { 2 * self.blocks * tile.rows * tile.columns * 4 }
    }
}
