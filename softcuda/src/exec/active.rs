//! Which lanes an operation writes, and how.

use super::registers::Registers;
use super::value::Lanes;

/// Lanes that an operation writes.
#[derive(Clone, Copy)]
pub(crate) struct Active {
    /// Bit i: lane i.
    pub(crate) mask: u32,
    /// All ones where active.
    pub(crate) lanes: Lanes,
}

impl Active {
    /// All lanes.
    pub(crate) const ALL: Active = Active { mask: u32::MAX, lanes: Lanes([u32::MAX; 32]) };
}

/// Writes a 32-bit result: everywhere, or where active.
#[inline(always)]
pub(crate) fn write32<const FULL: bool>(registers: &mut Registers, d: u16, result: &[u32; 32], active: &Active) {
    let row = registers.word_mut(d);
    if FULL {
        *row = *result;
    } else {
        // Copies: the compiler need not ask then whether the rows overlap.
        let (old, lanes) = (*row, active.lanes.0);
        let mut blend = [0; 32];
        for i in 0..32 {
            blend[i] = old[i] & !lanes[i] | result[i] & lanes[i];
        }
        *row = blend;
    }
}

/// Writes a 64-bit result.
#[inline(always)]
pub(crate) fn write64<const FULL: bool>(registers: &mut Registers, d: u16, result: &[u64; 32], active: &Active) {
    let row = registers.double_mut(d);
    if FULL {
        *row = *result;
    } else {
        let (old, lanes) = (*row, active.lanes.0);
        let mut blend = [0; 32];
        for i in 0..32 {
            let lane = lanes[i] as i32 as i64 as u64;
            blend[i] = old[i] & !lane | result[i] & lane;
        }
        *row = blend;
    }
}
