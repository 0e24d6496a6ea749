use crate::dense_f32;
use softcuda::exec::value::{approximate::*, float::flush, half_precision::*};

/// Distance to the exact value in units of the last place of a correctly rounded f32 result.
fn ulps(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if rounded.is_infinite() || got.is_infinite() {
        return if got == rounded { 0.0 } else { f64::from(u32::MAX) };
    }
    let exponent = ((rounded.to_bits() >> 23 & 255) as i32).max(1) - 150;
    (f64::from(got) - exact).abs() / 2.0_f64.powi(exponent)
}

fn relative(got: f32, exact: f64) -> f64 {
    if f64::from(got) == exact { 0.0 } else { ((f64::from(got) - exact) / exact).abs() }
}

/// Checks every value of a dense sweep; NaN fails.
fn sweep(what: &str, bound: f64, error: impl Fn(f32) -> Option<f64>) {
    let (mut worst, mut at, mut checked) = (0.0, 0.0, 0);
    for x in dense_f32() {
        if let Some(error) = error(x) {
            assert!(error <= bound, "{what} of {x:e}: error {error:e} above {bound:e}");
            checked += 1;
            if error > worst {
                (worst, at) = (error, x);
            }
        }
    }
    println!("{what}: worst {worst:e} at {at:e} of bound {bound:e}, {checked} values");
    assert!(checked > 1000, "{what}: only {checked} values");
}

fn is_canonical_nan(x: f32) -> bool {
    x.to_bits() == 0x7fff_ffff
}

#[test]
fn ex2_is_within_two_ulp_and_exact_at_integers() {
    sweep("ex2", 2.0, |x| (!x.is_nan()).then(|| ulps(ex2::<false>(x), f64::from(x).exp2())));
    sweep("ex2.ftz", 2.0, |x| {
        (!x.is_nan()).then(|| {
            let (got, exact) = (ex2::<true>(x), f64::from(flush(x)).exp2());
            if exact < f64::from(f32::MIN_POSITIVE) { f64::from(got.to_bits()) } else { ulps(got, exact) }
        })
    });
    // Between -1 and 1 and around every integer more densely: the ends of the reduced range.
    for i in 0..4_000_000 {
        let x = i as f32 / 2_000_000.0 - 1.0;
        assert!(ulps(ex2::<true>(x), f64::from(x).exp2()) <= 1.5, "{x:e}");
    }
    for n in -149..=127 {
        assert_eq!(f64::from(ex2::<false>(n as f32)), 2.0_f64.powi(n), "2^{n}");
        for near in [n as f32 + 0.5, (n as f32 + 0.5).next_down(), (n as f32 + 0.5).next_up()] {
            assert!(ulps(ex2::<false>(near), f64::from(near).exp2()) <= 1.5, "2^{near}");
        }
    }
    for (x, y) in [
        (0.0, 1.0),
        (-0.0, 1.0),
        (f32::INFINITY, f32::INFINITY),
        (f32::NEG_INFINITY, 0.0),
        (128.0, f32::INFINITY),
        (1e30, f32::INFINITY),
        (-1e30, 0.0),
    ] {
        assert_eq!((ex2::<false>(x).to_bits(), ex2::<true>(x).to_bits()), (y.to_bits(), y.to_bits()), "2^{x}");
    }
    assert!(is_canonical_nan(ex2::<false>(-f32::NAN)) && is_canonical_nan(ex2::<true>(f32::NAN)));
}

