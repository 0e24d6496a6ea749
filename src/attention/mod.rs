//! Attention.

mod cu_seqlens;
pub mod flash_forward;
pub mod philox;
pub(crate) mod score;

pub use cu_seqlens::{CuSeqlens, SequenceOperand};
#[doc(inline)]
pub use flash_forward::flash_forward;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[flash_forward::verify::ENTRY];
