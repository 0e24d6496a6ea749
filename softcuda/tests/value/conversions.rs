use crate::{LIMITS, Random, dense_f32, reference::*};
use softcuda::exec::value::{half_precision::*, integer::*, rounding::Rounding};

#[test]
fn f32_narrows_in_every_direction() {
    for x in dense_f32() {
        for rounding in ROUNDINGS {
            for (format, got) in [(F16, f32_to_f16(x, rounding)), (BF16, f32_to_bf16(x, rounding))] {
                let wanted = if x.is_nan() {
                    format.nan()
                } else if x.is_infinite() {
                    format.infinity() | u64::from(x < 0.0) << 15
                } else {
                    format.round(F32.decode(x.to_bits().into()), rounding)
                };
                assert_eq!(u64::from(got), wanted, "{x:e} {rounding:?} to {} fraction bits", format.fraction);
            }
        }
        assert_eq!(f32_to_f16(x, Rounding::Nearest), f32_to_f16_rn(x));
        assert_eq!(f32_to_bf16(x, Rounding::Nearest), f32_to_bf16_rn(x));
    }
}

#[test]
fn every_16_bit_value_widens_exactly_and_comes_back() {
    for bits in 0..=u16::MAX {
        let (f16, bf16) = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
        if f16.is_nan() {
            assert_eq!(cvt_f32_f16(bits).to_bits(), 0x7fff_ffff);
            assert!(f16_to_f32(bits).is_nan());
            assert_eq!(f32_to_f16_rn(f16_to_f32(bits)), NAN_16);
        } else {
            assert_eq!(f16_to_f32(bits).to_bits(), f16.to_f32().to_bits());
            assert_eq!(f32_to_f16_rn(cvt_f32_f16(bits)), bits);
        }
        assert_eq!(bf16_to_f32(bits).to_bits(), u32::from(bits) << 16);
        assert_eq!(f32_to_bf16_rn(bf16_to_f32(bits)), if bf16.is_nan() { NAN_16 } else { bits });
    }
}

#[test]
fn modifiers_of_16_bit_results() {
    for bits in 0..=u16::MAX {
        let value = half::f16::from_bits(bits);
        let negative = bits >> 15 == 1;
        assert_eq!(relu(bits), if negative { 0 } else { bits });
        let finite = if value.is_infinite() { half::f16::MAX.to_bits() | bits & 0x8000 } else { bits };
        assert_eq!(saturate_finite(bits, F16_INFINITY), finite);
        let saturated = if value.is_nan() || negative { 0.0 } else { value.to_f32().min(1.0) };
        assert_eq!(saturate_f16(bits), half::f16::from_f32(saturated).to_bits());
        let value = half::bf16::from_bits(bits);
        let saturated = if value.is_nan() || negative { 0.0 } else { value.to_f32().min(1.0) };
        assert_eq!(saturate_bf16(bits), half::bf16::from_f32(saturated).to_bits());
        let subnormal = bits & 0x7fff < 0x0400;
        assert_eq!(flush_f16(bits), if subnormal { bits & 0x8000 } else { bits });
    }
    assert_eq!(saturate_finite(BF16_INFINITY, BF16_INFINITY), 0x7f7f);
    assert_eq!(f32_to_f16x2_rn(1.0, 2.0), 0x3c00_4000, "the first source goes to the high half");
    assert_eq!(f32_to_bf16x2_rn(1.0, 2.0), 0x3f80_4000);
    assert_eq!((low(0x1234_5678), high(0x1234_5678), pack(0x5678, 0x1234)), (0x5678, 0x1234, 0x1234_5678));
}

/// The integer nearest in a direction, unbounded.
fn integral(x: f64, rounding: Rounding) -> f64 {
    let floor = x.floor();
    match rounding {
        Rounding::Nearest if x - floor > 0.5 || x - floor == 0.5 && floor % 2.0 != 0.0 => floor + 1.0,
        Rounding::Up if floor != x => floor + 1.0,
        Rounding::Zero if x < 0.0 && floor != x => floor + 1.0,
        _ => floor,
    }
}

