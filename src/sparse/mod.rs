//! Attention that visits some tiles of keys only.

mod block_layout;
pub mod block_sparse;
pub mod block_sparse_backward;
mod layout_operand;
mod pattern;
pub mod patterns;
mod tile_grid;

pub use block_layout::{BlockLayout, LayoutSizes};
#[doc(inline)]
pub use block_sparse::block_sparse;
#[doc(inline)]
pub use block_sparse_backward::block_sparse_backward;
pub use layout_operand::{LayoutOperand, LayoutWork};
pub use pattern::{Pattern, PatternParts, TileMask};
pub use tile_grid::{Band, TileGrid};

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[block_sparse::verify::ENTRY, block_sparse_backward::verify::ENTRY];
