//! Products with quantised weights.

mod definition;
mod element_type;
mod format;
pub mod gguf;
pub mod gguf_rows;
mod packed;
#[cfg(feature = "verify")]
pub mod sample;
#[cfg(feature = "verify")]
mod verify;

pub use format::Format;
#[doc(inline)]
pub use gguf::gguf;
#[doc(inline)]
pub use gguf_rows::gguf_rows;
pub use packed::{PackedOperand, PackedTensor};

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[gguf::verify::ENTRY, gguf_rows::verify::ENTRY];