#[test]
fn floats_to_integers_saturate_and_nan_is_as_documented() {
    let mut random = Random(9);
    let values = LIMITS.into_iter().chain([
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        -2.5,
        127.5,
        -128.5,
        255.5,
        32767.5,
        2147483648.0,
        4294967296.0,
        9.3e18,
        1.9e19,
    ]);
    for x in values.chain((0..500_000).map(move |_| random.f32(1000.0))) {
        for rounding in ROUNDINGS {
            let whole = integral(x.into(), rounding);
            let wide = x.is_nan();
            macro_rules! check {
                ($($f32:ident $f64:ident $t:ty, $nan32:expr, $nan64:expr;)*) => {$(
                    let wanted = whole.clamp(<$t>::MIN as f64, <$t>::MAX as f64) as $t;
                    assert_eq!($f32(x, rounding), if wide { $nan32 } else { wanted }, "{x:e} {rounding:?}");
                    assert_eq!($f64(x.into(), rounding), if wide { $nan64 } else { wanted }, "{x:e} {rounding:?}");
                )*};
            }
            check!(
                f32_to_i8 f64_to_i8 i8, 0, i8::MIN;
                f32_to_u8 f64_to_u8 u8, 0, 0x80;
                f32_to_i16 f64_to_i16 i16, 0, i16::MIN;
                f32_to_u16 f64_to_u16 u16, 0, 0x8000;
                f32_to_i32 f64_to_i32 i32, 0, i32::MIN;
                f32_to_u32 f64_to_u32 u32, 0, 0x8000_0000;
                f32_to_i64 f64_to_i64 i64, i64::MIN, i64::MIN;
                f32_to_u64 f64_to_u64 u64, 1 << 63, 1 << 63;
            );
            let rounded = round_f32(x, rounding);
            if x.is_nan() {
                assert_eq!(rounded.to_bits(), 0x7fff_ffff);
            } else {
                assert_eq!(f64::from(rounded), whole, "{x:e} {rounding:?}");
                assert_eq!(rounded.is_sign_negative(), x.is_sign_negative() || whole < 0.0);
            }
            assert_eq!(round_f64(x.into(), rounding) as f32, if x.is_nan() { continue } else { rounded });
        }
    }
}

#[test]
fn integers_to_floats_in_every_direction() {
    let mut random = Random(13);
    let limits = [
        0,
        1,
        u64::MAX,
        1 << 63,
        (1 << 63) - 1,
        1 << 24,
        (1 << 24) + 1,
        (1 << 53) + 1,
        0xffff_ff7f,
        0x7fff_ffff,
        0x8000_0001,
    ];
    for bits in limits.into_iter().chain((0..300_000).map(move |_| random.bits() >> (random.bits() % 64))) {
        for rounding in ROUNDINGS {
            let exact =
                |value: i128| Exact { negative: value < 0, magnitude: value.unsigned_abs(), unit: 0, sticky: false };
            let f32_of = |value: i128| F32.round(exact(value), rounding) as u32;
            let f64_of = |value: i128| F64.round(exact(value), rounding);
            assert_eq!(i32_to_f32(bits as i32, rounding).to_bits(), f32_of((bits as i32).into()));
            assert_eq!(u32_to_f32(bits as u32, rounding).to_bits(), f32_of((bits as u32).into()));
            assert_eq!(i64_to_f32(bits as i64, rounding).to_bits(), f32_of((bits as i64).into()));
            assert_eq!(u64_to_f32(bits, rounding).to_bits(), f32_of(bits.into()));
            assert_eq!(i64_to_f64(bits as i64, rounding).to_bits(), f64_of((bits as i64).into()));
            assert_eq!(u64_to_f64(bits, rounding).to_bits(), f64_of(bits.into()));
            for value in [i128::from(bits as i64), i128::from(bits), i128::from(bits as i16), i128::from(bits as u16)] {
                let odd = integer_to_odd_f32(value);
                assert_eq!(
                    u64::from(f32_to_f16(odd, rounding)),
                    F16.round(exact(value), rounding),
                    "{value} {rounding:?}"
                );
                assert_eq!(
                    u64::from(f32_to_bf16(odd, rounding)),
                    BF16.round(exact(value), rounding),
                    "{value} {rounding:?}"
                );
            }
        }
    }
}
