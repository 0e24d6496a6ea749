//! Shuffles of whole warps: all 32 lanes, and all of them named.

use super::registers::Simd;
use super::value::Lanes;
use super::warp::Warp;
use crate::program::op::{ShuffleMode, WarpOperation};

/// Executes `shfl.sync` where all lanes are active and name all; `false` for any other warp operation.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn shuffle<S: Simd>(warp: &mut Warp, operation: &WarpOperation) -> bool {
    let WarpOperation::Shuffle { mode, d, p, a, b, c, mask } = *operation else { return false };
    let registers = &mut warp.registers;
    if warp.mask != u32::MAX || registers.word(mask).iter().fold(u32::MAX, |all, &named| all & named) != u32::MAX {
        return false;
    }
    let (amounts, controls) = (registers.word(b), registers.word(c));
    let (mut from, mut inside) = (Lanes::ZERO, Lanes::ZERO);
    for lane in 0..32 {
        let (amount, clamp) = (amounts[lane] & 31, controls[lane] & 31);
        let segment = controls[lane] >> 8 & 31;
        let own = lane as u32;
        let limit = own & segment | clamp & !segment;
        let source = match mode {
            ShuffleMode::Up => own.wrapping_sub(amount),
            ShuffleMode::Down => own + amount,
            ShuffleMode::Bfly => own ^ amount,
            ShuffleMode::Idx => own & segment | amount & !segment,
        };
        let reached = match mode {
            ShuffleMode::Up => source as i32 >= limit as i32,
            _ => source <= limit,
        };
        inside.0[lane] = 0u32.wrapping_sub(u32::from(reached));
        from.0[lane] = if reached { source } else { own };
    }
    // SAFETY: the caller's promise.
    let (picked, reached) = unsafe { (S::pick(registers.lanes(a), &from), S::bits(&inside)) };
    *registers.word_mut(d) = picked.0;
    if let Some(p) = p {
        registers.write_predicate::<true>(p, u32::MAX, reached);
    }
    true
}
