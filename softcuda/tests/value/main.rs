//! Value functions against integer arithmetic and f64.

mod approximate;
mod arithmetic;
mod conversions;
mod double;
mod floats;
mod half_types;
mod integers;
mod kinds;
mod launch;
mod ptx;
mod reference;
#[path = "../support/mod.rs"]
mod support;

/// A small generator of random bits (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// f32: any bits; or near another one's exponent; or a value with few bits; or a limit.
    pub(crate) fn f32(&mut self, near: f32) -> f32 {
        let bits = self.bits();
        let low = bits as u32;
        match bits >> 60 {
            0..4 => f32::from_bits(low),
            4..10 => {
                let field = (near.to_bits() >> 23 & 255) as i32 + (bits >> 32 & 63) as i32 - 32;
                f32::from_bits(low & 0x807f_ffff | (field.clamp(0, 254) as u32) << 23)
            }
            10..13 => f32::from_bits(low & 0xffff_0000),
            13 => f32::from_bits(low & 0x8000_000f),
            _ => LIMITS[(low % LIMITS.len() as u32) as usize],
        }
    }
}

pub(crate) const LIMITS: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    f32::from_bits(1),
    f32::from_bits(0x807f_ffff),
    65504.0,
    65520.0,
    0.5,
];

/// f32 bits that hit every exponent, sign and upper fraction with the lower fractions that decide rounding to f16 and bf16.
pub(crate) fn dense_f32() -> impl Iterator<Item = f32> {
    (0..1u32 << 20).flat_map(|upper| [0, 1, 0x7ff, 0x800, 0xfff].map(|lower| f32::from_bits(upper << 12 | lower)))
}
