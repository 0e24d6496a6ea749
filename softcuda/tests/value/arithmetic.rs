use crate::{LIMITS, Random, reference::*};
use softcuda::exec::value::{
    float::*,
    rounding::{Rounding, f64_to_f32},
};

fn operands(count: usize) -> impl Iterator<Item = (f32, f32, f32)> {
    let limits = LIMITS
        .into_iter()
        .flat_map(|a| LIMITS.into_iter().flat_map(move |b| LIMITS.into_iter().map(move |c| (a, b, c))));
    let mut random = Random(3);
    limits.chain((0..count).map(move |_| {
        let a = random.f32(1.0);
        let b = random.f32(a);
        let c = if random.bits() & 1 == 0 { random.f32(a * b) } else { random.f32(-b) };
        (a, b, c)
    }))
}

fn decode(x: f32) -> Exact {
    F32.decode(x.to_bits().into())
}

fn check(got: f32, wanted: u64, what: impl Fn() -> String) {
    assert_eq!(u64::from(got.to_bits()), wanted, "{}: got {got:e} {:08x}, wanted {wanted:08x}", what(), got.to_bits());
}

/// IEEE 754's answer for special operands, from the host's own arithmetic in nearest, with PTX's NaN.
fn special(value: f32) -> u64 {
    // Asked of the bits: the optimiser has been seen to answer `is_nan` of a root wrongly.
    if value.abs().to_bits() > f32::INFINITY.to_bits() { F32.nan() } else { value.to_bits().into() }
}

#[test]
fn f32_arithmetic_is_rounded_once_in_every_direction() {
    for (a, b, c) in operands(400_000) {
        let finite = a.is_finite() && b.is_finite();
        for rounding in ROUNDINGS {
            let sum_wanted =
                if finite { F32.round(sum(decode(a), decode(b), rounding), rounding) } else { special(a + b) };
            check(add_rounded(a, b, rounding), sum_wanted, || format!("{a:e} + {b:e} {rounding:?}"));
            check(sub_rounded(a, -b, rounding), sum_wanted, || format!("{a:e} - -{b:e} {rounding:?}"));
            let product_wanted =
                if finite { F32.round(product(decode(a), decode(b)), rounding) } else { special(a * b) };
            check(mul_rounded(a, b, rounding), product_wanted, || format!("{a:e} * {b:e} {rounding:?}"));
            let fused_wanted = if finite && c.is_finite() {
                F32.round(sum(product(decode(a), decode(b)), decode(c), rounding), rounding)
            } else {
                special(a.mul_add(b, c))
            };
            check(fma_rounded(a, b, c, rounding), fused_wanted, || format!("{a:e} * {b:e} + {c:e} {rounding:?}"));
            let quotient_wanted =
                if finite && b != 0.0 { F32.round(quotient(decode(a), decode(b)), rounding) } else { special(a / b) };
            check(div_rounded(a, b, rounding), quotient_wanted, || format!("{a:e} / {b:e} {rounding:?}"));
            let root_wanted =
                if a.is_finite() && a >= 0.0 { F32.round(square_root(decode(a)), rounding) } else { special(a.sqrt()) };
            check(sqrt_rounded(a, rounding), root_wanted, || format!("sqrt {a:e} {rounding:?}"));
            if rounding == Rounding::Nearest {
                check(add(a, b), sum_wanted, || format!("{a:e} + {b:e}"));
                check(sub(a, -b), sum_wanted, || format!("{a:e} - -{b:e}"));
                check(mul(a, b), product_wanted, || format!("{a:e} * {b:e}"));
                check(fma::<true>(a, b, c), fused_wanted, || format!("fma {a:e} {b:e} {c:e}"));
                check(fma::<false>(a, b, c), fused_wanted, || format!("fma in software {a:e} {b:e} {c:e}"));
                check(div(a, b), quotient_wanted, || format!("{a:e} / {b:e}"));
                check(sqrt(a), root_wanted, || format!("sqrt {a:e}"));
            }
        }
    }
}

#[test]
fn f64_sums_are_rounded_in_every_direction() {
    let mut random = Random(5);
    for case in 0..300_000 {
        let a = f64::from_bits(random.bits());
        // Half of them near each other, so that bits meet.
        let b = if case % 2 == 0 {
            f64::from_bits(random.bits())
        } else {
            f64::from_bits(a.to_bits() ^ (random.bits() & 0x803f_ffff_ffff_ffff))
        };
        if !a.is_finite() || !b.is_finite() {
            continue;
        }
        for rounding in ROUNDINGS {
            let wanted = F64.round(sum(F64.decode(a.to_bits()), F64.decode(b.to_bits()), rounding), rounding);
            assert_eq!(add_f64(a, b, rounding).to_bits(), wanted, "{a:e} + {b:e} {rounding:?}");
            let narrow = F32.round(F64.decode(a.to_bits()), rounding);
            check(f64_to_f32(a, rounding), narrow, || format!("{a:e} to f32 {rounding:?}"));
        }
    }
    for rounding in ROUNDINGS {
        assert_eq!(add_f64(f64::INFINITY, f64::NEG_INFINITY, rounding).to_bits(), F64.nan());
        assert_eq!(add_f64(f64::INFINITY, 1.0, rounding), f64::INFINITY);
    }
    assert_eq!(fma_f64::<true>(0.1, 10.0, -1.0), fma_f64::<false>(0.1, 10.0, -1.0));
    assert_eq!(fma_f64::<false>(f64::NAN, 1.0, 1.0).to_bits(), F64.nan());
}

#[test]
fn min_and_max_prefer_numbers_and_order_zeros() {
    for (a, b, _) in operands(200_000) {
        let (number_min, number_max) = match (a.is_nan(), b.is_nan()) {
            (true, true) => (f32::NAN, f32::NAN),
            (true, false) => (b, b),
            (false, true) => (a, a),
            (false, false) if a == b && a == 0.0 => {
                (if a.is_sign_negative() { a } else { b }, if a.is_sign_negative() { b } else { a })
            }
            (false, false) => {
                if a < b {
                    (a, b)
                } else {
                    (b, a)
                }
            }
        };
        check(min::<false>(a, b), special(number_min), || format!("min {a:e} {b:e}"));
        check(max::<false>(a, b), special(number_max), || format!("max {a:e} {b:e}"));
        let any_nan = a.is_nan() || b.is_nan();
        check(min::<true>(a, b), special(if any_nan { f32::NAN } else { number_min }), || {
            format!("min.NaN {a:e} {b:e}")
        });
        check(max::<true>(a, b), special(if any_nan { f32::NAN } else { number_max }), || {
            format!("max.NaN {a:e} {b:e}")
        });
    }
}

#[test]
fn flush_and_saturate() {
    for x in crate::dense_f32() {
        let flushed = if x.is_subnormal() { 0.0_f32.copysign(x) } else { x };
        assert_eq!(flush(x).to_bits(), flushed.to_bits());
        let saturated = if x.is_nan() || x <= 0.0 { 0.0 } else { x.min(1.0) };
        assert_eq!(saturate(x).to_bits(), saturated.to_bits());
    }
}
