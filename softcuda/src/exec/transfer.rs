//! Data between host memory and register slots, once an access has been checked.
//!
//! Other host threads may run blocks that race for the same bytes. Device memory is therefore touched by instructions of the
//! host (`guest`, and whole rows in `simd`): a racy guest program gets some value, never undefined behaviour of ours.

use super::guest::{self, copy_lane, gather_half, load_word, store_word};
use super::registers::Simd;
use super::shape::{Halves, Run, Shape};
use super::traffic::lanes;
use super::warp::Warp;
use crate::program::op::{Access, Extension};
use std::mem::MaybeUninit;

/// Data of 32 lanes, up to 32 bytes each, lane after lane; only what an access moves is ever initialised.
#[repr(C, align(64))]
pub(super) struct Staging(MaybeUninit<[u8; 1024]>);

impl Staging {
    #[inline(always)]
    pub(super) fn new() -> Staging {
        Staging(MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(super) fn pointer(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    /// Element `index` of `N` bytes.
    ///
    /// # Safety
    /// It must have been written.
    #[inline(always)]
    unsafe fn element<const N: usize>(&self, index: usize) -> [u8; N] {
        debug_assert!((index + 1) * N <= 1024, "within the staging area");
        // SAFETY: the caller's promise.
        unsafe { self.0.as_ptr().cast::<u8>().add(index * N).cast::<[u8; N]>().read() }
    }
}

impl Access {
    /// Bytes of one lane.
    #[inline(always)]
    pub(super) fn bytes(&self) -> u32 {
        self.element_bytes * self.data.len() as u32
    }
}

/// Lanes whose generic address lies in a window.
pub(super) fn in_window(addresses: &[u64; 32], mask: u32, window: u64) -> u32 {
    let inside = |lane: &usize| addresses[*lane].wrapping_sub(window) < super::engine::WINDOW_BYTES;
    lanes(mask).filter(inside).fold(0, |found, lane| found | 1 << lane)
}

/// Reads one word a lane of device memory into a slot; `shift` is the host address of device address 0.
///
/// # Safety
/// The halves must lie inside mapped memory, aligned to 4.
#[inline(always)]
pub(super) unsafe fn load_words<S: Simd>(row: &mut [u32; 32], shift: usize, halves: &Halves) {
    for half in 0..2 {
        let from = shift.wrapping_add(halves.first[half] as usize) as *const u8;
        let to = &mut row[16 * half..16 * half + 16];
        // SAFETY: the caller's promise.
        unsafe {
            if halves.runs[half] == Run::Contiguous {
                S::copy64(from, to.as_mut_ptr().cast());
            } else {
                to.fill(load_word(from));
            }
        }
    }
}

/// Writes one word a lane from a slot; lanes at one address do so in lane order.
///
/// # Safety
/// As for [`load_words`].
#[inline(always)]
pub(super) unsafe fn store_words<S: Simd>(row: &[u32; 32], shift: usize, halves: &Halves) {
    for half in 0..2 {
        let to = shift.wrapping_add(halves.first[half] as usize) as *mut u8;
        let from = &row[16 * half..16 * half + 16];
        // SAFETY: the caller's promise.
        unsafe {
            if halves.runs[half] == Run::Contiguous {
                if guest::WHOLE_MOVES {
                    S::copy64(from.as_ptr().cast(), to);
                } else {
                    from.iter().enumerate().for_each(|(lane, &word)| store_word(to.add(4 * lane), word));
                }
            } else {
                store_word(to, from[15]);
            }
        }
    }
}

/// Writes one word a lane where `mask` says so, in lane order; `host` is the address of offset 0.
///
/// # Safety
/// The words must be mapped and aligned.
#[inline(always)]
pub(super) unsafe fn scatter(row: &[u32; 32], host: usize, offsets: &[u32; 32], mask: u32) {
    for lane in lanes(mask) {
        let word = host.wrapping_add(offsets[lane] as usize) as *mut u8;
        // SAFETY: the caller's promise.
        unsafe { store_word(word, row[lane]) };
    }
}

/// Reads one word a lane of shared memory, which this thread alone touches.
///
/// # Safety
/// The halves must lie inside the memory at `shared`, aligned to 4.
#[inline(always)]
pub(super) unsafe fn load_shared_words(row: &mut [u32; 32], shared: *const u8, halves: &Halves) {
    for half in 0..2 {
        let to = &mut row[16 * half..16 * half + 16];
        // SAFETY: the caller's promise.
        unsafe {
            let from = shared.add(halves.first[half] as usize);
            if halves.runs[half] == Run::Contiguous {
                to.copy_from_slice(&from.cast::<[u32; 16]>().read());
            } else {
                to.fill(from.cast::<u32>().read());
            }
        }
    }
}

/// Writes one word a lane of shared memory; lanes at one address do so in lane order.
///
/// # Safety
/// As for [`load_shared_words`].
#[inline(always)]
pub(super) unsafe fn store_shared_words(row: &[u32; 32], shared: *mut u8, halves: &Halves) {
    for half in 0..2 {
        let from = &row[16 * half..16 * half + 16];
        // SAFETY: the caller's promise.
        unsafe {
            let to = shared.add(halves.first[half] as usize);
            if halves.runs[half] == Run::Contiguous {
                std::ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), 16);
            } else {
                to.cast::<u32>().write(from[15]);
            }
        }
    }
}

/// Reads the active lanes; `origin` is the host address of offset 0.
///
/// # Safety
/// The lanes of `mask` must lie inside mapped memory, aligned to their size.
#[inline(always)]
pub(super) unsafe fn fetch<S: Simd>(staging: &mut Staging, origin: usize, shape: &Shape<'_>, mask: u32) {
    let to = staging.pointer();
    let bytes = shape.bytes;
    let host = |lane: usize| origin.wrapping_add(shape.offsets[lane] as usize) as *const u8;
    for half in 0..2 {
        let first = 16 * half;
        // SAFETY: the caller's promise; the staging area has 32 bytes a lane.
        unsafe {
            match shape.runs[half] {
                Run::Contiguous => S::copy(host(first), to.add(first * bytes as usize), 16 * bytes as usize),
                _ if mask >> first & 0xffff == 0xffff => {
                    gather_half(|lane| host(first + lane), to.add(first * bytes as usize), bytes);
                }
                Run::Uniform | Run::Scattered => {
                    for lane in lanes(mask & 0xffff << first) {
                        copy_lane(host(lane), to.add(lane * bytes as usize), bytes);
                    }
                }
            }
        }
    }
}

/// Writes the active lanes.
///
/// # Safety
/// As for [`fetch`], and the staging area must hold the data of the active lanes.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(staging: &mut Staging, origin: usize, shape: &Shape<'_>, mask: u32) {
    let from = staging.pointer();
    let bytes = shape.bytes;
    let host = |lane: usize| origin.wrapping_add(shape.offsets[lane] as usize) as *mut u8;
    for half in 0..2 {
        let first = 16 * half;
        // SAFETY: the caller's promise.
        unsafe {
            if shape.runs[half] == Run::Contiguous {
                S::copy(from.add(first * bytes as usize), host(first), 16 * bytes as usize);
                continue;
            }
            // Lanes that write to one address do so in lane order: the last one wins.
            for lane in lanes(mask & 0xffff << first) {
                copy_lane(from.add(lane * bytes as usize), host(lane), bytes);
            }
        }
    }
}

