//! Rotations by a position, as kernels take them.

use crate::Operand;

/// `Rotation` of `kernels/common/rotation.cuh`. All zero stands for none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Rotation {
    inverse_frequencies: u64,
    num_pairs: u32,
    magnitude: f32,
    interleaved: i32,
    inverse: i32,
}

const _: () = assert!(size_of::<Rotation>() == 24);

impl Rotation {
    /// By frequencies `[n]`, whose number was checked to fit 32 bits.
    pub(crate) fn new(inverse_frequencies: &Operand, interleaved: bool, inverse: bool, magnitude: f32) -> Self {
        Self {
            inverse_frequencies: inverse_frequencies.address,
            num_pairs: inverse_frequencies.layout.len() as u32,
            magnitude,
            interleaved: interleaved.into(),
            inverse: inverse.into(),
        }
    }
}
