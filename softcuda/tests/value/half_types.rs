use crate::{Random, reference::*};
use softcuda::exec::value::{half_arithmetic::*, rounding::Rounding::Nearest};

type Binary = fn(u16, u16) -> u16;

/// Pairs and triples: every value, with partners of any bits and of nearby exponents.
fn triples(seed: u64) -> impl Iterator<Item = [u16; 3]> {
    let mut random = Random(seed);
    (0..=u16::MAX).flat_map(move |a| {
        let special = [0, 0x8000, 0x7c00, 0xfc00, 0x7f80, 0x7fff, 1, 0x8001, 0x3c00, 0x03ff];
        let mut partners: Vec<[u16; 3]> =
            special.map(|b| [a, b, special[random.bits() as usize % special.len()]]).to_vec();
        for _ in 0..40 {
            let bits = random.bits();
            let near = (a & 0x7fff).wrapping_add_signed((bits >> 32) as i16 % 3000) & 0x7fff;
            partners.push([a, bits as u16, (bits >> 16) as u16]);
            partners.push([a, near | (bits as u16 & 0x8000), (bits >> 48) as u16]);
        }
        partners
    })
}

fn check(
    format: Format,
    infinity: u16,
    [add, sub, mul]: [Binary; 3],
    fma: fn(u16, u16, u16) -> u16,
    to_f64: fn(u16) -> f64,
) {
    let decode = |x: u16| format.decode(x.into());
    let finite = |x: u16| x & 0x7fff < infinity;
    // Special operands: f64's answer, which is a special value or one of the operands.
    let special = |x: f64| {
        if x.is_nan() { 0x7fff } else { (if x == 0.0 { 0 } else { infinity }) | u16::from(x.is_sign_negative()) << 15 }
    };
    for [a, b, c] in triples(format.fraction.into()) {
        let (x, y, z) = (to_f64(a), to_f64(b), to_f64(c));
        let both = finite(a) && finite(b);
        let round = |value| format.round(value, Nearest) as u16;
        let wanted = if both { round(sum(decode(a), decode(b), Nearest)) } else { special(x + y) };
        assert_eq!(add(a, b), wanted, "{a:04x} + {b:04x}");
        assert_eq!(sub(a, b ^ 0x8000), wanted, "{a:04x} - {b:04x} negated");
        let wanted = if both { round(product(decode(a), decode(b))) } else { special(x * y) };
        assert_eq!(mul(a, b), wanted, "{a:04x} * {b:04x}");
        let wanted = if both && finite(c) {
            round(sum(product(decode(a), decode(b)), decode(c), Nearest))
        } else {
            special(x.mul_add(y, z))
        };
        assert_eq!(fma(a, b, c), wanted, "{a:04x} * {b:04x} + {c:04x}");
    }
}

#[test]
fn f16_arithmetic_is_rounded_once() {
    check(F16, 0x7c00, [add_f16, sub_f16, mul_f16], fma_f16, |x| half::f16::from_bits(x).to_f64());
}

#[test]
fn bf16_arithmetic_is_rounded_once() {
    check(BF16, 0x7f80, [add_bf16, sub_bf16, mul_bf16], fma_bf16, |x| half::bf16::from_bits(x).to_f64());
}

#[test]
fn f16_fma_of_a_warp_equals_that_of_its_lanes() {
    use softcuda::exec::value::Lanes;
    let mut random = Random(2);
    for _ in 0..10_000 {
        let [a, b, c] = [(); 3].map(|()| {
            let mut lanes = Lanes::ZERO;
            lanes.0.fill_with(|| random.bits() as u32);
            lanes
        });
        let wanted: [u32; 32] = std::array::from_fn(|i| both3(a.0[i], b.0[i], c.0[i], fma_f16));
        assert_eq!(fma_f16x2(&a, &b, &c).0, wanted);
    }
}

#[test]
fn half_min_and_max_prefer_numbers_and_order_zeros() {
    let check = |[min, min_nan, max, max_nan]: [Binary; 4], value: fn(u16) -> f32, [a, b]: [u16; 2]| {
        let (x, y) = (value(a), value(b));
        let a_first = x < y || x == y && a >> 15 > b >> 15;
        let (low, high) = if a_first { (a, b) } else { (b, a) };
        let wanted = match (x.is_nan(), y.is_nan()) {
            (true, true) => [0x7fff; 4],
            (true, false) => [b, 0x7fff, b, 0x7fff],
            (false, true) => [a, 0x7fff, a, 0x7fff],
            (false, false) => [low, low, high, high],
        };
        assert_eq!([min(a, b), min_nan(a, b), max(a, b), max_nan(a, b)], wanted, "{a:04x} {b:04x}");
    };
    for [a, b, _] in triples(1) {
        check(
            [min_f16::<false>, min_f16::<true>, max_f16::<false>, max_f16::<true>],
            |x| half::f16::from_bits(x).to_f32(),
            [a, b],
        );
        check(
            [min_bf16::<false>, min_bf16::<true>, max_bf16::<false>, max_bf16::<true>],
            |x| half::bf16::from_bits(x).to_f32(),
            [a, b],
        );
    }
}

#[test]
fn signs_and_pairs() {
    assert_eq!((neg(0x3c00), abs(0xbc00)), (0xbc00, 0x3c00));
    assert_eq!(both(0x3c00_4000, 0x3c00_3c00, add_f16), 0x4000_4200, "1 + 1 over 2 + 1");
    assert_eq!(both3(0x4000_4000, 0x4000_3c00, 0x3c00_0000, fma_f16), 0x4500_4000, "2 * 2 + 1 over 2 * 1 + 0");
}