/// Moves loaded data into the destination slots of the active lanes.
///
/// # Safety
/// The staging area must hold the data of the active lanes.
#[inline(always)]
pub(super) unsafe fn unpack(warp: &mut Warp, access: &Access, staging: &Staging, mask: u32) {
    let count = access.data.len();
    for (e, &slot) in access.data.iter().enumerate() {
        if access.wide {
            let row = warp.registers.double_mut(slot);
            for lane in lanes(mask) {
                // SAFETY: the caller's promise.
                row[lane] = u64::from_le_bytes(unsafe { staging.element(lane * count + e) });
            }
            continue;
        }
        let row = warp.registers.word_mut(slot);
        let sign = access.extension == Extension::Sign;
        match access.element_bytes {
            // SAFETY: the caller's promise, for all three.
            4 if mask == u32::MAX => unsafe {
                match count {
                    1 => fill_words::<1>(row, staging, e),
                    2 => fill_words::<2>(row, staging, e),
                    _ => fill_words::<4>(row, staging, e),
                }
            },
            // SAFETY: the caller's promise.
            2 if mask == u32::MAX => unsafe {
                if sign {
                    fill::<2>(row, staging, e, count, |bytes| i32::from(i16::from_le_bytes(bytes)) as u32);
                } else {
                    fill::<2>(row, staging, e, count, |bytes| u32::from(u16::from_le_bytes(bytes)));
                }
            },
            // SAFETY: the caller's promise.
            1 if mask == u32::MAX => unsafe {
                if sign {
                    fill::<1>(row, staging, e, count, |[byte]| i32::from(byte as i8) as u32);
                } else {
                    fill::<1>(row, staging, e, count, |[byte]| u32::from(byte));
                }
            },
            width => {
                for lane in lanes(mask) {
                    let index = lane * count + e;
                    // SAFETY: the caller's promise.
                    row[lane] = unsafe {
                        match (width, sign) {
                            (4, _) => u32::from_le_bytes(staging.element(index)),
                            (2, false) => u32::from(u16::from_le_bytes(staging.element(index))),
                            (2, true) => i32::from(i16::from_le_bytes(staging.element(index))) as u32,
                            (_, false) => u32::from(staging.element::<1>(index)[0]),
                            (_, true) => i32::from(staging.element::<1>(index)[0] as i8) as u32,
                        }
                    };
                }
            }
        }
    }
}

