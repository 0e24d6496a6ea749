//! AVX2: a vector is two 256-bit registers.

use super::Isa;
use std::arch::x86_64::*;

/// A host with AVX2, F16C, FMA and BMI2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The instruction set, if this machine has it.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2"))
        .then_some(Self(()))
    }

    /// # Safety
    /// The machine must have the instruction set.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Self(())
    }
}

type Vector = [__m256i; 2];

/// Applies an expression of intrinsics that touch no memory to both halves.
macro_rules! both {
    ($($name:ident),+ => $e:expr) => {{
        // SAFETY: a value of `Avx2` exists, so the machine has the instructions.
        unsafe {
            [
                { $(let $name = $name[0];)+ $e },
                { $(let $name = $name[1];)+ $e },
            ]
        }
    }};
}

#[inline(always)]
fn float(a: __m256i) -> __m256 {
    // SAFETY: a reinterpretation; a caller holds an `Avx2`.
    unsafe { _mm256_castsi256_ps(a) }
}

#[inline(always)]
fn bits(a: __m256) -> __m256i {
    // SAFETY: a reinterpretation; a caller holds an `Avx2`.
    unsafe { _mm256_castps_si256(a) }
}

/// Bit `i` set where lane `i` has its sign set.
#[inline(always)]
fn signs(a: Vector) -> u32 {
    // SAFETY: a caller holds an `Avx2`.
    unsafe { (_mm256_movemask_ps(float(a[0])) | _mm256_movemask_ps(float(a[1])) << 8) as u32 }
}

/// Lanes below 2^16 as packed 16-bit values.
#[inline(always)]
fn pack16(a: __m256i) -> __m128i {
    // SAFETY: a caller holds an `Avx2`.
    unsafe { _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a)) }
}

impl Isa for Avx2 {
    type Vector = Vector;