#[test]
fn half_ex2_and_tanh_of_every_value() {
    for bits in 0..=u16::MAX {
        let x = half::f16::from_bits(bits).to_f64();
        let (power, tangent) = (half::f16::from_bits(ex2_f16(bits)), half::f16::from_bits(tanh_f16(bits)));
        if x.is_nan() {
            assert_eq!((ex2_f16(bits), tanh_f16(bits)), (NAN_16, NAN_16));
        } else {
            let exact = x.exp2();
            if exact >= 65520.0 || exact < 2.0_f64.powi(-14) {
                let rounded = half::f16::from_f64(exact).to_f64();
                assert!(power.to_f64() == rounded || (power.to_f64() - exact).abs() <= 2.0_f64.powi(-24), "2^{x}");
            } else {
                assert!((power.to_f64() / exact - 1.0).abs() <= 2.0_f64.powf(-9.9), "2^{x}");
            }
            assert!((tangent.to_f64() - x.tanh()).abs() <= 2.0_f64.powf(-10.987), "tanh {x}");
            assert_eq!(tangent.is_sign_negative(), bits >> 15 == 1);
        }
        let x = half::bf16::from_bits(bits).to_f64();
        let (power, tangent) = (half::bf16::from_bits(ex2_bf16(bits)), half::bf16::from_bits(tanh_bf16(bits)));
        if x.is_nan() {
            assert_eq!((ex2_bf16(bits), tanh_bf16(bits)), (NAN_16, NAN_16));
            continue;
        }
        let exact = x.exp2();
        if exact < 2.0_f64.powi(-126) {
            assert_eq!(ex2_bf16(bits), 0, "2^{x} is flushed");
        } else if exact >= 2.0_f64.powi(128) {
            assert_eq!(ex2_bf16(bits), BF16_INFINITY);
        } else {
            assert!((power.to_f64() / exact - 1.0).abs() <= 2.0_f64.powi(-7), "2^{x}");
        }
        let error = if x == 0.0 { 0.0 } else { (tangent.to_f64() / x.tanh() - 1.0).abs() };
        assert!(error <= 2.0_f64.powi(-8), "tanh {x}: {error:e}");
    }
}

#[test]
fn lg2_is_within_its_bound() {
    let bound = 2.0_f64.powi(-22);
    sweep("lg2", bound, |x| {
        let (got, exact) = (lg2::<false>(x), f64::from(x).log2());
        (x > 0.0 && x.is_finite())
            .then(|| if x > 0.5 && x < 2.0 { (f64::from(got) - exact).abs() } else { relative(got, exact) })
    });
    for n in -149..=127 {
        assert_eq!(lg2::<false>(2.0_f64.powi(n) as f32), n as f32);
    }
    assert_eq!(lg2::<false>(1.0).to_bits(), 0);
    assert_eq!(lg2::<true>(f32::from_bits(5)), f32::NEG_INFINITY, "a flushed operand");
    for (x, y) in [(0.0, f32::NEG_INFINITY), (-0.0, f32::NEG_INFINITY), (f32::INFINITY, f32::INFINITY)] {
        assert_eq!((lg2::<false>(x), lg2::<true>(x)), (y, y));
    }
    for x in [-1.0, f32::NEG_INFINITY, f32::NAN, -f32::MIN_POSITIVE] {
        assert!(is_canonical_nan(lg2::<false>(x)) && is_canonical_nan(lg2::<true>(x)), "{x}");
    }
}

