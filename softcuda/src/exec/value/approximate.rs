//! The `.approx` functions: within the ISA's documented error, and the same bits on every host.
//!
//! Errors named below are the ISA's bounds; ours are smaller. With `FTZ`, subnormal operands and results become zero.

use super::{
    float::flush,
    half_precision::{F16_INFINITY, bf16_to_f32, cvt_f32_f16, f32_to_bf16_rn, f32_to_f16_rn},
    rounding::{NAN_32, canonical, canonical_f64, canonical_root},
};

/// 2^f is `1 + f q(f)` for |f| <= 1/2: q's coefficients, from interpolation at Chebyshev nodes; relative error 2^-26.7.
#[expect(clippy::approx_constant, reason = "a coefficient of the fit, which happens to lie at ln 2")]
const EXP2: [f32; 6] = [0.693_147_2, 0.240_226_5, 0.055_503_57, 0.009_618_083, 0.001_339_086_3, 0.000_154_531_63];
/// 1.5 * 2^23: adding it rounds to an integer, which then lies in the last bits.
const ROUNDER: f32 = 12_582_912.0;

/// (n, 2^(x - n)) with n the integer nearest to x, |x| below 2^22. No fused operations: hosts without them agree.
#[inline(always)]
fn exp2_parts(x: f32) -> (i32, f32) {
    let rounded = x + ROUNDER;
    let n = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let f = x - (rounded - ROUNDER);
    let mut q = EXP2[5];
    q = q * f + EXP2[4];
    q = q * f + EXP2[3];
    q = q * f + EXP2[2];
    q = q * f + EXP2[1];
    q = q * f + EXP2[0];
    (n, q * f + 1.0)
}

/// `a` limited to [low, high]; NaN becomes `low`.
#[inline(always)]
fn clamp(a: f32, low: f32, high: f32) -> f32 {
    let a = if a > low { a } else { low };
    if a < high { a } else { high }
}

/// `ex2.approx.f32`: 2 ulp. Exact at integers; ±0 gives 1, -inf +0.
#[inline(always)]
pub fn ex2<const FTZ: bool>(x: f32) -> f32 {
    if FTZ {
        // 2^128 comes out as infinity by itself.
        let (n, p) = exp2_parts(clamp(x, -126.0, 128.0));
        let scaled = f32::from_bits(p.to_bits().wrapping_add((n << 23) as u32));
        let value = if x < -126.0 { 0.0 } else { scaled };
        return canonical(if x.is_nan() { x } else { value });
    }
    let (n, p) = exp2_parts(clamp(x, -160.0, 128.0));
    // Two steps, so that only the last, into the subnormals, rounds.
    let first = n >> 1;
    let second = n - first;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let value = p * power(first) * power(second);
    canonical(if x.is_nan() { x } else { value })
}

/// `ex2.approx.f16`: relative error 2^-9.9.
#[inline(always)]
pub fn ex2_f16(x: u16) -> u16 {
    f32_to_f16_rn(ex2::<false>(cvt_f32_f16(x)))
}

/// `ex2.approx.ftz.bf16`: relative error 2^-7.
#[inline(always)]
pub fn ex2_bf16(x: u16) -> u16 {
    f32_to_bf16_rn(ex2::<true>(flush(bf16_to_f32(x))))
}

/// `lg2.approx.f32`: 2^-22, absolute between 1/2 and 2, else relative. Exact at powers of two; ±0 gives -inf.
#[inline(always)]
pub fn lg2<const FTZ: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    // Every f32 is normal in f64. x = 2^e m with m in [sqrt(1/2), sqrt(2)), cut in the upper word.
    let bits = f64::from(x).to_bits();
    let upper = (bits >> 32) as i32;
    let e = upper.wrapping_sub(0x3fe6_a09e) >> 20;
    let m_upper = upper.wrapping_sub(e << 20) as u32;
    let m = f64::from_bits(u64::from(m_upper) << 32 | bits & 0xffff_ffff);
    // log m = 2 artanh t; |t| <= 0.1716, terms after t^13 are below 2^-39 of the first.
    let t = (m - 1.0) / (m + 1.0);
    let s = t * t;
    let mut p = 1.0 / 13.0;
    p = p * s + 1.0 / 11.0;
    p = p * s + 1.0 / 9.0;
    p = p * s + 1.0 / 7.0;
    p = p * s + 1.0 / 5.0;
    p = p * s + 1.0 / 3.0;
    p = p * s + 1.0;
    let logarithm = f64::from(e) + t * p * (2.0 * std::f64::consts::LOG2_E);
    let value = logarithm as f32;
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    let value = if x < 0.0 { NAN_32 } else { value };
    let value = canonical(if x.is_nan() { x } else { value });
    if FTZ { flush(value) } else { value }
}

