//! How tiles of a result are shared out among blocks: `Shares` in `kernels/quant/shares.cuh`.

/// Which blocks compute which tiles of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Blocks of the launch.
    pub blocks: usize,
    /// Tiles that one block computes each.
    pub whole_tiles: usize,
    /// Tiles behind them, that blocks share: each computes an equal part of all their units.
    pub shared_tiles: usize,
    /// Units of a tile: so many columns of k each.
    pub tile_units: usize,
}

impl Shares {
    /// Every tile has a block.
    pub(super) fn none(tiles: usize) -> Self {
        Self { blocks: tiles, whole_tiles: tiles, shared_tiles: 0, tile_units: 0 }
    }

    /// Shares the tiles that would fill no wave of `places` blocks; or none, where it takes no less time. Sharing costs the time of
    /// `cost` units: partial sums written and read, and another launch.
    pub(super) fn new(tiles: usize, tile_units: usize, places: usize, cost: usize) -> Self {
        let places = places.max(1);
        let whole_waves = tiles / places;
        let whole_tiles = whole_waves * places;
        let shared_tiles = tiles - whole_tiles;
        // Some may have whole tiles alone.
        let blocks = if whole_waves > 0 { places } else { places.min(shared_tiles * tile_units) };
        let alone = tiles.div_ceil(places) * tile_units;
        let together = whole_waves * tile_units + (shared_tiles * tile_units).div_ceil(blocks.max(1));
        if tiles.is_multiple_of(places) || together + cost >= alone {
            return Self::none(tiles);
        }
        Self { blocks, whole_tiles, shared_tiles, tile_units }
    }

    /// Bytes of partial sums: two tiles of f32 for each block.
    pub(super) fn partial_bytes(&self, tile_elements: usize) -> usize {
        if self.shared_tiles == 0 { 0 } else { 2 * self.blocks * tile_elements * 4 }
    }

    /// As kernels have them.
    pub(super) fn params(&self) -> SharesParams {
        let [whole_tiles, shared_tiles, tile_units, blocks] =
            [self.whole_tiles, self.shared_tiles, self.tile_units, self.blocks].map(|count| count as i32);
        SharesParams { whole_tiles, shared_tiles, tile_units, blocks }
    }
}

/// `Shares` of `kernels/quant/shares.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct SharesParams {
    whole_tiles: i32,
    shared_tiles: i32,
    tile_units: i32,
    blocks: i32,
}