#[test]
fn reciprocals_and_quotients_are_within_their_bounds() {
    sweep("rcp", 1.0, |x| (x.is_finite() && x != 0.0).then(|| ulps(rcp::<false>(x), 1.0 / f64::from(x))));
    sweep("rcp.ftz", 1.0, |x| {
        let exact = 1.0 / f64::from(x);
        (x.is_normal() && exact.abs() >= f64::from(f32::MIN_POSITIVE)).then(|| ulps(rcp::<true>(x), exact))
    });
    let bound = 2.0_f64.powf(-22.9);
    sweep("rsqrt", bound, |x| {
        (x.is_finite() && x > 0.0).then(|| relative(rsqrt::<false>(x), 1.0 / f64::from(x).sqrt()))
    });
    sweep("sqrt", 0.5, |x| (x.is_finite() && x >= 0.0).then(|| ulps(sqrt::<false>(x), f64::from(x).sqrt())));
    for y in [3.0_f32, -0.7, 1.0e20, 1.5e-30] {
        let in_range = |x: f32| x.abs() >= 2.0_f32.powi(-126) && x.abs() <= 2.0_f32.powi(126);
        sweep("div", 2.0, |x| {
            let exact = f64::from(y) / f64::from(x);
            // The documented error is of normal results.
            (in_range(x) && exact.abs() >= f64::from(f32::MIN_POSITIVE)).then(|| ulps(div::<false>(y, x), exact))
        });
        sweep("div.full", 2.0, |x| {
            (x.is_finite() && x != 0.0).then(|| ulps(div_full::<false>(y, x), f64::from(y) / f64::from(x)))
        });
    }
    let infinity = f32::INFINITY;
    for (x, y) in [(0.0, infinity), (-0.0, -infinity), (infinity, 0.0), (-infinity, -0.0_f32)] {
        assert_eq!((rcp::<false>(x).to_bits(), rcp::<true>(x).to_bits()), (y.to_bits(), y.to_bits()), "1/{x}");
    }
    assert_eq!(rcp::<true>(-f32::from_bits(9)), -infinity, "a flushed operand");
    assert_eq!((rsqrt::<false>(0.0), rsqrt::<false>(-0.0), rsqrt::<false>(infinity)), (infinity, -infinity, 0.0));
    assert!(
        is_canonical_nan(rsqrt::<false>(-1.0))
            && is_canonical_nan(sqrt::<true>(-1.0))
            && is_canonical_nan(rcp::<true>(f32::NAN))
    );
    assert_eq!(div::<false>(-5.0, f32::MAX).to_bits(), (-0.0_f32).to_bits(), "above 2^126 a quotient is zero");
    assert!(is_canonical_nan(div::<false>(infinity, f32::MAX)));
}

#[test]
fn sin_cos_and_tanh_are_within_their_bounds() {
    use std::f64::consts::TAU;
    let bound = 2.0_f64.powf(-20.5);
    let inside = |x: f32| f64::from(x).abs() <= TAU;
    sweep("sin", bound, |x| inside(x).then(|| (f64::from(sin::<false>(x)) - f64::from(x).sin()).abs()));
    sweep("cos", bound, |x| inside(x).then(|| (f64::from(cos::<false>(x)) - f64::from(x).cos()).abs()));
    sweep("tanh", 2.0_f64.powi(-11), |x| (!x.is_nan()).then(|| relative(tanh(x), f64::from(x).tanh())));
    assert_eq!((sin::<true>(-0.0).to_bits(), tanh(-0.0).to_bits()), (0x8000_0000, 0x8000_0000));
    assert_eq!((cos::<true>(0.0), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, 1.0, -1.0));
    for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        assert!(is_canonical_nan(sin::<false>(x)) && is_canonical_nan(cos::<true>(x)));
    }
    assert!(is_canonical_nan(tanh(-f32::NAN)));
    assert_eq!(tanh(f32::from_bits(3)), f32::from_bits(3), "subnormals pass");
}

#[test]
fn f64_seeds_of_newton_iterations() {
    for i in 1..100_000_u64 {
        let x = f64::from_bits(i.wrapping_mul(0x0009_3755_1b3f_9d1d) & !(1 << 63));
        if !x.is_normal() || !(1.0 / x).is_normal() {
            continue;
        }
        for (got, exact) in [(rcp_f64(x), 1.0 / x), (rsqrt_f64(x), 1.0 / x.sqrt())] {
            assert_eq!(got.to_bits() as u32, 0, "the lower word is zero");
            assert!((got / exact - 1.0).abs() < 2.0_f64.powi(-18), "{x:e}: {got:e} for {exact:e}");
        }
    }
    assert_eq!(rcp_f64(f64::NAN).to_bits(), 0x7fff_ffff_0000_0000);
    assert_eq!((rcp_f64(0.0), rcp_f64(f64::INFINITY), rsqrt_f64(-0.0)), (f64::INFINITY, 0.0, f64::NEG_INFINITY));
}