/// `rcp.approx.f32`: 1 ulp.
#[inline(always)]
pub fn rcp<const FTZ: bool>(x: f32) -> f32 {
    if FTZ { flush(canonical(1.0 / flush(x))) } else { canonical(1.0 / x) }
}

/// `rsqrt.approx.f32`: relative error 2^-22.9; -0 gives -inf.
#[inline(always)]
pub fn rsqrt<const FTZ: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    canonical_root((1.0 / f64::from(x).sqrt()) as f32)
}

/// `sqrt.approx.f32`.
#[inline(always)]
pub fn sqrt<const FTZ: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    canonical_root(x.sqrt())
}

/// `div.approx.f32`: 2 ulp for |b| in [2^-126, 2^126]; above, the result is a zero, or NaN if `a` is infinite.
#[inline(always)]
pub fn div<const FTZ: bool>(a: f32, b: f32) -> f32 {
    let (a, b) = if FTZ { (flush(a), flush(b)) } else { (a, b) };
    let reciprocal = 1.0 / b;
    let too_large = b.abs() > f32::from_bits(253 << 23);
    let reciprocal = if too_large { 0.0_f32.copysign(b) } else { reciprocal };
    let value = canonical(a * reciprocal);
    if FTZ { flush(value) } else { value }
}

/// `div.full.f32`: 2 ulp.
#[inline(always)]
pub fn div_full<const FTZ: bool>(a: f32, b: f32) -> f32 {
    if FTZ { flush(canonical(flush(a) / flush(b))) } else { canonical(a / b) }
}

/// `sin.approx.f32`: absolute error 2^-20.5 in [-2 pi, 2 pi].
pub fn sin<const FTZ: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    let value = canonical(libm::sin(x.into()) as f32);
    if FTZ { flush(value) } else { value }
}

/// `cos.approx.f32`: absolute error 2^-20.5 in [-2 pi, 2 pi].
pub fn cos<const FTZ: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    let value = canonical(libm::cos(x.into()) as f32);
    if FTZ { flush(value) } else { value }
}

/// `tanh.approx.f32`: relative error 2^-11; subnormals pass through.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    // (1 - t) / (1 + t) with t = e^(-2|x|); near zero, where 1 - t cancels, the series.
    let t = ex2::<true>(magnitude * (-2.0 * std::f32::consts::LOG2_E));
    let far = (1.0 - t) / (1.0 + t);
    let s = magnitude * magnitude;
    let near = magnitude - magnitude * s * (1.0 / 3.0 - s * (2.0 / 15.0));
    let value = if magnitude < 0.125 { near } else { far };
    canonical(value.copysign(x))
}

/// `tanh.approx.f16`: absolute error 2^-10.987.
#[inline(always)]
pub fn tanh_f16(x: u16) -> u16 {
    let is_nan = x & 0x7fff > F16_INFINITY;
    let value = f32_to_f16_rn(tanh(cvt_f32_f16(x)));
    if is_nan { super::half_precision::NAN_16 } else { value }
}

/// `tanh.approx.bf16`: relative error 2^-8.
#[inline(always)]
pub fn tanh_bf16(x: u16) -> u16 {
    f32_to_bf16_rn(tanh(bf16_to_f32(x)))
}

/// `rcp.approx.ftz.f64`: from the upper words; the lower word of the result is zero.
#[inline(always)]
pub fn rcp_f64(x: f64) -> f64 {
    upper_word(1.0 / flush_f64(upper_word(x)))
}

/// `rsqrt.approx.ftz.f64`: from the upper words; the lower word of the result is zero.
#[inline(always)]
pub fn rsqrt_f64(x: f64) -> f64 {
    upper_word(1.0 / flush_f64(upper_word(x)).sqrt())
}

/// A value with its lower 32 bits cleared, subnormals flushed; NaN becomes the upper word of the canonical one.
#[inline(always)]
fn upper_word(x: f64) -> f64 {
    let x = flush_f64(canonical_f64(x));
    f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000)
}

#[inline(always)]
fn flush_f64(x: f64) -> f64 {
    let bits = x.to_bits();
    let subnormal = bits & 0x7ff0_0000_0000_0000 == 0;
    f64::from_bits(if subnormal { bits & 1 << 63 } else { bits })
}