    #[inline(always)]
    fn load(self, from: &[u32; 16]) -> Vector {
        // SAFETY: the machine has AVX2; the reference covers the 64 bytes read, at any alignment.
        unsafe {
            let from: *const __m256i = from.as_ptr().cast();
            [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))]
        }
    }
    #[inline(always)]
    fn store(self, vector: Vector, to: &mut [u32; 16]) {
        // SAFETY: the machine has AVX2; the reference covers the 64 bytes written, at any alignment.
        unsafe {
            let to: *mut __m256i = to.as_mut_ptr().cast();
            _mm256_storeu_si256(to, vector[0]);
            _mm256_storeu_si256(to.add(1), vector[1]);
        }
    }
    #[inline(always)]
    fn splat(self, value: u32) -> Vector {
        // SAFETY: the machine has AVX2.
        unsafe { [_mm256_set1_epi32(value as i32); 2] }
    }
    #[inline(always)]
    fn transpose_quads(self, [a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
        let low01 = both!(a, b => _mm256_unpacklo_epi32(a, b));
        let low23 = both!(c, d => _mm256_unpacklo_epi32(c, d));
        let high01 = both!(a, b => _mm256_unpackhi_epi32(a, b));
        let high23 = both!(c, d => _mm256_unpackhi_epi32(c, d));
        [
            both!(low01, low23 => _mm256_unpacklo_epi64(low01, low23)),
            both!(low01, low23 => _mm256_unpackhi_epi64(low01, low23)),
            both!(high01, high23 => _mm256_unpacklo_epi64(high01, high23)),
            both!(high01, high23 => _mm256_unpackhi_epi64(high01, high23)),
        ]
    }

    #[inline(always)]
    fn and(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_and_si256(a, b))
    }
    #[inline(always)]
    fn or(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_or_si256(a, b))
    }
    #[inline(always)]
    fn xor(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_xor_si256(a, b))
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, a: Vector) -> Vector {
        both!(a => _mm256_sll_epi32(a, _mm_cvtsi32_si128(BITS as i32)))
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, a: Vector) -> Vector {
        both!(a => _mm256_srl_epi32(a, _mm_cvtsi32_si128(BITS as i32)))
    }
    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_sub_epi32(a, b))
    }
    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_max_epi32(a, b))
    }
    #[inline(always)]
    fn mask_above(self, a: Vector, b: Vector) -> u32 {
        let at_most = both!(a, b => _mm256_cmpeq_epi32(_mm256_min_epu32(a, b), a));
        !signs(at_most) & 0xffff
    }
    #[inline(always)]
    fn mask_overflow(self, a: Vector, b: Vector, sum: Vector) -> u32 {
        signs(both!(a, b, sum =>
            _mm256_and_si256(_mm256_xor_si256(a, sum), _mm256_xor_si256(b, sum))))
    }
    #[inline(always)]
    fn where_unequal(self, a: Vector, b: Vector, value: Vector) -> Vector {
        both!(a, b, value => _mm256_andnot_si256(_mm256_cmpeq_epi32(a, b), value))
    }

    #[inline(always)]
    fn shift_left16<const BITS: u32>(self, a: Vector) -> Vector {
        both!(a => _mm256_sll_epi16(a, _mm_cvtsi32_si128(BITS as i32)))
    }
    #[inline(always)]
    fn shift_right16_signed<const BITS: u32>(self, a: Vector) -> Vector {
        both!(a => _mm256_sra_epi16(a, _mm_cvtsi32_si128(BITS as i32)))
    }
    #[inline(always)]
    fn shift_right16<const BITS: u32>(self, a: Vector) -> Vector {
        both!(a => _mm256_srl_epi16(a, _mm_cvtsi32_si128(BITS as i32)))
    }
    #[inline(always)]
    fn add16(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_add_epi16(a, b))
    }
    #[inline(always)]
    fn max16(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => _mm256_max_epi16(a, b))
    }
    #[inline(always)]
    fn add16_where_equal(self, to: Vector, value: Vector, a: Vector, b: Vector) -> Vector {
        both!(to, value, a, b =>
            _mm256_add_epi16(to, _mm256_and_si256(value, _mm256_cmpeq_epi16(a, b))))
    }
    #[inline(always)]
    fn max_of_halves(self, a: Vector) -> Vector {
        both!(a => _mm256_max_epi32(
            _mm256_srai_epi32::<16>(a),
            _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(a))))
    }

    #[inline(always)]
    fn dot16(self, a: Vector, b: Vector, sum: Vector) -> Vector {
        both!(a, b, sum => _mm256_add_epi32(_mm256_madd_epi16(a, b), sum))
    }

    #[inline(always)]
    fn multiply(self, a: Vector, b: Vector) -> Vector {
        both!(a, b => bits(_mm256_mul_ps(float(a), float(b))))
    }
    #[inline(always)]
    fn multiply_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        both!(a, b, c => bits(_mm256_fmadd_ps(float(a), float(b), float(c))))
    }
    #[inline(always)]
    fn multiply_add_exact(self, a: Vector, b: Vector, c: Vector) -> Vector {
        self.multiply_add(a, b, c)
    }
    #[inline(always)]
    fn canonical_nan(self, a: Vector) -> Vector {
        let nan = self.splat(0x7fff_ffff);
        both!(a, nan => {
            let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(float(a), float(a));
            bits(_mm256_blendv_ps(float(a), float(nan), is_nan))
        })
    }
    #[inline(always)]
    fn truncate(self, a: Vector) -> Vector {
        both!(a => _mm256_cvttps_epi32(float(a)))
    }
    #[inline(always)]
    fn to_float_toward_zero(self, a: Vector) -> Vector {
        // There is only rounding to nearest: clear the bit that decides it (and some below it).
        let sign = self.splat(0x8000_0000);
        both!(a, sign => {
            let magnitude = _mm256_abs_epi32(a);
            let kept = _mm256_andnot_si256(_mm256_srli_epi32::<24>(magnitude), magnitude);
            let rounded = bits(_mm256_cvtepi32_ps(kept));
            _mm256_or_si256(rounded, _mm256_and_si256(a, sign))
        })
    }
    #[inline(always)]
    fn widen_f16(self, pairs: Vector) -> [Vector; 2] {
        let mask = self.splat(0xffff);
        [
            both!(pairs, mask => bits(_mm256_cvtph_ps(pack16(_mm256_and_si256(pairs, mask))))),
            both!(pairs => bits(_mm256_cvtph_ps(pack16(_mm256_srli_epi32::<16>(pairs))))),
        ]
    }
    #[inline(always)]
    fn narrow_f16(self, [low, high]: [Vector; 2]) -> Vector {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
        both!(low, high => {
            let low = _mm256_cvtps_ph::<NEAREST>(float(low));
            let high = _mm256_cvtps_ph::<NEAREST>(float(high));
            let high = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high));
            _mm256_or_si256(_mm256_cvtepu16_epi32(low), high)
        })
    }
}
