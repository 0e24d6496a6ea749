//! No vector instructions assumed: arrays, and what the compiler makes of them. Larger operations are functions: inlined a hundred
//! times in every product, they would take longer to compile than the rest of the library.

use super::Isa;
use crate::exec::value::{
    float::fma,
    half_precision::{f16_to_f32, f32_to_f16_rn},
};

/// Any host.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

type Vector = [u32; 16];

#[inline(always)]
fn map(a: Vector, f: impl Fn(u32) -> u32) -> Vector {
    let mut out = a;
    for lane in &mut out {
        *lane = f(*lane);
    }
    out
}

#[inline(always)]
fn zip(a: Vector, b: Vector, f: impl Fn(u32, u32) -> u32) -> Vector {
    let mut out = a;
    for (lane, other) in out.iter_mut().zip(b) {
        *lane = f(*lane, other);
    }
    out
}

#[inline(always)]
fn float(bits: u32) -> f32 {
    f32::from_bits(bits)
}

#[inline(always)]
fn halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

#[inline(always)]
fn mask(a: Vector) -> u32 {
    let mut bits = 0;
    for (i, lane) in a.into_iter().enumerate() {
        bits |= lane << i;
    }
    bits
}

impl Isa for Plain {
    type Vector = Vector;

    #[inline(always)]
    fn load(self, from: &[u32; 16]) -> Vector {
        *from
    }
    #[inline(always)]
    fn store(self, vector: Vector, to: &mut [u32; 16]) {
        *to = vector;
    }
    #[inline(always)]
    fn splat(self, value: u32) -> Vector {
        [value; 16]
    }
    #[inline(never)]
    fn transpose_quads(self, vectors: [Vector; 4]) -> [Vector; 4] {
        let mut out = [[0; 16]; 4];
        for (q, vector) in vectors.into_iter().enumerate() {
            for (lane, value) in vector.into_iter().enumerate() {
                out[lane % 4][lane / 4 * 4 + q] = value;
            }
        }
        out
    }

    #[inline(always)]
    fn and(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn xor(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a ^ b)
    }
    #[inline(never)]
    fn shift_left<const BITS: u32>(self, a: Vector) -> Vector {
        map(a, |a| a << BITS)
    }
    #[inline(never)]
    fn shift_right<const BITS: u32>(self, a: Vector) -> Vector {
        map(a, |a| a >> BITS)
    }
    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, u32::wrapping_sub)
    }
    #[inline(never)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| (a as i32).max(b as i32) as u32)
    }
    #[inline(never)]
    fn mask_above(self, a: Vector, b: Vector) -> u32 {
        mask(zip(a, b, |a, b| u32::from(a > b)))
    }
    #[inline(never)]
    fn mask_overflow(self, a: Vector, b: Vector, sum: Vector) -> u32 {
        mask(zip(zip(a, sum, |a, sum| a ^ sum), zip(b, sum, |b, sum| b ^ sum), |a, b| (a & b) >> 31))
    }
    #[inline(never)]
    fn where_unequal(self, a: Vector, b: Vector, value: Vector) -> Vector {
        let unequal = zip(a, b, |a, b| if a == b { 0 } else { u32::MAX });
        self.and(unequal, value)
    }

    #[inline(never)]
    fn shift_left16<const BITS: u32>(self, a: Vector) -> Vector {
        map(a, |a| halves(a, 0, |a, _| a << BITS))
    }
    #[inline(never)]
    fn shift_right16_signed<const BITS: u32>(self, a: Vector) -> Vector {
        map(a, |a| halves(a, 0, |a, _| (a as i16 >> BITS) as u16))
    }
    #[inline(never)]
    fn shift_right16<const BITS: u32>(self, a: Vector) -> Vector {
        map(a, |a| halves(a, 0, |a, _| a >> BITS))
    }
    #[inline(never)]
    fn add16(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| halves(a, b, u16::wrapping_add))
    }
    #[inline(never)]
    fn max16(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| halves(a, b, |a, b| (a as i16).max(b as i16) as u16))
    }
    #[inline(never)]
    fn add16_where_equal(self, to: Vector, value: Vector, a: Vector, b: Vector) -> Vector {
        let equal = zip(a, b, |a, b| halves(a, b, |a, b| if a == b { u16::MAX } else { 0 }));
        self.add16(to, self.and(equal, value))
    }
    #[inline(never)]
    fn max_of_halves(self, a: Vector) -> Vector {
        map(a, |a| (a as i16).max((a >> 16) as i16) as i32 as u32)
    }

    #[inline(never)]
    fn dot16(self, a: Vector, b: Vector, sum: Vector) -> Vector {
        let product = |a: u32, b: u32| i32::from(a as u16 as i16) * i32::from(b as u16 as i16);
        let products = zip(a, b, |a, b| product(a, b).wrapping_add(product(a >> 16, b >> 16)) as u32);
        self.add(products, sum)
    }

    #[inline(never)]
    fn multiply(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| (float(a) * float(b)).to_bits())
    }
    #[inline(never)]
    fn multiply_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        let mut out = c;
        for (i, lane) in out.iter_mut().enumerate() {
            *lane = fma::<false>(float(a[i]), float(b[i]), float(*lane)).to_bits();
        }
        out
    }
    #[inline(never)]
    fn multiply_add_exact(self, a: Vector, b: Vector, c: Vector) -> Vector {
        zip(self.multiply(a, b), c, |product, c| (float(product) + float(c)).to_bits())
    }
    #[inline(never)]
    fn canonical_nan(self, a: Vector) -> Vector {
        map(a, |a| if a & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { a })
    }
    #[inline(never)]
    fn truncate(self, a: Vector) -> Vector {
        map(a, |a| float(a) as i32 as u32)
    }
    #[inline(never)]
    fn to_float_toward_zero(self, a: Vector) -> Vector {
        map(a, |a| {
            let magnitude = (a as i32).unsigned_abs();
            // Clears the bit that decides rounding (and some below it): what remains rounds down.
            let kept = magnitude & !(magnitude >> 24);
            (kept as f32).to_bits() | a & 0x8000_0000
        })
    }
    #[inline(never)]
    fn widen_f16(self, pairs: Vector) -> [Vector; 2] {
        [
            map(pairs, |pair| f16_to_f32(pair as u16).to_bits()),
            map(pairs, |pair| f16_to_f32((pair >> 16) as u16).to_bits()),
        ]
    }
    #[inline(never)]
    fn narrow_f16(self, halves: [Vector; 2]) -> Vector {
        zip(halves[0], halves[1], |low, high| {
            u32::from(f32_to_f16_rn(float(low))) | u32::from(f32_to_f16_rn(float(high))) << 16
        })
    }
}
