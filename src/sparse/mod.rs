//! Attention that visits some tiles of keys only.

mod block_layout;
pub mod block_sparse;
mod layout_operand;
mod pattern;
pub mod patterns;
mod tile_grid;

pub use block_layout::{BlockLayout, LayoutSizes};
#[doc(inline)]
pub use block_sparse::block_sparse;
pub use layout_operand::{LayoutOperand, LayoutWork};
pub use pattern::{Pattern, PatternParts, TileMask};
pub use tile_grid::{Band, TileGrid};

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[block_sparse::verify::ENTRY];