/// # Safety
/// As for [`unpack`], with all lanes active.
#[inline(always)]
unsafe fn fill_words<const COUNT: usize>(row: &mut [u32; 32], staging: &Staging, e: usize) {
    for (lane, value) in row.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *value = u32::from_le_bytes(unsafe { staging.element(lane * COUNT + e) });
    }
}

/// # Safety
/// As for [`unpack`], with all lanes active.
#[inline(always)]
unsafe fn fill<const WIDTH: usize>(
    row: &mut [u32; 32],
    staging: &Staging,
    e: usize,
    count: usize,
    value: impl Fn([u8; WIDTH]) -> u32,
) {
    for (lane, word) in row.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *word = value(unsafe { staging.element(lane * count + e) });
    }
}

/// Collects the source slots of a store, lane after lane, inactive lanes too.
#[inline(always)]
pub(super) fn pack(warp: &Warp, access: &Access, staging: &mut Staging) {
    let count = access.data.len();
    let width = access.element_bytes as usize;
    let to = staging.pointer();
    for (e, &slot) in access.data.iter().enumerate() {
        // SAFETY: an access has at most 32 bytes a lane, and the staging area room for that; sources are as long as `width`.
        unsafe {
            if access.wide {
                for (lane, value) in warp.registers.double(slot).iter().enumerate() {
                    to.add((lane * count + e) * 8).cast::<u64>().write(*value);
                }
                continue;
            }
            let row = warp.registers.word(slot);
            match width {
                4 => {
                    for (lane, value) in row.iter().enumerate() {
                        to.add((lane * count + e) * 4).cast::<u32>().write(*value);
                    }
                }
                2 => {
                    for (lane, &value) in row.iter().enumerate() {
                        to.add((lane * count + e) * 2).cast::<u16>().write(value as u16);
                    }
                }
                _ => {
                    for (lane, &value) in row.iter().enumerate() {
                        to.add(lane * count + e).write(value as u8);
                    }
                }
            }
        }
    }
}
