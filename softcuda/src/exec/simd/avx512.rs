//! AVX-512.

use super::{Classes, Simd};
use crate::exec::value::Lanes;
use std::arch::x86_64::*;

/// AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

impl Simd for Avx512 {
    const FMA: bool = true;
    #[inline(always)]
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes {
        let (mut wrong, mut apart, mut stepped) = (0, 0, 0);
        for half in 0..2 {
            // SAFETY: the row has two aligned parts of sixteen lanes; AVX-512 is the caller's promise.
            unsafe {
                let offset = _mm512_load_si512(offsets.0.as_ptr().add(16 * half).cast());
                let first = _mm512_broadcastd_epi32(_mm512_castsi512_si128(offset));
                let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let step = _mm512_mullo_epi32(lane, _mm512_set1_epi32(bytes as i32));
                let far = _mm512_cmpgt_epu32_mask(offset, _mm512_set1_epi32(limit as i32));
                let unaligned = _mm512_test_epi32_mask(offset, _mm512_set1_epi32(bytes as i32 - 1));
                let uneven = _mm512_cmpneq_epi32_mask(offset, _mm512_add_epi32(first, step));
                wrong |= u32::from(far | unaligned) << (16 * half);
                apart |= u32::from(_mm512_cmpneq_epi32_mask(offset, first)) << (16 * half);
                stepped |= u32::from(uneven) << (16 * half);
            }
        }
        Classes { wrong, apart, stepped }
    }
    #[inline(always)]
    unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if bytes.is_multiple_of(64) {
                rows!("vmovdqu64 zmm0, [{from} + {i}]", "vmovdqu64 [{to} + {i}], zmm0", 64, from, to, bytes);
            } else {
                rows!("vmovdqu xmm0, [{from} + {i}]", "vmovdqu [{to} + {i}], xmm0", 16, from, to, bytes);
            }
        }
    }
    #[inline(always)]
    unsafe fn copy64(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            std::arch::asm!(
                "vmovdqu64 zmm0, [{from}]",
                "vmovdqu64 [{to}], zmm0",
                // The whole vector register 0, whatever its width.
                out("xmm0") _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack, preserves_flags),
            );
        }
    }
    #[inline(always)]
    unsafe fn bits(lanes: &Lanes) -> u32 {
        // SAFETY: the row has two aligned parts of sixteen lanes; AVX-512 is the caller's promise.
        unsafe {
            let low = _mm512_movepi32_mask(_mm512_load_si512(lanes.0.as_ptr().cast()));
            let high = _mm512_movepi32_mask(_mm512_load_si512(lanes.0.as_ptr().add(16).cast()));
            u32::from(low) | u32::from(high) << 16
        }
    }
    #[inline(always)]
    unsafe fn expand(mask: u32) -> Lanes {
        let mut row = Lanes([0; 32]);
        // SAFETY: as above, for the stores.
        unsafe {
            _mm512_store_si512(row.0.as_mut_ptr().cast(), _mm512_movm_epi32(mask as u16));
            _mm512_store_si512(row.0.as_mut_ptr().add(16).cast(), _mm512_movm_epi32((mask >> 16) as u16));
        }
        row
    }
    #[inline(always)]
    unsafe fn lie_narrow<const LOW: bool, const HIGH: bool>(addresses: &[u32; 32]) -> bool {
        // SAFETY: 32 addresses are two vectors; AVX-512 is the caller's promise.
        unsafe {
            let steps = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
            let apart = |half: usize, contiguous: bool| {
                let row = _mm512_loadu_si512(addresses.as_ptr().add(half).cast());
                let first = _mm512_set1_epi32(addresses[half] as i32);
                _mm512_cmpneq_epi32_mask(row, if contiguous { _mm512_add_epi32(first, steps) } else { first })
            };
            apart(0, LOW) | apart(16, HIGH) == 0
        }
    }
    #[inline(always)]
    unsafe fn lie_wide<const LOW: bool, const HIGH: bool>(addresses: &[u64; 32]) -> bool {
        // SAFETY: 32 addresses are four vectors; AVX-512 is the caller's promise.
        unsafe {
            let steps = _mm512_setr_epi64(0, 4, 8, 12, 16, 20, 24, 28);
            let apart = |half: usize, contiguous: bool| {
                let low = _mm512_loadu_si512(addresses.as_ptr().add(half).cast());
                let high = _mm512_loadu_si512(addresses.as_ptr().add(half + 8).cast());
                let first = _mm512_set1_epi64(addresses[half] as i64);
                if !contiguous {
                    return _mm512_cmpneq_epi64_mask(low, first) | _mm512_cmpneq_epi64_mask(high, first);
                }
                let next = _mm512_add_epi64(first, steps);
                let behind = _mm512_add_epi64(next, _mm512_set1_epi64(32));
                _mm512_cmpneq_epi64_mask(low, next) | _mm512_cmpneq_epi64_mask(high, behind)
            };
            apart(0, LOW) | apart(16, HIGH) == 0
        }
    }
    #[inline(always)]
    unsafe fn firsts(values: &Lanes, mask: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { firsts(values, mask) }
    }
    #[inline(always)]
    unsafe fn gather(row: &mut [u32; 32], base: *const u8, offsets: &[u32; 32], mask: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            gather(row.as_mut_ptr(), base, offsets.as_ptr(), mask as u16);
            gather(row.as_mut_ptr().add(16), base, offsets.as_ptr().add(16), (mask >> 16) as u16);
        }
    }
    #[inline(always)]
    unsafe fn pick(values: &Lanes, from: &Lanes) -> Lanes {
        let mut picked = *from;
        // SAFETY: rows are two aligned vectors; AVX-512 is the caller's promise.
        unsafe {
            let low = _mm512_load_si512(values.0.as_ptr().cast());
            let high = _mm512_load_si512(values.0.as_ptr().add(16).cast());
            for half in 0..2 {
                let index = _mm512_load_si512(from.0.as_ptr().add(16 * half).cast());
                let part = _mm512_permutex2var_epi32(low, index, high);
                _mm512_store_si512(picked.0.as_mut_ptr().add(16 * half).cast(), part);
            }
        }
        picked
    }
}

