use crate::{Random, reference::*};
use softcuda::exec::value::{exact, rounding::Rounding};

/// Specials and their neighbourhoods, values of any size, values near one, with few bits, subnormal.
fn operand(random: &mut Random) -> f64 {
    const SPECIALS: [f64; 12] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::from_bits(0x800f_ffff_ffff_ffff),
    ];
    let bits = random.bits();
    let low = random.bits();
    f64::from_bits(match bits % 8 {
        0 | 1 => low,
        2 | 3 => low & 0x800f_ffff_ffff_ffff | (1023 - 30 + (bits >> 8) % 60) << 52,
        4 => low & 0xffff_ffff_0000_0000,
        5 => low & 0x800f_ffff_ffff_ffff >> ((bits >> 8) % 50),
        6 => SPECIALS[(low % 12) as usize].to_bits().wrapping_add_signed((low >> 8) as i64 % 3),
        _ => SPECIALS[(low % 12) as usize].to_bits(),
    })
}

fn wanted(special: f64, finite: bool, exact: impl FnOnce() -> u64) -> u64 {
    match special.is_nan() {
        true => F64.nan(),
        false if finite => exact(),
        false => special.to_bits(),
    }
}

#[test]
fn f64_products_quotients_and_roots_are_rounded_once_in_every_direction() {
    let mut random = Random(21);
    let decode = |x: f64| F64.decode(x.to_bits());
    for _ in 0..400_000 {
        let (a, b) = (operand(&mut random), operand(&mut random));
        let finite = a.is_finite() && b.is_finite();
        for rounding in ROUNDINGS {
            let product_wanted = wanted(a * b, finite, || F64.round(product(decode(a), decode(b)), rounding));
            assert_eq!(exact::mul(a, b, rounding).to_bits(), product_wanted, "{a:e} * {b:e} {rounding:?}");
            let quotient_wanted =
                wanted(a / b, finite && b != 0.0, || F64.round(quotient(decode(a), decode(b)), rounding));
            assert_eq!(exact::div(a, b, rounding).to_bits(), quotient_wanted, "{a:e} / {b:e} {rounding:?}");
            let root_wanted =
                wanted(a.sqrt(), a.is_finite() && a != 0.0, || F64.round(square_root(decode(a)), rounding));
            assert_eq!(exact::sqrt(a, rounding).to_bits(), root_wanted, "sqrt {a:e} {rounding:?}");
        }
    }
}

#[test]
fn nearest_results_equal_those_of_the_host() {
    let mut random = Random(22);
    // Asked of the bits: the optimiser has been seen to answer `is_nan` of a root wrongly.
    let canonical = |x: f64| if x.abs().to_bits() > f64::INFINITY.to_bits() { F64.nan() } else { x.to_bits() };
    for _ in 0..1_000_000 {
        let (a, b) = (operand(&mut random), operand(&mut random));
        // A third operand near the product, where bits meet and cancel.
        let c = match random.bits() % 3 {
            0 => operand(&mut random),
            1 => -(a * b),
            _ => f64::from_bits((a * b).to_bits() ^ random.bits() >> (random.bits() % 64)),
        };
        let nearest = Rounding::Nearest;
        assert_eq!(exact::mul(a, b, nearest).to_bits(), canonical(a * b), "{a:e} * {b:e}");
        assert_eq!(exact::div(a, b, nearest).to_bits(), canonical(a / b), "{a:e} / {b:e}");
        assert_eq!(exact::sqrt(a, nearest).to_bits(), canonical(a.sqrt()), "sqrt {a:e}");
        let fused = a.mul_add(b, c);
        assert_eq!(exact::fma(a, b, c, nearest).to_bits(), canonical(fused), "{a:e} * {b:e} + {c:e}");
        // The other directions lie around it, next to each other.
        let [down, up, zero] = [Rounding::Down, Rounding::Up, Rounding::Zero].map(|r| exact::fma(a, b, c, r));
        if fused.is_nan() {
            assert!(down.is_nan() && up.is_nan() && zero.is_nan());
            continue;
        }
        assert!(down <= fused && fused <= up, "{a:e} * {b:e} + {c:e}: {down:e} {fused:e} {up:e}");
        assert!(down == up || down.next_up() == up, "{a:e} * {b:e} + {c:e}: {down:e} {up:e}");
        let toward_zero = if fused.is_sign_negative() { up } else { down };
        assert!(zero == toward_zero, "{a:e} * {b:e} + {c:e}: {zero:e}");
        // An inexact nearest result differs from the product and the sum in one of them.
        let error = a.mul_add(b, -(a * b));
        if down == up && error == 0.0 && (a * b).is_normal() {
            let sum = a * b + c;
            assert_eq!(sum, fused, "an exact result");
        }
    }
    for (a, b, c) in [(1.0, 0.0, -0.0), (-1.0, 0.0, 0.0), (1.0, 1.0, -1.0)] {
        let signs = [Rounding::Nearest, Rounding::Down].map(|r| exact::fma(a, b, c, r).is_sign_negative());
        assert_eq!(signs, [false, true], "the sign of a sum of opposite values is the direction's");
    }
}
