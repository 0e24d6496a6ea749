//! The small operators between the large ones, each reading its input once: norms, rotary positions, gates,
//! embeddings, sampling.
//!
//! Tensors are `[.., d]`: rows of neighbouring elements, of any length and in any type of f32, f16 and bf16, under up to
//! three outer dimensions with any strides. Where rows start at multiples of 16 bytes and their length is a multiple of
//! 8, lanes move 16 bytes at a time; other rows are taken too, with smaller accesses. Arithmetic is in f32.

#[cfg(feature = "verify")]
pub(crate) mod described;
pub mod embedding;
pub mod gated;
pub mod gated_backward;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope;
pub(crate) mod rows;
pub mod sample;
mod tiles;

#[doc(inline)]
pub use embedding::embedding;
#[doc(inline)]
pub use gated::gated;
#[doc(inline)]
pub use gated_backward::gated_backward;
#[doc(inline)]
pub use rms_norm::rms_norm;
#[doc(inline)]
pub use rms_norm_backward::rms_norm_backward;
#[doc(inline)]
pub use rope::rope;
#[doc(inline)]
pub use sample::sample;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[
    rms_norm::verify::ENTRY,
    rms_norm_backward::verify::ENTRY,
    rope::verify::ENTRY,
    gated::verify::ENTRY,
    gated_backward::verify::ENTRY,
    embedding::verify::ENTRY,
    sample::verify::ENTRY,
];
