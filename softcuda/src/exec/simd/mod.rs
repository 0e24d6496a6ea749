//! The few vector primitives that the compiler does not make of plain loops: one implementation for each set of the host's
//! vector instructions.

use super::guest;
use super::traffic::lanes;
use super::value::Lanes;

/// Properties of 32 offsets, one bit a lane.
pub(crate) struct Classes {
    /// Above the limit, or no multiple of the size.
    pub(crate) wrong: u32,
    /// Not the offset of the first lane of its half.
    pub(crate) apart: u32,
    /// Not as many sizes behind the first lane of its half as its number says.
    pub(crate) stepped: u32,
}

/// What the compiler does not make of plain loops by itself, one implementation an instruction-set level.
pub(crate) trait Simd: Copy {
    /// Fused multiply-add is an instruction of this level.
    const FMA: bool;
    /// Bit i is the top bit of lane i.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    unsafe fn bits(lanes: &Lanes) -> u32;
    /// How offsets lie: see [`Classes`]. `bytes` is a power of two.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes;
    /// Copies `bytes` (a multiple of 16) between memory that other threads may be writing and memory of our own.
    ///
    /// In assembly, because a data race on the guest's memory must not be one of Rust's; one encoding a level, because
    /// mixing those of SSE and AVX stalls.
    ///
    /// # Safety
    /// Both ranges must be mapped, one of them this thread's own, and the level's instructions exist on this host.
    unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize);
    /// The same for 64 bytes, without a loop.
    ///
    /// # Safety
    /// As for [`copy`](Self::copy).
    #[inline(always)]
    unsafe fn copy64(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { Self::copy(from, to, 64) };
    }
    /// Lane i is all ones where bit i is set.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    unsafe fn expand(mask: u32) -> Lanes;
    /// Whether each half of a row of addresses of words lies so: contiguous, or all at one address.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    #[inline(always)]
    unsafe fn lie_narrow<const LOW: bool, const HIGH: bool>(addresses: &[u32; 32]) -> bool {
        let apart = |half: usize, step: u32| {
            let first = addresses[half];
            (0..16).fold(0, |apart, i| apart | addresses[half + i] ^ first.wrapping_add(step * i as u32))
        };
        apart(0, if LOW { 4 } else { 0 }) | apart(16, if HIGH { 4 } else { 0 }) == 0
    }
    /// The same of 64-bit addresses.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    #[inline(always)]
    unsafe fn lie_wide<const LOW: bool, const HIGH: bool>(addresses: &[u64; 32]) -> bool {
        let apart = |half: usize, step: u64| {
            let first = addresses[half];
            (0..16).fold(0, |apart, i| apart | addresses[half + i] ^ first.wrapping_add(step * i as u64))
        };
        apart(0, if LOW { 4 } else { 0 }) | apart(16, if HIGH { 4 } else { 0 }) == 0
    }
    /// The lanes of `mask` that hold a value, below `u32::MAX`, which none before them holds.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    #[inline(always)]
    unsafe fn firsts(values: &Lanes, mask: u32) -> u32 {
        let mut seen = [0; 32];
        let (mut count, mut firsts) = (0, 0);
        for lane in lanes(mask) {
            let value = values.0[lane];
            if !seen[..count].contains(&value) {
                seen[count] = value;
                count += 1;
                firsts |= 1 << lane;
            }
        }
        firsts
    }
    /// Reads the word at `base` plus its offset into each lane of `mask`, from memory that other threads may be writing.
    ///
    /// # Safety
    /// The words must be mapped and aligned, and the level's instructions exist on this host.
    #[inline(always)]
    unsafe fn gather(row: &mut [u32; 32], base: *const u8, offsets: &[u32; 32], mask: u32) {
        for lane in lanes(mask) {
            // SAFETY: the caller's promise.
            row[lane] = unsafe { guest::load_word(base.wrapping_add(offsets[lane] as usize)) };
        }
    }
    /// Lane i is lane `from[i] % 32` of the values.
    ///
    /// # Safety
    /// The level's instructions must exist on this host.
    #[inline(always)]
    unsafe fn pick(values: &Lanes, from: &Lanes) -> Lanes {
        let mut picked = Lanes::ZERO;
        for (picked, &lane) in picked.0.iter_mut().zip(&from.0) {
            *picked = values.0[lane as usize % 32];
        }
        picked
    }
}

/// A loop over pieces of `$step` bytes.
#[cfg(target_arch = "x86_64")]
macro_rules! rows {
    ($load:literal, $store:literal, $step:literal, $from:ident, $to:ident, $bytes:ident) => {
        std::arch::asm!(
            "2:",
            $load,
            $store,
            concat!("add {i}, ", $step),
            "cmp {i}, {bytes}",
            "jb 2b",
            // The whole vector register 0, whatever its width.
            out("xmm0") _,
            i = inout(reg) 0usize => _,
            from = in(reg) $from,
            to = in(reg) $to,
            bytes = in(reg) $bytes,
            options(nostack),
        )
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use plain::Plain;
