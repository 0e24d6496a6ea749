//! Queries and keys cut into tiles, and the bands of keys that rules show.

use std::ops::Range;

use crate::{Error, Result};

/// Most positions of a sequence: their sums and differences are 32-bit integers in kernels.
const MAX_POSITIONS: usize = 1 << 29;

/// A matrix of `s_q` queries and `s_k` keys, cut into tiles of `tile_q` by `tile_k`; the last ones may reach past its
/// ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileGrid {
    s_q: usize,
    s_k: usize,
    tile_q: usize,
    tile_k: usize,
}

impl TileGrid {
    /// # Errors
    /// [`Error::BlockLayout`] for tiles other than 64 and 128, [`Error::TooLarge`] beyond 2^29 positions.
    pub fn new([s_q, s_k]: [usize; 2], [tile_q, tile_k]: [usize; 2]) -> Result<Self> {
        for (name, tile) in [("tile_q", tile_q), ("tile_k", tile_k)] {
            if tile != 64 && tile != 128 {
                return Err(Error::BlockLayout { problem: format!("{name} is {tile}, expected 64 or 128") });
            }
        }
        for (what, got) in [("s_q", s_q), ("s_k", s_k)] {
            if got > MAX_POSITIONS {
                return Err(Error::TooLarge { op: "block_layout", what, got: got as u64, limit: MAX_POSITIONS as u64 });
            }
        }
        Ok(Self { s_q, s_k, tile_q, tile_k })
    }

    /// Queries.
    pub fn s_q(&self) -> usize {
        self.s_q
    }

    /// Keys.
    pub fn s_k(&self) -> usize {
        self.s_k
    }

    /// Queries of a tile.
    pub fn tile_q(&self) -> usize {
        self.tile_q
    }

    /// Keys of a tile.
    pub fn tile_k(&self) -> usize {
        self.tile_k
    }

    /// Tiles of queries.
    pub fn query_tiles(&self) -> usize {
        self.s_q.div_ceil(self.tile_q)
    }

    /// Tiles of keys.
    pub fn key_tiles(&self) -> usize {
        self.s_k.div_ceil(self.tile_k)
    }

    /// The queries of a tile of queries: those that exist.
    pub fn queries(&self, tile: usize) -> Range<usize> {
        (tile * self.tile_q).min(self.s_q)..((tile + 1) * self.tile_q).min(self.s_q)
    }

    /// The keys of a tile of keys: those that exist.
    pub fn keys(&self, tile: usize) -> Range<usize> {
        (tile * self.tile_k).min(self.s_k)..((tile + 1) * self.tile_k).min(self.s_k)
    }

    /// The key at which query `i` stands: the last query stands at the last key. Below 0 if there are more queries.
    pub fn place(&self, i: usize) -> i64 {
        i as i64 + self.diagonal()
    }

    /// The place of the first query.
    pub fn diagonal(&self) -> i64 {
        self.s_k as i64 - self.s_q as i64
    }

    /// `u32` words of the element mask of a tile: `[tile_q, tile_k / 32]`.
    pub fn mask_words(&self) -> usize {
        self.tile_q * (self.tile_k / 32)
    }
}

/// A band of elements: query `i` stands at place `i + diagonal`, and sees the keys from `place - left` to `place +
/// right`; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// The place of query 0.
    pub diagonal: i64,
    /// Keys seen before the place.
    pub left: Option<usize>,
    /// Keys seen after the place.
    pub right: Option<usize>,
}

impl Band {
    /// No key after the query's own place.
    pub fn causal(grid: &TileGrid) -> Self {
        Self { diagonal: grid.diagonal(), left: None, right: Some(0) }
    }

    /// The keys that query `i` sees, of `s_k`.
    pub fn keys(&self, i: usize, s_k: usize) -> Range<usize> {
        let place = i as i64 + self.diagonal;
        let first = self.left.map_or(0, |left| place.saturating_sub_unsigned(left as u64)).clamp(0, s_k as i64);
        let end = self.right.map_or(s_k as i64, |right| place.saturating_add_unsigned(right as u64).saturating_add(1));
        first as usize..end.clamp(first, s_k as i64) as usize
    }
}
