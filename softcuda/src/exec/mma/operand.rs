//! Operand formats: how a register of a fragment comes apart.

use super::isa::Isa;

/// Exponent of a zero operand: no sum with it reaches that of a nonzero product.
pub(super) const ZERO_EXPONENT: i16 = -2000;
/// Added to the exponent of infinities and NaN: any sum with one is above that of finite values, a zero partner included.
pub(super) const SPECIAL_EXPONENT: i16 = 8000;
/// Every exponent sum that no nonzero product has part in is below.
pub(super) const NO_PRODUCT: i32 = -1000;

/// An operand format. Registers come as vectors of dwords, each with [`Self::ELEMENTS`] elements of one row or column, in order
/// of k; what becomes of them is a *group* of the tables in [`super::table`].
pub(super) trait Operand: Copy {
    /// Groups that a register becomes.
    const GROUPS: usize;
    /// Two groups share a vector of exponents, as 16-bit halves.
    const PAIRED: bool;
    /// Values are pairs of 16-bit integers and have no exponents, or words of bits.
    const INTEGER: bool = false;
    /// Least exponent: of subnormals too.
    const LEAST_EXPONENT: i32 = 0;
    /// Whether the groups of the first halves of all registers come first (see [`Halved`]).
    const HALVES_FIRST: bool = false;

    /// The values of the groups; those past [`Self::GROUPS`] are of no meaning.
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4];

    /// Unbiased exponents plus `bias` of the groups (pairs of them where [`Self::PAIRED`]).
    #[inline(always)]
    fn exponents<S: Isa>(isa: S, _dwords: S::Vector, values: [S::Vector; 4], bias: i16) -> [S::Vector; 4] {
        let least = Self::LEAST_EXPONENT;
        let first = value_exponent(isa, values[0], least, bias);
        if !Self::PAIRED {
            return [alone(isa, first); 4];
        }
        let low = pair(isa, first, value_exponent(isa, values[1], least, bias));
        let third = value_exponent(isa, values[2], least, bias);
        let high = pair(isa, third, value_exponent(isa, values[3], least, bias));
        [low, high, low, high]
    }

    /// Number of the group that group `element` of register step `step` becomes.
    #[inline(always)]
    fn group(step: usize, element: usize, steps: usize) -> usize {
        if Self::HALVES_FIRST {
            element / 2 * 2 * steps + 2 * step + element % 2
        } else {
            step * Self::GROUPS + element
        }
    }
}

/// Exponent of an f32 value, at least `least`, plus `bias`; zero and specials as the constants above say.
#[inline(always)]
fn value_exponent<S: Isa>(isa: S, value: S::Vector, least: i32, bias: i16) -> S::Vector {
    let splat = |value: i32| isa.splat(value as u32);
    let shifted = isa.shift_left::<1>(value);
    let field = isa.shift_right::<24>(shifted);
    let exponent = isa.add(isa.max(field, splat(least + 127)), splat(i32::from(bias) - 127));
    // Both additions for all, then taken back where they do not belong.
    let (zero, special) = (splat(i32::from(ZERO_EXPONENT)), splat(i32::from(SPECIAL_EXPONENT)));
    let with_both = isa.add(isa.add(exponent, zero), special);
    let without_zero = isa.sub(with_both, isa.where_unequal(shifted, isa.splat(0), zero));
    isa.sub(without_zero, isa.where_unequal(field, isa.splat(255), special))
}

/// Two exponents as halves.
#[inline(always)]
fn pair<S: Isa>(isa: S, low: S::Vector, high: S::Vector) -> S::Vector {
    isa.or(isa.and(low, isa.splat(0xffff)), isa.shift_left::<16>(high))
}

/// An exponent beside that of zero.
#[inline(always)]
fn alone<S: Isa>(isa: S, low: S::Vector) -> S::Vector {
    isa.or(isa.and(low, isa.splat(0xffff)), isa.splat((ZERO_EXPONENT as u16 as u32) << 16))
}

/// Exponents of 16-bit floats in both halves, subnormals at the format's least; `FRACTION` bits below the exponent.
#[inline(always)]
fn exponents16<S: Isa, const FRACTION: u32>(isa: S, pairs: S::Vector, all_ones: u16, bias: i16) -> S::Vector {
    let splat = |value: i16| isa.splat(u32::from(value as u16) * 0x0001_0001);
    let magnitude = isa.and(pairs, isa.splat(0x7fff_7fff));
    let field = isa.shift_right16::<FRACTION>(magnitude);
    let exponent = isa.add16(isa.max16(field, splat(1)), splat(bias));
    let exponent = isa.add16_where_equal(exponent, splat(ZERO_EXPONENT), magnitude, splat(0));
    isa.add16_where_equal(exponent, splat(SPECIAL_EXPONENT), field, splat(all_ones as i16))
}

/// IEEE binary16.
#[derive(Clone, Copy)]
pub(super) struct F16;

impl Operand for F16 {
    const GROUPS: usize = 2;
    const PAIRED: bool = true;
    const LEAST_EXPONENT: i32 = -14;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        let [low, high] = isa.widen_f16(dwords);
        [low, high, low, high]
    }
    #[inline(always)]
    fn exponents<S: Isa>(isa: S, dwords: S::Vector, _values: [S::Vector; 4], bias: i16) -> [S::Vector; 4] {
        [exponents16::<S, 10>(isa, dwords, 31, bias - 15); 4]
    }
}

