//! Recurrences over positions, and what state-space models have around them.
//!
//! Tensors are `[b, s, ..]`; with sequences of various lengths (`cu_seqlens`) `[total, ..]`, one sequence after the
//! other. States, which a sequence ends with and the next call begins with, are `[b, ..]` without gaps.

pub mod causal_conv1d;
pub mod causal_conv1d_backward;
mod column_sum;
#[cfg(feature = "verify")]
mod described;
pub mod linear_recurrence;
pub mod recurrent_step;
pub mod selective_scan;
pub mod selective_scan_backward;
pub mod selective_step;
mod sequence_sizes;

#[doc(inline)]
pub use causal_conv1d::causal_conv1d;
#[doc(inline)]
pub use causal_conv1d_backward::causal_conv1d_backward;
#[doc(inline)]
pub use linear_recurrence::linear_recurrence;
#[doc(inline)]
pub use recurrent_step::recurrent_step;
#[doc(inline)]
pub use selective_scan::selective_scan;
#[doc(inline)]
pub use selective_scan_backward::selective_scan_backward;
#[doc(inline)]
pub use selective_step::selective_step;
pub use sequence_sizes::SequenceSizes;

/// The operators of this family, as `check`, `bench` and `run` see them.
#[cfg(feature = "verify")]
pub const OPS: &[crate::verify::Op] = &[
    causal_conv1d::verify::ENTRY,
    causal_conv1d_backward::verify::ENTRY,
    linear_recurrence::verify::ENTRY,
    recurrent_step::verify::ENTRY,
    selective_scan::verify::ENTRY,
    selective_scan_backward::verify::ENTRY,
    selective_step::verify::ENTRY,
];
