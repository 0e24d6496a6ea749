//! Bits and packed integers: shifts, fields, permutations, counts, dot products, saturation.

// What works on a word is compiled into the loops over lanes, and has no branches, else they become no vector code.

/// `shf.l`: the upper half of (high, low) shifted left by at most 32.
#[inline(always)]
pub fn funnel_left(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) << amount >> 32) as u32
}

/// `shf.r`: the lower half of (high, low) shifted right by at most 32.
#[inline(always)]
pub fn funnel_right(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) >> amount) as u32
}

/// `bfe`: position and length are taken modulo 256; bits beyond the value are zero.
pub fn extract(value: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 || position >= width {
        return 0;
    }
    let shifted = value >> position;
    if length >= 64 { shifted } else { shifted & ((1 << length) - 1) }
}

/// The same of a word.
#[inline(always)]
pub fn extract_word(value: u32, position: u32, length: u32) -> u32 {
    let (position, length) = ((position & 0xff).min(63), (length & 0xff).min(32));
    (u64::from(value) >> position & ((1 << length) - 1)) as u32
}

/// Signed `bfe`: bits beyond the value, and above the field, are copies of the sign of the field.
pub fn extract_signed(value: i64, position: u32, length: u32, width: u32) -> i64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let sign = value >> (position + length - 1).min(width - 1) & 1;
    let mut result = 0i64;
    for bit in 0..width {
        let source = position + bit;
        let value = if bit < length && source < width { value >> source & 1 } else { sign };
        result |= value << bit;
    }
    result
}

/// The same of a word.
#[inline(always)]
pub fn extract_signed_word(value: u32, position: u32, length: u32) -> u32 {
    let (position, length) = ((position & 0xff).min(63), (length & 0xff).min(32));
    // What comes in from above is copies of the value's sign.
    let shifted = i64::from(value as i32) >> position;
    // A field of no bits: both shifts together leave none.
    let (left, right) = (63 - length, 63 - length);
    (shifted << left << 1 >> right >> 1) as u32
}

/// `bfi`: `length` bits of `field` put into `into` at `position`, both modulo 256.
pub fn insert(field: u64, into: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if position >= width || length == 0 {
        return into;
    }
    let mask = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    into & !(mask << position) | (field & mask) << position
}

/// Position of the highest set bit; all ones when there is none.
pub fn position(value: u64) -> u32 {
    if value == 0 { u32::MAX } else { 63 - value.leading_zeros() }
}

/// `bfind.shiftamt`: the shift that brings a position to the top.
pub fn shift_amount(position: u32, top: u32) -> u32 {
    if position == u32::MAX { position } else { top - position }
}

/// The same of a word.
#[inline(always)]
pub fn insert_word(field: u32, into: u32, position: u32, length: u32) -> u32 {
    let (position, length) = ((position & 0xff).min(63), (length & 0xff).min(32));
    let mask = (((1_u64 << length) - 1) << position) as u32;
    into & !mask | (u64::from(field) << position) as u32 & mask
}

/// `prmt`: each selector nibble picks a byte of {b, a}; its top bit replicates that byte's sign.
#[inline(always)]
pub fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let mut result = 0;
    for i in 0..4 {
        let nibble = selector >> (4 * i);
        let from_b = 0_u32.wrapping_sub(nibble >> 2 & 1);
        let byte = (a & !from_b | b & from_b) >> (8 * (nibble & 3)) & 0xff;
        let sign = 0_u32.wrapping_sub(byte >> 7);
        let replicates = 0_u32.wrapping_sub(nibble >> 3 & 1);
        result |= ((byte & !replicates | sign & replicates) & 0xff) << (8 * i);
    }
    result
}

/// The selector of a `prmt` mode (f4e, b4e, rc8, ecl, ecr, rc16) for control c.
pub fn selector(mode: u16, c: u32) -> u32 {
    let table: [[u32; 4]; 6] = [
        [0x3210, 0x4321, 0x5432, 0x6543],
        [0x5670, 0x6701, 0x7012, 0x0123],
        [0x0000, 0x1111, 0x2222, 0x3333],
        [0x3210, 0x3211, 0x3222, 0x3333],
        [0x0000, 0x1110, 0x2210, 0x3210],
        [0x1010, 0x3232, 0x1010, 0x3232],
    ];
    table[usize::from(mode).min(5)][c as usize]
}

