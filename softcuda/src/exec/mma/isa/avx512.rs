//! AVX-512: a vector is one 512-bit register.

use super::Isa;
use std::arch::x86_64::*;

/// A host with AVX-512 F, BW, DQ, VL, CD, and F16C, FMA, BMI2.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The instruction set, if this machine has it.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512cd")
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

const TOWARD_ZERO: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

/// Wraps intrinsics that touch no memory.
macro_rules! register {
    ($e:expr) => {{
        // SAFETY: a value of `Avx512` exists, so the machine has the instructions.
        unsafe { $e }
    }};
}

impl Isa for Avx512 {
    type Vector = __m512i;

    #[inline(always)]
    fn load(self, from: &[u32; 16]) -> __m512i {
        // SAFETY: as in `register`; the reference covers the 64 bytes read, at any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, vector: __m512i, to: &mut [u32; 16]) {
        // SAFETY: as in `register`; the reference covers the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
    }
    #[inline(always)]
    fn splat(self, value: u32) -> __m512i {
        register!(_mm512_set1_epi32(value as i32))
    }
    #[inline(always)]
    fn transpose_quads(self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        register!({
            let low01 = _mm512_unpacklo_epi32(a, b);
            let low23 = _mm512_unpacklo_epi32(c, d);
            let high01 = _mm512_unpackhi_epi32(a, b);
            let high23 = _mm512_unpackhi_epi32(c, d);
            [
                _mm512_unpacklo_epi64(low01, low23),
                _mm512_unpackhi_epi64(low01, low23),
                _mm512_unpacklo_epi64(high01, high23),
                _mm512_unpackhi_epi64(high01, high23),
            ]
        })
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, a: __m512i) -> __m512i {
        register!(_mm512_slli_epi32::<BITS>(a))
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, a: __m512i) -> __m512i {
        register!(_mm512_srli_epi32::<BITS>(a))
    }
    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn max(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_max_epi32(a, b))
    }
    #[inline(always)]
    fn mask_above(self, a: __m512i, b: __m512i) -> u32 {
        register!(u32::from(_mm512_cmpgt_epu32_mask(a, b)))
    }
    #[inline(always)]
    fn mask_overflow(self, a: __m512i, b: __m512i, sum: __m512i) -> u32 {
        // (a ^ sum) & (b ^ sum), as a truth table over (a, b, sum).
        register!(u32::from(_mm512_movepi32_mask(_mm512_ternarylogic_epi32::<0x42>(a, b, sum))))
    }
    #[inline(always)]
    fn where_unequal(self, a: __m512i, b: __m512i, value: __m512i) -> __m512i {
        register!(_mm512_maskz_mov_epi32(_mm512_cmpneq_epi32_mask(a, b), value))
    }

    #[inline(always)]
    fn shift_left16<const BITS: u32>(self, a: __m512i) -> __m512i {
        register!(_mm512_slli_epi16::<BITS>(a))
    }
    #[inline(always)]
    fn shift_right16_signed<const BITS: u32>(self, a: __m512i) -> __m512i {
        register!(_mm512_srai_epi16::<BITS>(a))
    }
    #[inline(always)]
    fn shift_right16<const BITS: u32>(self, a: __m512i) -> __m512i {
        register!(_mm512_srli_epi16::<BITS>(a))
    }
    #[inline(always)]
    fn add16(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_add_epi16(a, b))
    }
    #[inline(always)]
    fn max16(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_max_epi16(a, b))
    }
    #[inline(always)]
    fn add16_where_equal(self, to: __m512i, value: __m512i, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_mask_add_epi16(to, _mm512_cmpeq_epi16_mask(a, b), to, value))
    }
    #[inline(always)]
    fn max_of_halves(self, a: __m512i) -> __m512i {
        register!(_mm512_srai_epi32::<16>(_mm512_max_epi16(a, _mm512_rol_epi32::<16>(a))))
    }

    #[inline(always)]
    fn dot16(self, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        register!(_mm512_add_epi32(_mm512_madd_epi16(a, b), sum))
    }

    #[inline(always)]
    fn multiply(self, a: __m512i, b: __m512i) -> __m512i {
        register!(_mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))))
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        register!(_mm512_castps_si512(_mm512_fmadd_ps(
            _mm512_castsi512_ps(a),
            _mm512_castsi512_ps(b),
            _mm512_castsi512_ps(c)
        )))
    }
    #[inline(always)]
    fn multiply_add_exact(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        self.multiply_add(a, b, c)
    }
    #[inline(always)]
    fn canonical_nan(self, a: __m512i) -> __m512i {
        let nan = self.splat(0x7fff_ffff);
        register!({
            let f = _mm512_castsi512_ps(a);
            _mm512_mask_mov_epi32(a, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(f, f), nan)
        })
    }
    #[inline(always)]
    fn truncate(self, a: __m512i) -> __m512i {
        register!(_mm512_cvttps_epi32(_mm512_castsi512_ps(a)))
    }
    #[inline(always)]
    fn to_float_toward_zero(self, a: __m512i) -> __m512i {
        register!(_mm512_castps_si512(_mm512_cvt_roundepi32_ps::<TOWARD_ZERO>(a)))
    }
    #[inline(always)]
    fn widen_f16(self, pairs: __m512i) -> [__m512i; 2] {
        register!([
            _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs))),
            _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(pairs)))),
        ])
    }
    #[inline(always)]
    fn narrow_f16(self, [low, high]: [__m512i; 2]) -> __m512i {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        register!({
            let low = _mm512_cvtps_ph::<NEAREST>(_mm512_castsi512_ps(low));
            let high = _mm512_cvtps_ph::<NEAREST>(_mm512_castsi512_ps(high));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            _mm512_or_si512(_mm512_cvtepu16_epi32(low), high)
        })
    }
}