/// bfloat16.
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Operand for Bf16 {
    const GROUPS: usize = 2;
    const PAIRED: bool = true;
    const LEAST_EXPONENT: i32 = -126;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        let (low, high) = (isa.shift_left::<16>(dwords), isa.and(dwords, isa.splat(0xffff_0000)));
        [low, high, low, high]
    }
    #[inline(always)]
    fn exponents<S: Isa>(isa: S, dwords: S::Vector, _values: [S::Vector; 4], bias: i16) -> [S::Vector; 4] {
        [exponents16::<S, 7>(isa, dwords, 255, bias - 127); 4]
    }
}

/// The upper 19 bits of an f32.
#[derive(Clone, Copy)]
pub(super) struct Tf32;

impl Operand for Tf32 {
    const GROUPS: usize = 1;
    const PAIRED: bool = false;
    const LEAST_EXPONENT: i32 = -126;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        [isa.and(dwords, isa.splat(0xffff_e000)); 4]
    }
}

/// Bytes 0 and 1 of every dword in the low halves of 16 bits.
#[inline(always)]
fn byte_pair<S: Isa>(isa: S, dwords: S::Vector) -> S::Vector {
    isa.or(isa.and(dwords, isa.splat(0xff)), isa.and(isa.shift_left::<8>(dwords), isa.splat(0x00ff_0000)))
}

/// e5m2.
#[derive(Clone, Copy)]
pub(super) struct E5m2;

impl Operand for E5m2 {
    const GROUPS: usize = 4;
    const PAIRED: bool = true;
    const LEAST_EXPONENT: i32 = -14;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        // The upper half of an f16.
        let first = isa.widen_f16(isa.shift_left16::<8>(byte_pair(isa, dwords)));
        let second = isa.widen_f16(isa.shift_left16::<8>(byte_pair(isa, isa.shift_right::<16>(dwords))));
        [first[0], first[1], second[0], second[1]]
    }
}

/// e4m3.
#[derive(Clone, Copy)]
pub(super) struct E4m3;

impl E4m3 {
    /// Values of bytes in the low halves of 16 bits.
    #[inline(always)]
    fn pair_values<S: Isa>(isa: S, pair: S::Vector) -> [S::Vector; 2] {
        let both = |value: u32| isa.splat(value * 0x0001_0001);
        let magnitude = isa.and(pair, both(0x7f));
        let sign = isa.shift_left16::<8>(isa.and(pair, both(0x80)));
        // The bits of an f16 with an exponent that is 8 too small; all ones are NaN.
        let magnitude16 = isa.shift_left16::<7>(magnitude);
        let small = isa.add16_where_equal(magnitude16, both(0x7e00 - (0x7f << 7)), magnitude, both(0x7f));
        let [low, high] = isa.widen_f16(isa.or(small, sign));
        let scale = isa.splat(256f32.to_bits());
        [isa.multiply(low, scale), isa.multiply(high, scale)]
    }
}

impl Operand for E4m3 {
    const GROUPS: usize = 4;
    const PAIRED: bool = true;
    const LEAST_EXPONENT: i32 = -6;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        let first = Self::pair_values(isa, byte_pair(isa, dwords));
        let second = Self::pair_values(isa, byte_pair(isa, isa.shift_right::<16>(dwords)));
        [first[0], first[1], second[0], second[1]]
    }
}

/// 8-bit floats as Hopper's `mma.sync` takes them: converted to f16, the first two of every four places apart from the others
/// (HARDWARE 1.2).
#[derive(Clone, Copy)]
pub(super) struct Halved<T>(std::marker::PhantomData<T>);

impl<T: Operand> Operand for Halved<T> {
    const GROUPS: usize = 4;
    const PAIRED: bool = true;
    const LEAST_EXPONENT: i32 = -14;
    const HALVES_FIRST: bool = true;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        T::values(isa, dwords)
    }
}

/// 8-bit integers: bytes 0 and 2 as 16-bit halves, then 1 and 3.
#[derive(Clone, Copy)]
pub(super) struct Bytes<const SIGNED: bool>;

impl<const SIGNED: bool> Operand for Bytes<SIGNED> {
    const GROUPS: usize = 2;
    const PAIRED: bool = false;
    const INTEGER: bool = true;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        let (even, odd) = if SIGNED {
            (isa.shift_right16_signed::<8>(isa.shift_left16::<8>(dwords)), isa.shift_right16_signed::<8>(dwords))
        } else {
            (isa.and(dwords, isa.splat(0x00ff_00ff)), isa.shift_right16::<8>(dwords))
        };
        [even, odd, even, odd]
    }
}

/// 4-bit integers: nibbles 0 and 4 as 16-bit halves, then 1 and 5, 2 and 6, 3 and 7.
#[derive(Clone, Copy)]
pub(super) struct Nibbles<const SIGNED: bool>;

impl<const SIGNED: bool> Operand for Nibbles<SIGNED> {
    const GROUPS: usize = 4;
    const PAIRED: bool = false;
    const INTEGER: bool = true;

    #[inline(always)]
    fn values<S: Isa>(isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        let mut values =
            [isa.shift_left16::<12>(dwords), isa.shift_left16::<8>(dwords), isa.shift_left16::<4>(dwords), dwords];
        for value in &mut values {
            *value = if SIGNED { isa.shift_right16_signed::<12>(*value) } else { isa.shift_right16::<12>(*value) };
        }
        values
    }
}

/// Bits: dwords as they are.
#[derive(Clone, Copy)]
pub(super) struct Bits;

impl Operand for Bits {
    const GROUPS: usize = 1;
    const PAIRED: bool = false;
    const INTEGER: bool = true;

    #[inline(always)]
    fn values<S: Isa>(_isa: S, dwords: S::Vector) -> [S::Vector; 4] {
        [dwords; 4]
    }
}
