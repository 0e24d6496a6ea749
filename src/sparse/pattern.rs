//! Which tiles a head visits: the host's form of a layout.

use std::collections::HashMap;
use std::ops::Range;

use super::{Band, TileGrid};
use crate::{Error, Result};

/// Which elements of a visited tile are seen, of those that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileMask {
    /// All.
    Full,
    /// Those of a band, by its place in [`Pattern::bands`].
    Band(usize),
    /// Those whose bit is set, by the mask's place in [`Pattern::bits`].
    Bits(usize),
}

/// The tiles that one head visits, as compressed rows: tile `r` of queries visits the tiles `tiles[offsets[r] ..
/// offsets[r + 1]]` of keys, in rising order, each with the elements of it that are seen. Element masks that repeat are
/// kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    grid: TileGrid,
    offsets: Vec<usize>,
    tiles: Vec<usize>,
    masks: Vec<TileMask>,
    bands: Vec<Band>,
    bits: Vec<u32>,
}

/// The parts of a [`Pattern`], as an author of a layout gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternParts {
    /// `[query_tiles + 1]`: where the tiles of each row begin, and the number of all.
    pub offsets: Vec<usize>,
    /// Tiles of keys, of one row after the other.
    pub tiles: Vec<usize>,
    /// As many as tiles.
    pub masks: Vec<TileMask>,
    /// What masks name.
    pub bands: Vec<Band>,
    /// What masks name: `[masks, tile_q, tile_k / 32]`; key `j` of a tile is bit `j % 32` of word `j / 32`.
    pub bits: Vec<u32>,
}

fn problem<T>(problem: String) -> Result<T> {
    Err(Error::BlockLayout { problem })
}

