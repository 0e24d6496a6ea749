//! Data between host memory and register slots, once an access has been checked.
//!
//! Other host threads may run blocks that race for the same bytes. Device memory is therefore touched with relaxed
//! atomics, or in whole rows by a few lines of assembly: a racy guest program gets some value, never undefined behaviour
//! of ours.

use super::traffic::{self, lanes};
use super::warp::Warp;
use crate::program::op::{Access, Extension};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Data of 32 lanes, up to 32 bytes each, lane after lane.
#[repr(C, align(64))]
pub(super) struct Staging(pub(super) [u8; 1024]);

impl Staging {
    pub(super) fn new() -> Staging {
        Staging([0; 1024])
    }
}

/// Where the lanes of a checked access lie in host memory.
pub(super) struct Place {
    /// Host address of device (or shared) address 0, as a number: most of the range below it is not ours.
    pub(super) origin: usize,
    /// Lanes lie one after the other.
    pub(super) contiguous: bool,
}

impl Access {
    /// Bytes of one lane.
    #[inline(always)]
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.element_bytes) * self.data.len() as u64
    }
}

/// Lowest and highest address of the active lanes, and whether one of them is not a multiple of `bytes`.
#[inline(always)]
pub(super) fn extent(addresses: &[u64; 32], mask: u32, bytes: u64) -> (u64, u64, bool) {
    let (mut low, mut high, mut bits) = (u64::MAX, 0, 0);
    if mask == u32::MAX {
        for &address in addresses {
            low = low.min(address);
            high = high.max(address);
            bits |= address;
        }
    } else {
        for lane in lanes(mask) {
            low = low.min(addresses[lane]);
            high = high.max(addresses[lane]);
            bits |= addresses[lane];
        }
    }
    (low, high, bits & (bytes - 1) != 0)
}

/// Whether all 32 lanes are active and lie one after the other.
#[inline(always)]
pub(super) fn contiguous(addresses: &[u64; 32], mask: u32, bytes: u64) -> bool {
    let mut difference = 0;
    for (i, &address) in addresses.iter().enumerate() {
        difference |= address ^ addresses[0].wrapping_add(i as u64 * bytes);
    }
    mask == u32::MAX && difference == 0
}

/// Sectors of a request on device memory.
#[inline(always)]
pub(super) fn count_sectors(addresses: &[u64; 32], mask: u32, bytes: u64, contiguous: bool) -> u64 {
    if contiguous {
        return ((addresses[0] + 32 * bytes - 1) >> 5) - (addresses[0] >> 5) + 1;
    }
    traffic::sectors(addresses, mask, bytes)
}

/// Lanes whose generic address lies in a window.
pub(super) fn in_window(addresses: &[u64; 32], mask: u32, window: u64) -> u32 {
    let inside = |lane: &usize| addresses[*lane].wrapping_sub(window) < super::engine::WINDOW_BYTES;
    lanes(mask).filter(inside).fold(0, |found, lane| found | 1 << lane)
}

/// Copies `bytes` (a multiple of 16) between memory that other threads may be writing and memory of our own.
///
/// # Safety
/// Both ranges must be mapped; one of them must be this thread's own.
#[inline(always)]
unsafe fn copy_rows(from: *const u8, to: *mut u8, bytes: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's promise. Assembly, because a data race on the guest's memory must not be one of Rust's.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {x}, [{from} + {i}]",
            "movups [{to} + {i}], {x}",
            "add {i}, 16",
            "cmp {i}, {bytes}",
            "jb 2b",
            x = out(xmm_reg) _,
            i = inout(reg) 0usize => _,
            from = in(reg) from,
            to = in(reg) to,
            bytes = in(reg) bytes,
            options(nostack),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for offset in 0..bytes {
        // SAFETY: the caller's promise; single bytes are always aligned.
        unsafe {
            let value = (*from.add(offset).cast::<AtomicU8>()).load(Relaxed);
            (*to.add(offset).cast::<AtomicU8>()).store(value, Relaxed);
        }
    }
}

/// Copies one lane: 1, 2, 4, 8, 16 or 32 bytes between aligned addresses, guest memory at `from`.
///
/// # Safety
/// Both ranges must be mapped and aligned to `bytes` (8 at most on our side).
#[inline(always)]
pub(super) unsafe fn copy_lane(from: *const u8, to: *mut u8, bytes: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match bytes {
            1 => (*to.cast::<AtomicU8>()).store((*from.cast::<AtomicU8>()).load(Relaxed), Relaxed),
            2 => (*to.cast::<AtomicU16>()).store((*from.cast::<AtomicU16>()).load(Relaxed), Relaxed),
            4 => (*to.cast::<AtomicU32>()).store((*from.cast::<AtomicU32>()).load(Relaxed), Relaxed),
            _ => {
                for part in 0..(bytes / 8) as usize {
                    let value = (*from.cast::<AtomicU64>().add(part)).load(Relaxed);
                    (*to.cast::<AtomicU64>().add(part)).store(value, Relaxed);
                }
            }
        }
    }
}

