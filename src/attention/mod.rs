//! Attention.

pub mod append_kv;
mod block_table;
mod cache;
mod cu_seqlens;
pub mod decode;
pub mod flash_backward;
pub mod flash_forward;
pub mod merge;
pub mod philox;
pub(crate) mod score;
pub(crate) mod sequence_tensor;

#[doc(inline)]
pub use append_kv::append_kv;
pub use block_table::{BlockTable, PageOperand};
pub use cache::scales_layout;
pub use cu_seqlens::{CuSeqlens, SequenceOperand};
#[doc(inline)]
pub use decode::decode;
#[doc(inline)]
pub use flash_backward::flash_backward;
#[doc(inline)]
pub use flash_forward::flash_forward;
#[doc(inline)]
pub use merge::merge;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[
    flash_forward::verify::ENTRY,
    flash_backward::verify::ENTRY,
    merge::verify::ENTRY,
    decode::verify::ENTRY,
    append_kv::verify::ENTRY,
];
