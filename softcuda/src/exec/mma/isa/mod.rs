//! Sixteen 32-bit lanes in registers: the few operations that tensor-core arithmetic needs, once per instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

#[cfg(target_arch = "x86_64")]
pub use self::{avx2::Avx2, avx512::Avx512};
pub use plain::Plain;

/// An instruction set of the host, present on this machine whenever a value of the type exists.
///
/// A [`Self::Vector`] is sixteen 32-bit lanes; `16` in a name means that it is taken as 32 lanes of 16 bits. All instruction
/// sets return the same bits. Methods must be called from a function with the set's target features to be fast.
pub trait Isa: Copy {
    /// Sixteen lanes of 32 bits.
    type Vector: Copy;

    /// Reads sixteen lanes.
    fn load(self, from: &[u32; 16]) -> Self::Vector;
    /// Writes sixteen lanes.
    fn store(self, vector: Self::Vector, to: &mut [u32; 16]);
    /// The same value in every lane.
    fn splat(self, value: u32) -> Self::Vector;
    /// Turns four groups of lanes in each of four vectors round: lane `4 i + t` of vector `q` goes to lane `4 i + q` of vector
    /// `t`. Done twice it changes nothing.
    fn transpose_quads(self, vectors: [Self::Vector; 4]) -> [Self::Vector; 4];

    /// Bitwise and.
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Bitwise or.
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Bitwise exclusive or.
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Logical shift left.
    fn shift_left<const BITS: u32>(self, a: Self::Vector) -> Self::Vector;
    /// Logical shift right.
    fn shift_right<const BITS: u32>(self, a: Self::Vector) -> Self::Vector;
    /// Wrapping sum.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Wrapping difference.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Signed maximum.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Bit `i` set where `a > b` in lane `i`, unsigned.
    fn mask_above(self, a: Self::Vector, b: Self::Vector) -> u32;
    /// Bit `i` set where adding `a` and `b` to `sum` overflowed in lane `i`.
    fn mask_overflow(self, a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> u32;
    /// `value` where `a != b`, 0 elsewhere.
    fn where_unequal(self, a: Self::Vector, b: Self::Vector, value: Self::Vector) -> Self::Vector;

    /// 16-bit shift left.
    fn shift_left16<const BITS: u32>(self, a: Self::Vector) -> Self::Vector;
    /// 16-bit arithmetic shift right.
    fn shift_right16_signed<const BITS: u32>(self, a: Self::Vector) -> Self::Vector;
    /// 16-bit logical shift right.
    fn shift_right16<const BITS: u32>(self, a: Self::Vector) -> Self::Vector;
    /// 16-bit wrapping sum.
    fn add16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 16-bit signed maximum.
    fn max16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 16-bit `to + value` where `a == b`, else `to`.
    fn add16_where_equal(self, to: Self::Vector, value: Self::Vector, a: Self::Vector, b: Self::Vector)
    -> Self::Vector;
    /// The larger of both signed 16-bit halves of each lane, sign-extended.
    fn max_of_halves(self, a: Self::Vector) -> Self::Vector;

    /// `sum` plus the products of both signed 16-bit halves of each lane, wrapping.
    fn dot16(self, a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;

    /// f32 product.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// f32 `a * b + c`, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// f32 `a * b + c`, rounded once, where the caller knows that `a * b` is exact in f32.
    fn multiply_add_exact(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// 0x7fffffff in place of any f32 NaN.
    fn canonical_nan(self, a: Self::Vector) -> Self::Vector;
    /// f32 below 2^31 in magnitude to i32, toward zero.
    fn truncate(self, a: Self::Vector) -> Self::Vector;
    /// i32 to f32, toward zero.
    fn to_float_toward_zero(self, a: Self::Vector) -> Self::Vector;
    /// f16 pairs to f32: the low halves, the high halves.
    fn widen_f16(self, pairs: Self::Vector) -> [Self::Vector; 2];
    /// f32 to f16, to nearest even, as pairs: low halves, high halves.
    fn narrow_f16(self, halves: [Self::Vector; 2]) -> Self::Vector;
}
