//! f32 basics as the chip defines them, one lane at a time.

/// NaN results are the canonical NaN: payloads and signs of NaN operands do not come through arithmetic.
#[inline(always)]
pub(crate) fn canonical(value: f32) -> f32 {
    if value.is_nan() {
        f32::from_bits(0x7fff_ffff)
    } else {
        value
    }
}

/// `.ftz`: subnormals become zeros of the same sign.
#[inline(always)]
pub(crate) fn ftz(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    })
}

/// `min.f32`: a NaN operand gives the other one, two give the canonical NaN; -0 is less than +0.
#[inline(always)]
pub(crate) fn min(a: f32, b: f32) -> f32 {
    let less = a < b || a == b && a.is_sign_negative();
    let chosen = if less || b.is_nan() { a } else { b };
    canonical(chosen)
}

/// `max.f32`, with the same rules.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    let greater = a > b || a == b && a.is_sign_positive();
    let chosen = if greater || b.is_nan() { a } else { b };
    canonical(chosen)
}

/// f32 to f16, to nearest even.
#[inline(always)]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    super::value::half_precision::f32_to_f16_rn(value)
}

/// f32 to bf16, to nearest even; NaN becomes 0x7fff.
#[inline(always)]
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if value.is_nan() { 0x7fff } else { rounded }
}

/// `ex2.approx.ftz.f32`.
#[inline(always)]
pub(crate) fn ex2_approx_ftz(value: f32) -> f32 {
    ftz(canonical(libm::exp2f(ftz(value))))
}
