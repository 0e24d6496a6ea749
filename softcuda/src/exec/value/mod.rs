//! Values of PTX instructions as pure functions: no machine state, one lane at a time.
//!
//! Every function is `#[inline(always)]` and free of branches where speed matters, so that a loop over [`Lanes`] inside a
//! `#[target_feature]` function becomes vector code. Results do not depend on the host's instruction set: no libm of the
//! host's, fused operations only where they are asked for, and every NaN result is PTX's canonical one.
//!
//! f32 and f64 are Rust's; f16 and bf16 are bits (`u16`); pairs are `u32`, the first value in the low half.

pub mod approximate;
pub mod bits;
pub mod exact;
pub mod float;
pub mod half_arithmetic;
pub mod half_precision;
pub mod integer;
pub mod rounding;
pub mod small;

/// One 32-bit register of a warp, a value per lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Lanes(pub [u32; 32]);

impl Lanes {
    /// All lanes zero.
    pub const ZERO: Self = Self([0; 32]);
}

impl Default for Lanes {
    fn default() -> Self {
        Self::ZERO
    }
}
