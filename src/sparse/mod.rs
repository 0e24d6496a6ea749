//! Attention that visits some tiles of keys only.

mod block_layout;
mod pattern;
pub mod patterns;
mod tile_grid;

pub use block_layout::{BlockLayout, LayoutSizes};
pub use pattern::{Pattern, PatternParts, TileMask};
pub use tile_grid::{Band, TileGrid};