/// A part of a value, extended.
#[inline(always)]
fn part(value: u32, shift: u32, bits: u32, signed: bool) -> i32 {
    let field = value >> shift << (32 - bits);
    if signed { field as i32 >> (32 - bits) } else { (field >> (32 - bits)) as i32 }
}

/// `dp4a`: the products of four bytes each, summed with `c`.
#[inline(always)]
pub fn dot4(a: u32, b: u32, c: u32, signed_a: bool, signed_b: bool) -> u32 {
    let mut sum = c;
    for i in 0..4 {
        sum = sum.wrapping_add((part(a, 8 * i, 8, signed_a) * part(b, 8 * i, 8, signed_b)) as u32);
    }
    sum
}

/// Two 16-bit values of a with the two low bytes of b.
#[inline(always)]
pub fn dot2(a: u32, b: u32, c: u32, signed_a: bool, signed_b: bool) -> u32 {
    (0..2).fold(c, |sum, i| sum.wrapping_add((part(a, 16 * i, 16, signed_a) * part(b, 8 * i, 8, signed_b)) as u32))
}

/// `fns`: position of the n-th set bit of `mask` from `base` upwards (n > 0), downwards (n < 0), or at it (n = 0).
pub fn find_nth_set(mask: u32, base: u32, offset: u32) -> u32 {
    let (base, offset) = (base as i32, offset as i32);
    let set = |position: i32| mask >> position & 1 == 1;
    if offset == 0 {
        return if (0..32).contains(&base) && set(base) { base as u32 } else { u32::MAX };
    }
    let (step, mut left) = (offset.signum(), offset.abs());
    let mut at = base;
    while (0..32).contains(&at) {
        if set(at) {
            left -= 1;
            if left == 0 {
                return at as u32;
            }
        }
        at += step;
    }
    u32::MAX
}

/// `cvt.sat` between integers: a 64-bit value, signed or not, clamped to a range of `bits` bits.
pub fn clamp64(value: u64, bits: u32, signed: bool, signed_source: bool) -> u64 {
    let value = if signed_source { i128::from(value as i64) } else { i128::from(value) };
    let (low, high) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    value.clamp(low, high) as u64
}

/// `bmsk`: `length` ones from bit `position` upwards. Modulo 32, or with `CLAMP` as numbers: a position beyond the register
/// gives 0, a length beyond it all bits from the position.
pub fn bit_mask<const CLAMP: bool>(position: u32, length: u32) -> u32 {
    let (start, count) = if CLAMP { (position, length) } else { (position & 31, length & 31) };
    let ones = |count: u32| if count > 31 { u32::MAX } else { (1 << count) - 1 };
    if start > 31 { 0 } else { ones(count) << start }
}

/// `szext`: the low `length` bits of `value`, extended. The length is taken modulo 32, or, with `clamp`, from 32 on leaves
/// the value as it is; no bits make 0.
pub fn extend(value: u32, length: u32, signed: bool, clamp: bool) -> u32 {
    if clamp && length > 31 {
        return value;
    }
    match length & 31 {
        0 => 0,
        length => part(value, 0, length, signed) as u32,
    }
}

/// `cvt.pack.sat`: `b` lowest, above it `a`, both clamped to `bits` bits, and above them the low bits of `c`.
pub fn convert_and_pack(a: u32, b: u32, c: u32, bits: u32, signed: bool) -> u32 {
    let element = |value: u32| {
        let clamped = clamp64(i64::from(value as i32) as u64, bits, signed, true);
        clamped & ((1 << bits) - 1)
    };
    (element(b) | element(a) << bits | u64::from(c) << (2 * bits)) as u32
}

/// An operation of both halves of two registers.
pub fn halves(a: u32, b: u32, operation: impl Fn(u16, u16) -> u16) -> u32 {
    let low = operation(a as u16, b as u16);
    let high = operation((a >> 16) as u16, (b >> 16) as u16);
    u32::from(low) | u32::from(high) << 16
}
