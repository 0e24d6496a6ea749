//! AVX2.

use super::{Classes, Simd};
use crate::exec::value::Lanes;
use std::arch::x86_64::*;

/// AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

impl Simd for Avx2 {
    const FMA: bool = true;
    #[inline(always)]
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes {
        let (mut wrong, mut apart, mut stepped) = (0, 0, 0);
        for part in 0..4 {
            // SAFETY: the row has four aligned parts of eight lanes; AVX2 is the caller's promise.
            unsafe {
                let offset = _mm256_load_si256(offsets.0.as_ptr().add(8 * part).cast());
                let first = _mm256_set1_epi32(offsets.0[8 * part & 16] as i32);
                let lane = _mm256_add_epi32(
                    _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                    _mm256_set1_epi32((8 * part as i32) & 15),
                );
                let step = _mm256_mullo_epi32(lane, _mm256_set1_epi32(bytes as i32));
                let within = _mm256_cmpeq_epi32(_mm256_min_epu32(offset, _mm256_set1_epi32(limit as i32)), offset);
                let low = _mm256_and_si256(offset, _mm256_set1_epi32(bytes as i32 - 1));
                let aligned = _mm256_cmpeq_epi32(low, _mm256_setzero_si256());
                let right = _mm256_and_si256(within, aligned);
                let mask = |row: __m256i| !_mm256_movemask_ps(_mm256_castsi256_ps(row)) as u32 & 0xff;
                wrong |= mask(right) << (8 * part);
                apart |= mask(_mm256_cmpeq_epi32(offset, first)) << (8 * part);
                stepped |= mask(_mm256_cmpeq_epi32(offset, _mm256_add_epi32(first, step))) << (8 * part);
            }
        }
        Classes { wrong, apart, stepped }
    }
    #[inline(always)]
    unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if bytes.is_multiple_of(32) {
                rows!("vmovdqu ymm0, [{from} + {i}]", "vmovdqu [{to} + {i}], ymm0", 32, from, to, bytes);
            } else {
                rows!("vmovdqu xmm0, [{from} + {i}]", "vmovdqu [{to} + {i}], xmm0", 16, from, to, bytes);
            }
        }
    }
    #[inline(always)]
    unsafe fn bits(lanes: &Lanes) -> u32 {
        let mut mask = 0;
        for part in 0..4 {
            // SAFETY: the row has four aligned parts of eight lanes; AVX2 is the caller's promise.
            let bits = unsafe { _mm256_movemask_ps(_mm256_load_ps(lanes.0.as_ptr().add(8 * part).cast())) };
            mask |= (bits as u32) << (8 * part);
        }
        mask
    }
    #[inline(always)]
    unsafe fn expand(mask: u32) -> Lanes {
        let mut row = Lanes([0; 32]);
        for part in 0..4 {
            // SAFETY: as above, for the store.
            unsafe {
                let select = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let byte = _mm256_set1_epi32((mask >> (8 * part) & 0xff) as i32);
                let lanes = _mm256_cmpeq_epi32(_mm256_and_si256(byte, select), select);
                _mm256_store_si256(row.0.as_mut_ptr().add(8 * part).cast(), lanes);
            }
        }
        row
    }
}
