//! Plain loops.

use super::{Classes, Simd};
use crate::exec::value::Lanes;

/// Plain loops.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Simd for Plain {
    const FMA: bool = false;
    #[inline(always)]
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes {
        let (mut wrong, mut apart, mut stepped) = (0, 0, 0);
        for (lane, &offset) in offsets.0.iter().enumerate() {
            let first = offsets.0[lane & 16];
            wrong |= u32::from(offset > limit || offset & (bytes - 1) != 0) << lane;
            apart |= u32::from(offset != first) << lane;
            stepped |= u32::from(offset != first.wrapping_add((lane & 15) as u32 * bytes)) << lane;
        }
        Classes { wrong, apart, stepped }
    }
    #[inline(always)]
    unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: the caller's promise.
        unsafe {
            rows!("movups xmm0, [{from} + {i}]", "movups [{to} + {i}], xmm0", 16, from, to, bytes);
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        // SAFETY: the caller's promise.
        unsafe {
            crate::exec::guest::copy_bytes(from, to, bytes);
        }
    }
    #[inline(always)]
    unsafe fn bits(lanes: &Lanes) -> u32 {
        lanes.0.iter().enumerate().fold(0, |mask, (i, &lane)| mask | (lane >> 31) << i)
    }
    #[inline(always)]
    unsafe fn expand(mask: u32) -> Lanes {
        let mut row = Lanes([0; 32]);
        for (i, lane) in row.0.iter_mut().enumerate() {
            *lane = 0u32.wrapping_sub(mask >> i & 1);
        }
        row
    }
}
