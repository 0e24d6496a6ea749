//! A layout as kernels see it.

use std::iter::Sum;
use std::mem::offset_of;

use super::{LayoutSizes, Pattern, TileGrid};

/// What a kernel is told of a layout: pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutOperand {
    /// Address of the words.
    pub address: u64,
    /// The tiles.
    pub grid: TileGrid,
    /// Numbers of the parts.
    pub sizes: LayoutSizes,
    /// What the listed tiles cost, of all its heads together; `None` if they lie on the device alone.
    pub work: Option<LayoutWork>,
}

/// What listed tiles cost, of those queries and keys that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayoutWork {
    /// Pairs of a query and a key that it sees.
    pub pairs: u64,
    /// Pairs of a query and a key that a visited tile holds.
    pub visited: u64,
    /// Queries whose tile visits any.
    pub queries: u64,
    /// Keys that blocks of 64 queries read, and blocks of 128.
    pub keys: [u64; 2],
}

impl LayoutWork {
    /// Of one pattern.
    pub fn new(pattern: &Pattern) -> Self {
        let grid = pattern.grid();
        let mut work = Self { pairs: pattern.visible_pairs(), ..Self::default() };
        for row in 0..grid.query_tiles() {
            let queries = grid.queries(row).len() as u64;
            let keys: u64 = pattern.row(row).map(|(tile, _)| grid.keys(tile).len() as u64).sum();
            work.visited += queries * keys;
            work.queries += if keys > 0 { queries } else { 0 };
            work.keys[0] += queries.div_ceil(64) * keys;
            work.keys[1] += queries.div_ceil(128) * keys;
        }
        work
    }
}

impl Sum for LayoutWork {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), |sum, work| Self {
            pairs: sum.pairs + work.pairs,
            visited: sum.visited + work.visited,
            queries: sum.queries + work.queries,
            keys: [sum.keys[0] + work.keys[0], sum.keys[1] + work.keys[1]],
        })
    }
}

/// `BlockLayoutParams` of `kernels/sparse/block_layout.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct BlockLayoutParams {
    words: u64,
    heads_at: i32,
    offsets_at: i32,
    tiles_at: i32,
    masks_at: i32,
    bits_at: i32,
    columns_at: i32,
    rows_at: i32,
    places_at: i32,
    num_heads: i32,
    num_patterns: i32,
    num_tiles: i32,
    num_bands: i32,
    num_masks: i32,
    query_tiles: i32,
    key_tiles: i32,
    tile_q_log2: i32,
    tile_k_log2: i32,
    /// Of an instance's tiles in a listed one.
    q_steps_log2: i32,
    q_last_step: i32,
    k_steps_log2: i32,
    k_last_step: i32,
    padding: i32,
}

// The kernels assert the same numbers.
const _: () = assert!(size_of::<BlockLayoutParams>() == 96 && offset_of!(BlockLayoutParams, query_tiles) == 60);

impl BlockLayoutParams {
    /// The number of words was checked to fit 32 bits, and with it all these. The instance's tiles of `block_m` queries and
    /// `block_n` keys divide the layout's.
    pub(super) fn new(layout: &LayoutOperand, [block_m, block_n]: [usize; 2]) -> Self {
        let LayoutOperand { address, grid, sizes, .. } = layout;
        let [heads_at, offsets_at, tiles_at, masks_at, bits_at, columns_at, rows_at, places_at, _] =
            sizes.places(grid).map(|place| place as i32);
        let (q_steps, k_steps) = (grid.tile_q() / block_m, grid.tile_k() / block_n);
        Self {
            words: *address,
            heads_at,
            offsets_at,
            tiles_at,
            masks_at,
            bits_at,
            columns_at,
            rows_at,
            places_at,
            num_heads: sizes.heads as i32,
            num_patterns: sizes.patterns as i32,
            num_tiles: sizes.tiles as i32,
            num_bands: sizes.bands as i32,
            num_masks: sizes.masks as i32,
            query_tiles: grid.query_tiles() as i32,
            key_tiles: grid.key_tiles() as i32,
            tile_q_log2: grid.tile_q().ilog2() as i32,
            tile_k_log2: grid.tile_k().ilog2() as i32,
            q_steps_log2: q_steps.ilog2() as i32,
            q_last_step: q_steps as i32 - 1,
            k_steps_log2: k_steps.ilog2() as i32,
            k_last_step: k_steps as i32 - 1,
            padding: 0,
        }
    }
}
