//! A warp's register file: slots of 32 lanes, predicates as masks, and the few vector primitives that need the host's
//! instruction set.

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
        for offset in 0..bytes {
            use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
            // SAFETY: the caller's promise; single bytes are always aligned.
            unsafe {
                let value = (*from.add(offset).cast::<AtomicU8>()).load(Relaxed);
                (*to.add(offset).cast::<AtomicU8>()).store(value, Relaxed);
            }
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

/// AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    const FMA: bool = true;
    #[inline(always)]
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes {
        use std::arch::x86_64::*;
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
        use std::arch::x86_64::*;
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
        use std::arch::x86_64::*;
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

/// AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    const FMA: bool = true;
    #[inline(always)]
    unsafe fn classify(offsets: &Lanes, bytes: u32, limit: u32) -> Classes {
        use std::arch::x86_64::*;
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
        use std::arch::x86_64::*;
        // SAFETY: the row has two aligned parts of sixteen lanes; AVX-512 is the caller's promise.
        unsafe {
            let low = _mm512_movepi32_mask(_mm512_load_si512(lanes.0.as_ptr().cast()));
            let high = _mm512_movepi32_mask(_mm512_load_si512(lanes.0.as_ptr().add(16).cast()));
            u32::from(low) | u32::from(high) << 16
        }
    }
    #[inline(always)]
    unsafe fn expand(mask: u32) -> Lanes {
        use std::arch::x86_64::*;
        let mut row = Lanes([0; 32]);
        // SAFETY: as above, for the stores.
        unsafe {
            _mm512_store_si512(row.0.as_mut_ptr().cast(), _mm512_movm_epi32(mask as u16));
            _mm512_store_si512(row.0.as_mut_ptr().add(16).cast(), _mm512_movm_epi32((mask >> 16) as u16));
        }
        row
    }
}

/// The register file of one warp. Slot numbers come from the decoded program, which fixes how many there are.
pub(crate) struct Registers {
    rows: Box<[Lanes]>,
    predicates: Box<[u32]>,
}

impl Registers {
    pub(crate) fn new(slots: u32, predicates: u32) -> Registers {
        // One spare row: a 64-bit slot is two rows, and the last preset may be the last row.
        let count = slots as usize + 1;
        Registers {
            rows: vec![Lanes([0; 32]); count].into_boxed_slice(),
            predicates: vec![0; predicates as usize].into_boxed_slice(),
        }
    }

    /// A 32-bit slot as the argument of a value function.
    #[inline(always)]
    pub(crate) fn lanes(&self, slot: u16) -> &Lanes {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: lowering hands out slots below the count that this file was made with.
        unsafe { self.rows.get_unchecked(slot as usize) }
    }

    /// A 32-bit slot.
    #[inline(always)]
    pub(crate) fn word(&self, slot: u16) -> &[u32; 32] {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: lowering hands out slots below the count that this file was made with.
        unsafe { &self.rows.get_unchecked(slot as usize).0 }
    }

    #[inline(always)]
    pub(crate) fn word_mut(&mut self, slot: u16) -> &mut [u32; 32] {
        debug_assert!((slot as usize) < self.rows.len(), "slot within the file");
        // SAFETY: as in `word`.
        unsafe { &mut self.rows.get_unchecked_mut(slot as usize).0 }
    }

    /// The same lanes as f32.
    #[inline(always)]
    pub(crate) fn float(&self, slot: u16) -> &[f32; 32] {
        // SAFETY: f32 and u32 have the same size and alignment, and every bit pattern is valid in both.
        unsafe { &*std::ptr::from_ref(self.word(slot)).cast() }
    }

    /// A 64-bit slot: two rows.
    #[inline(always)]
    pub(crate) fn double(&self, slot: u16) -> &[u64; 32] {
        debug_assert!((slot as usize) + 1 < self.rows.len(), "slot within the file");
        // SAFETY: rows are contiguous and 64-byte aligned; lowering gives 64-bit registers two slots.
        unsafe { &*self.rows.as_ptr().add(slot as usize).cast() }
    }

    #[inline(always)]
    pub(crate) fn double_mut(&mut self, slot: u16) -> &mut [u64; 32] {
        debug_assert!((slot as usize) + 1 < self.rows.len(), "slot within the file");
        // SAFETY: as in `double`.
        unsafe { &mut *self.rows.as_mut_ptr().add(slot as usize).cast() }
    }

    /// The same lanes as f64.
    #[inline(always)]
    pub(crate) fn float64(&self, slot: u16) -> &[f64; 32] {
        // SAFETY: f64 and u64 have the same size and alignment, and every bit pattern is valid in both.
        unsafe { &*std::ptr::from_ref(self.double(slot)).cast() }
    }

    /// A predicate.
    #[inline(always)]
    pub(crate) fn predicate(&self, index: u16) -> u32 {
        debug_assert!((index as usize) < self.predicates.len(), "predicate within the file");
        // SAFETY: lowering hands out indices below the count that this file was made with.
        unsafe { *self.predicates.get_unchecked(index as usize) }
    }

    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, index: u16, mask: u32, value: u32) {
        debug_assert!((index as usize) < self.predicates.len(), "predicate within the file");
        // SAFETY: as in `predicate`.
        let old = unsafe { self.predicates.get_unchecked_mut(index as usize) };
        *old = *old & !mask | value & mask;
    }

    /// A predicate's new value: everywhere, or in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn write_predicate<const FULL: bool>(&mut self, index: u16, mask: u32, value: u32) {
        self.set_predicate(index, if FULL { u32::MAX } else { mask }, value);
    }
}
