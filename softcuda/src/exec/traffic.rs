//! How many sectors and wavefronts a warp's access takes (HARDWARE 2.4, Nsight Compute's definitions).

use super::registers::Simd;
use super::shape::{Halves, Run, Shape};
use super::value::Lanes;

/// Distinct aligned 32-byte pieces that the active lanes touch; `origin` is the device address of offset 0.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn sectors<S: Simd>(shape: &Shape<'_>, origin: u64, mask: u32) -> u64 {
    let base = origin as u32 & 31;
    if shape.regular() {
        let bytes = |half: usize| {
            let (start, length) = shape.range(half);
            (u64::from(start + base), u64::from(length))
        };
        return sectors_of_ranges(bytes(0), bytes(1));
    }
    // SAFETY: the caller's promise.
    u64::from(unsafe { first_of_sectors::<S>(shape, origin, mask) }.count_ones())
}

/// The first of the active lanes in each sector.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn first_of_sectors<S: Simd>(shape: &Shape<'_>, origin: u64, mask: u32) -> u32 {
    let base = origin as u32 & 31;
    // An aligned lane of at most 32 bytes lies within one piece.
    let mut pieces = Lanes::ZERO;
    for (piece, &offset) in pieces.0.iter_mut().zip(shape.offsets) {
        *piece = ((u64::from(offset) + u64::from(base)) >> 5) as u32;
    }
    // SAFETY: the caller's promise.
    unsafe { S::firsts(&pieces, mask) }
}

/// The same of a word access with regular halves.
#[inline(always)]
pub(super) fn sectors_of_halves(halves: &Halves) -> u64 {
    sectors_of_ranges((halves.first[0], halves.length(0)), (halves.first[1], halves.length(1)))
}

/// Sectors of two ranges, each given by its first byte and its length.
#[inline(always)]
fn sectors_of_ranges(first: (u64, u64), second: (u64, u64)) -> u64 {
    let touched = |(start, length): (u64, u64)| (start >> 5, (start + length - 1) >> 5);
    let (first, second) = (touched(first), touched(second));
    let overlap = (first.1.min(second.1) + 1).saturating_sub(first.0.max(second.0));
    (first.1 - first.0 + 1) + (second.1 - second.0 + 1) - overlap
}

/// Wavefronts of a request on shared memory, and what they would be without conflicts.
///
/// A bank passes one 32-bit word a cycle. Accesses of 8 bytes go in two halves of the warp, of 16 bytes in four quarters;
/// a conflict is two distinct words of one bank within such a phase.
#[inline(always)]
pub(super) fn wavefronts(shape: &Shape<'_>, mask: u32) -> (u64, u64) {
    if shape.regular() {
        return match shape.bytes {
            16 => (4, 4),
            8 => (2, 2),
            bytes => (1 + u64::from(halves_conflict(shape.runs, [shape.offsets[0], shape.offsets[16]], bytes)), 1),
        };
    }
    let width = match shape.bytes {
        16 => 8,
        8 => 16,
        _ => 32,
    };
    let mut sum = (0, 0);
    for start in (0..32).step_by(width) {
        let part = mask & (u32::MAX >> (32 - width)) << start;
        if part != 0 {
            sum.0 += phase(shape.offsets, part, shape.bytes.div_ceil(4));
            sum.1 += 1;
        }
    }
    sum
}

/// Wavefronts of a word access to shared memory with regular halves.
#[inline(always)]
pub(super) fn wavefronts_of_halves(halves: &Halves) -> u64 {
    1 + u64::from(halves_conflict(halves.runs, halves.first.map(|first| first as u32), 4))
}

/// Whether the halves of a regular access of at most 4 bytes a lane meet in a bank with different words.
#[inline(always)]
fn halves_conflict(runs: [Run; 2], first: [u32; 2], bytes: u32) -> bool {
    // The usual cases first: both halves on the same words, or one after the other; or two single words.
    let distance = first[1].wrapping_sub(first[0]);
    if runs[0] == runs[1] && (distance == 0 || distance == 16 * bytes && first[0].is_multiple_of(4)) {
        return false;
    }
    if bytes == 4 && runs == [Run::Uniform; 2] {
        return distance.is_multiple_of(128);
    }
    let words = |half: usize| {
        let length = if runs[half] == Run::Contiguous { 16 * bytes } else { bytes };
        ((first[half] / 4) as i32, (first[half] % 4 + length).div_ceil(4) as i32)
    };
    let ((first, length), (second, other)) = (words(0), words(1));
    // Words first + i and second + j with the same bank: second - first + j - i is a multiple of 32 other than 0.
    let (low, high) = (second - first - (length - 1), second - first + (other - 1));
    let multiple = high.div_euclid(32) * 32;
    let found = if multiple == 0 { multiple - 32 } else { multiple };
    found >= low
}

/// Wavefronts of one phase: the largest number of distinct words that fall into one bank.
fn phase(addresses: &[u32; 32], mask: u32, words: u32) -> u64 {
    // Lanes of 1, 2 or 4 words that all lie in different groups of as many banks do not meet.
    let (shift, last) = (words.trailing_zeros() + 2, 32 / words - 1);
    let group = |groups: u32, &address: &u32| groups | 1 << (address >> shift & last);
    let groups = if mask == u32::MAX {
        addresses.iter().fold(0, group)
    } else {
        lanes(mask).fold(0, |groups, lane| group(groups, &addresses[lane]))
    };
    if words.is_power_of_two() && groups.count_ones() == mask.count_ones() {
        return 1;
    }
    // Nor do lanes that share their words, each being aligned to its size.
    if words.is_power_of_two() {
        let mut owner = [u32::MAX; 32];
        let mut clean = true;
        for lane in lanes(mask) {
            let unit = addresses[lane] >> shift;
            let first = &mut owner[(unit & last) as usize];
            clean &= *first == u32::MAX || *first == unit;
            *first = unit;
        }
        if clean {
            return 1;
        }
    }
    conflicts(addresses, mask, words)
}

/// No place in a list.
const NONE: u8 = u8::MAX;

#[cold]
fn conflicts(addresses: &[u32; 32], mask: u32, words: u32) -> u64 {
    // A phase touches 32 words at most; those of one bank that have been seen are a list from the last one on.
    let (mut seen, mut previous, mut last) = ([0u32; 32], [NONE; 32], [NONE; 32]);
    let mut counts = [0u64; 32];
    let mut length = 0;
    for word in lanes(mask).flat_map(|lane| addresses[lane] / 4..addresses[lane] / 4 + words) {
        let bank = (word % 32) as usize;
        let mut place = last[bank];
        while place != NONE && seen[usize::from(place)] != word {
            place = previous[usize::from(place)];
        }
        if place == NONE {
            seen[length] = word;
            previous[length] = last[bank];
            last[bank] = length as u8;
            counts[bank] += 1;
            length += 1;
        }
    }
    counts.into_iter().max().unwrap_or(1)
}

/// Wavefronts of one phase of `ldmatrix`: eight rows of 16 bytes.
#[inline(always)]
pub(super) fn matrix_wavefronts(rows: &[u32]) -> u64 {
    let groups = rows.iter().fold(0u8, |seen, row| seen | 1 << (row / 16 % 8));
    if groups == u8::MAX {
        return 1;
    }
    let mut addresses = [0; 32];
    addresses[..8].copy_from_slice(rows);
    phase(&addresses, 0xff, 4)
}

/// Numbers of the set bits.
#[inline(always)]
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}
