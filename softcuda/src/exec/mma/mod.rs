//! Matrix multiply-accumulate of a warp: pure functions from fragments to fragments.
//!
//! Fragments of A and B are taken apart into one common form (`table`, by `operand`), from which products are summed as the
//! emulated tensor cores do (`exact`), in plain f32 (`fast`), or in integers (`tile`). The bodies are generic over the
//! host's instruction set and always inlined; [`Multiplier`] is the compiled function of one [`Form`], to be looked up once.

#![allow(clippy::needless_range_loop, reason = "groups, rows and columns index several tables at once")]

pub mod double;
pub mod element;
mod exact;
mod fast;
pub mod form;
pub mod isa;
mod level;
mod memo;
mod operand;
mod quads;
mod second;
pub mod select;
pub(crate) mod sparse;
mod table;
mod tile;

pub use double::DoubleOperands;
pub use form::{Accumulator, Element, Form, Sparse, Variant};
pub use level::HostLevel;
pub use memo::Memo;
pub use select::{Arithmetic, Multiplier, TensorModel};
pub use tile::Operands;
