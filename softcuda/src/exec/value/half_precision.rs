//! f16 and bf16 against f32: `cvt` and what the half-precision arithmetic is built from.
//!
//! Values are raw bits (`u16`). Rounding is IEEE 754; a NaN result is PTX's canonical 0x7fff.

/// Canonical NaN of f16 and bf16.
pub const NAN_16: u16 = 0x7fff;

/// f16 to f32, exact; a NaN keeps its sign and payload and becomes quiet, as x86's conversion does.
#[inline(always)]
pub fn f16_to_f32(value: u16) -> f32 {
    let sign = u32::from(value & 0x8000) << 16;
    let magnitude = u32::from(value & 0x7fff);
    // The significand at f32's place, the exponent still with f16's bias.
    let shifted = magnitude << 13;
    let normal = shifted + (112 << 23);
    let special = (shifted | 0x7f80_0000) | if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
    // Subnormals are multiples of 2^-24, and below 2^10 of them: an exact product.
    let subnormal = (magnitude as i32 as f32 * f32::from_bits(103 << 23)).to_bits();
    let bits = if magnitude >= 0x7c00 {
        special
    } else if magnitude < 0x0400 {
        subnormal
    } else {
        normal
    };
    f32::from_bits(sign | bits)
}

/// f32 to f16, to nearest even (`cvt.rn.f16.f32`): overflow gives infinity, NaN 0x7fff.
#[inline(always)]
pub fn f32_to_f16_rn(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Normal results: rebias, add half an ulp less one plus the last kept bit, drop 13 bits; a carry runs into the exponent.
    let rebased = magnitude.wrapping_sub(112 << 23);
    let normal = rebased.wrapping_add(0x0fff + ((magnitude >> 13) & 1)) >> 13;
    // Subnormal results: adding 1/2 puts the multiple of 2^-24 in the last bits of the sum, rounded to nearest even.
    let subnormal = (f32::from_bits(magnitude.min(113 << 23)) + 0.5)
        .to_bits()
        .wrapping_sub(0.5_f32.to_bits());
    let finite = if magnitude < 113 << 23 {
        subnormal
    } else {
        normal
    };
    // 65520 and above round to infinity.
    let result = if magnitude >= 0x477f_f000 {
        0x7c00
    } else {
        finite
    };
    let result = sign | result;
    (if magnitude > 0x7f80_0000 {
        u32::from(NAN_16)
    } else {
        result
    }) as u16
}