/// Reads the active lanes.
///
/// # Safety
/// The lanes of `mask` must lie inside mapped memory, aligned to `bytes`.
#[inline(always)]
pub(super) unsafe fn fetch(staging: &mut Staging, place: &Place, addresses: &[u64; 32], mask: u32, bytes: u64) {
    let host = |lane: usize| (place.origin.wrapping_add(addresses[lane] as usize)) as *const u8;
    if place.contiguous && bytes >= 4 {
        // SAFETY: the caller's promise; the staging area has 32 bytes a lane.
        unsafe { copy_rows(host(0), staging.0.as_mut_ptr(), 32 * bytes as usize) };
        return;
    }
    for lane in lanes(mask) {
        // SAFETY: the caller's promise.
        unsafe { copy_lane(host(lane), staging.0.as_mut_ptr().add(lane * bytes as usize), bytes) };
    }
}

/// Writes the active lanes.
///
/// # Safety
/// As for [`fetch`].
#[inline(always)]
pub(super) unsafe fn put(staging: &Staging, place: &Place, addresses: &[u64; 32], mask: u32, bytes: u64) {
    let host = |lane: usize| (place.origin.wrapping_add(addresses[lane] as usize)) as *mut u8;
    if place.contiguous && bytes >= 4 {
        // SAFETY: the caller's promise; the staging area has 32 bytes a lane.
        unsafe { copy_rows(staging.0.as_ptr(), host(0), 32 * bytes as usize) };
        return;
    }
    for lane in lanes(mask) {
        // SAFETY: the caller's promise.
        unsafe { copy_lane(staging.0.as_ptr().add(lane * bytes as usize), host(lane), bytes) };
    }
}

#[inline(always)]
fn element<const N: usize>(staging: &Staging, index: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&staging.0[index * N..][..N]);
    bytes
}

/// Moves loaded data into the destination slots of the active lanes.
#[inline(always)]
pub(super) fn unpack(warp: &mut Warp, access: &Access, staging: &Staging, mask: u32) {
    let count = access.data.len();
    for (e, &slot) in access.data.iter().enumerate() {
        if access.wide {
            let row = warp.registers.double_mut(slot);
            for (lane, value) in row.iter_mut().enumerate() {
                if mask >> lane & 1 == 1 {
                    *value = u64::from_le_bytes(element(staging, lane * count + e));
                }
            }
            continue;
        }
        let row = warp.registers.word_mut(slot);
        let sign = access.extension == Extension::Sign;
        match access.element_bytes {
            4 if mask == u32::MAX => match count {
                1 => fill_words::<1>(row, staging, e),
                2 => fill_words::<2>(row, staging, e),
                _ => fill_words::<4>(row, staging, e),
            },
            width => {
                for lane in lanes(mask) {
                    let index = lane * count + e;
                    row[lane] = match (width, sign) {
                        (4, _) => u32::from_le_bytes(element(staging, index)),
                        (2, false) => u32::from(u16::from_le_bytes(element(staging, index))),
                        (2, true) => i16::from_le_bytes(element(staging, index)) as u32,
                        (_, false) => u32::from(element::<1>(staging, index)[0]),
                        (_, true) => element::<1>(staging, index)[0] as i8 as u32,
                    };
                }
            }
        }
    }
}

#[inline(always)]
fn fill_words<const COUNT: usize>(row: &mut [u32; 32], staging: &Staging, e: usize) {
    for (lane, value) in row.iter_mut().enumerate() {
        *value = u32::from_le_bytes(element(staging, lane * COUNT + e));
    }
}

/// Collects the source slots of a store, lane after lane.
#[inline(always)]
pub(super) fn pack(warp: &Warp, access: &Access, staging: &mut Staging) {
    let count = access.data.len();
    let width = access.element_bytes as usize;
    for (e, &slot) in access.data.iter().enumerate() {
        if access.wide {
            for (lane, value) in warp.registers.double(slot).iter().enumerate() {
                staging.0[(lane * count + e) * 8..][..8].copy_from_slice(&value.to_le_bytes());
            }
            continue;
        }
        let row = warp.registers.word(slot);
        match width {
            4 => {
                for (lane, value) in row.iter().enumerate() {
                    staging.0[(lane * count + e) * 4..][..4].copy_from_slice(&value.to_le_bytes());
                }
            }
            _ => {
                for (lane, value) in row.iter().enumerate() {
                    staging.0[(lane * count + e) * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
                }
            }
        }
    }
}