/// The lanes of `mask` that hold a value, below `u32::MAX`, which none before them holds.
#[inline]
#[target_feature(enable = "avx512f,avx512cd,bmi2")]
unsafe fn firsts(values: &Lanes, mask: u32) -> u32 {
    let (first, second) = (mask as u16, (mask >> 16) as u16);
    // SAFETY: the row has two vectors.
    let (low, high) =
        unsafe { (_mm512_load_si512(values.0.as_ptr().cast()), _mm512_load_si512(values.0.as_ptr().add(16).cast())) };
    if mask.count_ones() <= 16 {
        let behind = ((1u32 << second.count_ones()) - 1) << first.count_ones();
        let rest = _mm512_maskz_compress_epi32(second, high);
        let all = _mm512_mask_expand_epi32(_mm512_maskz_compress_epi32(first, low), behind as u16, rest);
        // A value is new where no lane before has it.
        let earlier = _mm512_conflict_epi32(all);
        let new = _mm512_testn_epi32_mask(earlier, earlier);
        return _pdep_u32(u32::from(new), mask);
    }
    let new = |row, active: u16| {
        let earlier = _mm512_conflict_epi32(row);
        active & _mm512_testn_epi32_mask(earlier, _mm512_set1_epi32(i32::from(active)))
    };
    // Values of the first half that the second has, too; `u32::MAX` is none.
    let held = _mm512_mask_blend_epi32(first, _mm512_set1_epi32(-1), low);
    let mut again = 0;
    let mut turned = held;
    for _ in 0..4 {
        for part in [
            _mm512_shuffle_epi32::<0b00_00_00_00>(turned),
            _mm512_shuffle_epi32::<0b01_01_01_01>(turned),
            _mm512_shuffle_epi32::<0b10_10_10_10>(turned),
            _mm512_shuffle_epi32::<0b11_11_11_11>(turned),
        ] {
            again |= _mm512_cmpeq_epi32_mask(high, part);
        }
        turned = _mm512_shuffle_i32x4::<0b00_11_10_01>(turned, turned);
    }
    u32::from(new(low, first)) | u32::from(new(high, second) & !again) << 16
}

/// Reads sixteen words where `mask` says so: in assembly, because other threads may be writing them.
///
/// # Safety
/// The words must be mapped and aligned.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn gather(row: *mut u32, base: *const u8, offsets: *const u32, mask: u16) {
    // The instruction takes signed offsets.
    let middle = base.wrapping_add(1 << 31);
    // SAFETY: the caller's promise; `row` and `offsets` are sixteen words of ours.
    unsafe {
        let index = _mm512_xor_si512(_mm512_loadu_si512(offsets.cast()), _mm512_set1_epi32(i32::MIN));
        std::arch::asm!(
            "kmovw k1, {mask:e}",
            "kmovw k2, {mask:e}",
            "vpgatherdd {words}{{k1}}, [{base} + {index}]",
            "vmovdqu32 zmmword ptr [{row}]{{k2}}, {words}",
            mask = in(reg) u32::from(mask),
            base = in(reg) middle,
            row = in(reg) row,
            index = in(zmm_reg) index,
            words = out(zmm_reg) _,
            out("k1") _,
            out("k2") _,
            options(nostack, preserves_flags),
        );
    }
}
