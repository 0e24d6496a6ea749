//! Recurrences over positions, and what state-space models have around them.
//!
//! Tensors are `[b, s, ..]`; with sequences of various lengths (`cu_seqlens`) `[total, ..]`, one sequence after the
//! other. States, which a sequence ends with and the next call begins with, are `[b, ..]` without gaps.

pub mod linear_recurrence;
pub mod linear_recurrence_backward;
pub mod recurrent_step;
mod sequence_sizes;

#[doc(inline)]
pub use linear_recurrence::linear_recurrence;
#[doc(inline)]
pub use linear_recurrence_backward::linear_recurrence_backward;
#[doc(inline)]
pub use recurrent_step::recurrent_step;
pub use sequence_sizes::SequenceSizes;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] =
    &[linear_recurrence::verify::ENTRY, linear_recurrence_backward::verify::ENTRY, recurrent_step::verify::ENTRY];