impl Pattern {
    /// Checks the parts.
    ///
    /// # Errors
    /// [`Error::BlockLayout`]: offsets that are too few, don't begin with 0, fall, or don't end at the number of tiles; a
    /// number of masks other than of tiles; a tile out of range, twice in a row, or out of order; a mask that names no band
    /// or no bits; bits that are no whole masks; a band with numbers beyond 2^29.
    pub fn new(grid: TileGrid, parts: PatternParts) -> Result<Self> {
        let PatternParts { offsets, tiles, masks, bands, bits } = parts;
        let (rows, words) = (grid.query_tiles(), grid.mask_words());
        if offsets.len() != rows + 1 {
            let (got, s_q, tile) = (offsets.len(), grid.s_q(), grid.tile_q());
            return problem(format!("{got} offsets, expected {} (tiles of {tile} in {s_q} queries, and 1)", rows + 1));
        }
        if offsets[0] != 0 {
            return problem(format!("offsets[0] is {}, expected 0", offsets[0]));
        }
        if let Some(at) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            let (got, before) = (offsets[at + 1], offsets[at]);
            return problem(format!("offsets[{}] is {got}, expected at least {before} (= offsets[{at}])", at + 1));
        }
        if offsets[rows] != tiles.len() {
            return problem(format!("the last offset is {}, expected {} (= tiles)", offsets[rows], tiles.len()));
        }
        if masks.len() != tiles.len() {
            return problem(format!("{} masks, expected {} (= tiles)", masks.len(), tiles.len()));
        }
        if bits.len() % words != 0 {
            return problem(format!("{} words of bits, expected a multiple of {words} (a tile)", bits.len()));
        }
        for (row, range) in offsets.windows(2).enumerate() {
            let tiles = &tiles[range[0]..range[1]];
            if let Some(tile) = tiles.iter().find(|tile| **tile >= grid.key_tiles()) {
                return problem(format!("row {row} has tile {tile}, expected one below {}", grid.key_tiles()));
            }
            if let Some(pair) = tiles.windows(2).find(|pair| pair[1] <= pair[0]) {
                return problem(match pair[1] == pair[0] {
                    true => format!("row {row} has tile {} twice", pair[0]),
                    false => format!("row {row} has tile {} after {}, expected rising order", pair[1], pair[0]),
                });
            }
        }
        for (at, mask) in masks.iter().enumerate() {
            let (kind, index, count) = match *mask {
                TileMask::Full => continue,
                TileMask::Band(band) => ("band", band, bands.len()),
                TileMask::Bits(mask) => ("bits", mask, bits.len() / words),
            };
            if index >= count {
                return problem(format!("masks[{at}] names {kind} {index}, expected one below {count}"));
            }
        }
        for (at, band) in bands.iter().enumerate() {
            let numbers = [Some(band.diagonal.unsigned_abs() as usize), band.left, band.right];
            if let Some(number) = numbers.into_iter().flatten().find(|number| *number > 1 << 29) {
                return problem(format!("bands[{at}] has {number}, the limit is 2^29"));
            }
        }
        Ok(Self { grid, offsets, tiles, masks, bands, bits })
    }

    /// The tiles that hold what each query sees: `rows(i)` are ranges of keys, in any order, which may overlap and reach
    /// past the last key. A tile that is not seen whole becomes one of the `bands` if one shows the same of it, else bits.
    pub fn from_rows(grid: TileGrid, bands: &[Band], rows: impl Fn(usize) -> Vec<Range<usize>>) -> Result<Self> {
        let words = grid.tile_k() / 32;
        let mut parts = PatternParts { offsets: vec![0], bands: bands.to_vec(), ..Default::default() };
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut seen = vec![0_usize; grid.key_tiles()];
        for row in 0..grid.query_tiles() {
            let queries = grid.queries(row);
            let keys_of: Vec<_> = queries.clone().map(|i| merged(rows(i), grid.s_k())).collect();
            seen.fill(0);
            for_each_cut(&grid, &keys_of, |_, tile, keys| seen[tile] += keys.len());
            // The words of the mask of each tile that is seen in part.
            let partial = |tile: &usize| seen[*tile] > 0 && seen[*tile] < queries.len() * grid.keys(*tile).len();
            let mut masks: HashMap<usize, Vec<u32>> =
                (0..seen.len()).filter(partial).map(|tile| (tile, vec![0; grid.mask_words()])).collect();
            for_each_cut(&grid, &keys_of, |row, tile, keys| {
                if let Some(mask) = masks.get_mut(&tile) {
                    set_bits(&mut mask[row * words..][..words], keys);
                }
            });
            for tile in (0..seen.len()).filter(|&tile| seen[tile] > 0) {
                parts.tiles.push(tile);
                parts.masks.push(match masks.remove(&tile) {
                    None => TileMask::Full,
                    Some(mask) => match bands.iter().position(|band| band_bits(&grid, band, row, tile) == mask) {
                        Some(band) => TileMask::Band(band),
                        None => {
                            let count = known.len();
                            TileMask::Bits(*known.entry(mask).or_insert_with_key(|mask| {
                                parts.bits.extend(mask);
                                count
                            }))
                        }
                    },
                });
            }
            parts.offsets.push(parts.tiles.len());
        }
        Self::new(grid, parts)
    }

    /// The tiles of an element mask: `sees(i, j)` is asked once of each query and key.
    pub fn from_elements(grid: TileGrid, sees: impl Fn(usize, usize) -> bool) -> Result<Self> {
        let row = |i: usize| (0..grid.s_k()).filter(|&j| sees(i, j)).map(|j| j..j + 1).collect();
        Self::from_rows(grid, &[Band::causal(&grid)], row)
    }

    /// All tiles, whole: dense attention.
    pub fn full(grid: TileGrid) -> Result<Self> {
        Self::from_rows(grid, &[], |_| std::iter::once(0..grid.s_k()).collect())
    }

    /// The tiles.
    pub fn grid(&self) -> &TileGrid {
        &self.grid
    }

    /// The tiles of keys that a tile of queries visits, and what is seen of each.
    pub fn row(&self, row: usize) -> impl DoubleEndedIterator<Item = (usize, TileMask)> + '_ {
        let range = self.offsets[row]..self.offsets[row + 1];
        self.tiles[range.clone()].iter().copied().zip(self.masks[range].iter().copied())
    }

    /// Where the tiles of each row begin, and the number of all.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Visited tiles of keys, of one row after the other.
    pub fn tiles(&self) -> &[usize] {
        &self.tiles
    }

    /// What is seen of each visited tile.
    pub fn masks(&self) -> &[TileMask] {
        &self.masks
    }

    /// Bands that masks name.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Bits that masks name, `[masks, tile_q, tile_k / 32]`.
    pub fn bits(&self) -> &[u32] {
        &self.bits
    }

    /// Whether query `i` sees key `j`, both of which must exist.
    pub fn sees(&self, i: usize, j: usize) -> bool {
        let (tile_q, tile_k) = (self.grid.tile_q(), self.grid.tile_k());
        let row = i / tile_q;
        let range = self.offsets[row]..self.offsets[row + 1];
        let Ok(at) = self.tiles[range.clone()].binary_search(&(j / tile_k)) else { return false };
        match self.masks[range.start + at] {
            TileMask::Full => true,
            TileMask::Band(band) => self.bands[band].keys(i, self.grid.s_k()).contains(&j),
            TileMask::Bits(mask) => {
                let (row, key) = (i % tile_q, j % tile_k);
                self.bits[mask * self.grid.mask_words() + row * (tile_k / 32) + key / 32] >> (key % 32) & 1 == 1
            }
        }
    }

    /// Pairs of a query and a key that it sees.
    pub fn visible_pairs(&self) -> u64 {
        let words = self.grid.mask_words();
        let of_row = |row: usize| {
            let queries = self.grid.queries(row);
            let of_tile = move |(tile, mask): (usize, TileMask)| {
                let keys = self.grid.keys(tile);
                match mask {
                    TileMask::Full => (queries.len() * keys.len()) as u64,
                    TileMask::Band(band) => {
                        let seen = |i| self.bands[band].keys(i, self.grid.s_k());
                        let both =
                            |range: Range<usize>| range.end.min(keys.end).saturating_sub(range.start.max(keys.start));
                        queries.clone().map(|i| both(seen(i)) as u64).sum()
                    }
                    TileMask::Bits(mask) => {
                        // Of elements that don't exist an author may have set bits.
                        let word = |at: usize| self.bits[mask * words + at];
                        let row_words = self.grid.tile_k() / 32;
                        let exists = |at: usize| {
                            let left = keys.len().saturating_sub(at % row_words * 32).min(32);
                            if at / row_words < queries.len() { ((1_u64 << left) - 1) as u32 } else { 0 }
                        };
                        (0..words).map(|at| u64::from((word(at) & exists(at)).count_ones())).sum()
                    }
                }
            };
            self.row(row).map(of_tile).sum::<u64>()
        };
        (0..self.grid.query_tiles()).map(of_row).sum()
    }
}

