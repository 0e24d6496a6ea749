//! How many sectors and wavefronts a warp's access takes (HARDWARE 2.4, Nsight Compute's definitions).

use crate::profile::{GlobalAccess, SharedAccess};

/// Distinct aligned 32-byte pieces that the active lanes touch, `bytes` each.
pub(crate) fn sectors(addresses: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    // At most two sectors a lane of at most 16 aligned bytes are one: a lane never straddles.
    let mut seen = [0u64; 32];
    let mut count = 0;
    let mut last = u64::MAX;
    for lane in lanes(mask) {
        let sector = addresses[lane] >> 5;
        debug_assert!(addresses[lane] + bytes <= (sector + 1) << 5, "aligned accesses lie in one sector");
        if sector != last && !seen[..count].contains(&sector) {
            seen[count] = sector;
            count += 1;
        }
        last = sector;
    }
    count as u64
}

/// Adds one request on device memory.
pub(crate) fn count_global(access: &mut GlobalAccess, sectors: u64, mask: u32, bytes: u64) {
    access.requests += 1;
    access.sectors += sectors;
    access.bytes += u64::from(mask.count_ones()) * bytes;
}

/// Adds one request on shared memory: each lane touches `bytes` at its address.
///
/// A bank passes one 32-bit word a cycle. Accesses of 8 bytes go in two halves of the warp, of 16 bytes in four quarters;
/// a conflict is two distinct words of one bank within such a phase.
pub(crate) fn count_shared(access: &mut SharedAccess, addresses: &[u32; 32], mask: u32, bytes: u32) {
    let width = match bytes {
        16 => 8,
        8 => 16,
        _ => 32,
    };
    access.requests += 1;
    for start in (0..32).step_by(width) {
        let part = mask & (u32::MAX >> (32 - width)) << start;
        if part != 0 {
            access.ideal_wavefronts += 1;
            access.wavefronts += phase(addresses, part, bytes.div_ceil(4));
        }
    }
}

/// Wavefronts of one phase: the largest number of distinct words that fall into one bank.
fn phase(addresses: &[u32; 32], mask: u32, words: u32) -> u64 {
    // Lane i at the first lane's address plus i times its size touches every bank once: the usual case.
    let first = mask.trailing_zeros();
    let base = addresses[first as usize];
    let size = 4 * words;
    if lanes(mask).all(|lane| addresses[lane] == base.wrapping_add((lane as u32 - first) * size)) {
        return 1;
    }
    let mut words_of_bank = [[0u32; 32]; 32];
    let mut counts = [0usize; 32];
    for lane in lanes(mask) {
        for word in addresses[lane] / 4..addresses[lane] / 4 + words {
            let bank = (word % 32) as usize;
            if !words_of_bank[bank][..counts[bank]].contains(&word) {
                words_of_bank[bank][counts[bank]] = word;
                counts[bank] += 1;
            }
        }
    }
    counts.into_iter().max().unwrap_or(1) as u64
}

/// One phase of `ldmatrix`: eight rows of 16 bytes.
pub(crate) fn count_matrix(access: &mut SharedAccess, rows: &[u32]) {
    let groups = rows.iter().fold(0u8, |seen, row| seen | 1 << (row / 16 % 8));
    access.ideal_wavefronts += 1;
    access.wavefronts += if groups == u8::MAX {
        1
    } else {
        let mut addresses = [0; 32];
        addresses[..8].copy_from_slice(rows);
        phase(&addresses, 0xff, 4)
    };
}

/// Numbers of the set bits.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}