/// Calls `visit(row, tile, keys)` for each cut of a range of keys with a tile, keys counted from the tile's first.
fn for_each_cut(grid: &TileGrid, rows: &[Vec<Range<usize>>], mut visit: impl FnMut(usize, usize, Range<usize>)) {
    for (row, ranges) in rows.iter().enumerate() {
        for range in ranges {
            for tile in range.start / grid.tile_k()..range.end.div_ceil(grid.tile_k()) {
                let keys = grid.keys(tile);
                visit(row, tile, range.start.max(keys.start) - keys.start..range.end.min(keys.end) - keys.start);
            }
        }
    }
}

/// Ranges in order, apart from each other and within `0..s_k`.
fn merged(mut ranges: Vec<Range<usize>>, s_k: usize) -> Vec<Range<usize>> {
    ranges.retain(|range| range.start < range.end.min(s_k));
    ranges.sort_unstable_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end.min(s_k)),
            _ => apart.push(range.start..range.end.min(s_k)),
        }
    }
    apart
}

fn set_bits(words: &mut [u32], keys: Range<usize>) {
    for key in keys {
        words[key / 32] |= 1 << (key % 32);
    }
}

/// What a band shows of a tile.
fn band_bits(grid: &TileGrid, band: &Band, row: usize, tile: usize) -> Vec<u32> {
    let words = grid.tile_k() / 32;
    let mut mask = vec![0; grid.mask_words()];
    for (mask, i) in mask.chunks_mut(words).zip(grid.queries(row)) {
        set_bits(mask, cut(band.keys(i, grid.s_k()), grid.keys(tile)));
    }
    mask
}

/// The part of a range within the keys of a tile, counted from their first.
fn cut(range: Range<usize>, keys: Range<usize>) -> Range<usize> {
    let start = range.start.clamp(keys.start, keys.end);
    start - keys.start..range.end.clamp(start, keys.end) - keys.start
}
