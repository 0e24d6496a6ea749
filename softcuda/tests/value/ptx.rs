//! Conversions as PTX instructions: every 16-bit source, dense sweeps of f32, integers and f64, against the definition.

use crate::kinds::{Extra, INTEGERS, Kind, Kind::*, Source, integral};
use crate::{Random, launch, reference::Exact};
use softcuda::exec::value::rounding::Rounding;

/// Runs `opcode` over sources, the same for both operands of those that have `two`.
fn execute(opcode: &str, from: u32, to: u32, sources: &[u64], two: bool) -> Vec<u64> {
    let count = 1 + usize::from(two);
    launch::execute(opcode, &vec![from; count], to, &vec![sources.to_vec(); count])
}

pub(crate) const FLOAT_ROUNDINGS: [(&str, Rounding); 4] =
    [("rn", Rounding::Nearest), ("rz", Rounding::Zero), ("rm", Rounding::Down), ("rp", Rounding::Up)];

fn check(opcode: &str, (from, to): (Kind, Kind), sources: &[u64], rounding: Rounding, extra: Extra) {
    let results = execute(opcode, from.bits(), to.bits(), sources, false);
    let wide_nan = from == F64 || to.bits() == 64;
    for (&source, &got) in sources.iter().zip(&results) {
        let flushed = match from.format() {
            Some(format) if extra.ftz && from == F32 && source & format.infinity() == 0 => source & 1 << 31,
            _ => source,
        };
        let mut wanted = to.convert(from.decode(flushed), rounding, extra, wide_nan);
        if extra.ftz && to == F32 && wanted & 0x7f80_0000 == 0 {
            wanted &= 1 << 31;
        }
        // A NaN of a wider format may have any bits.
        let both_nan = matches!(to, F32 | F64) && to.format().is_some_and(|f| f.is_nan(got) && f.is_nan(wanted));
        assert!(got == wanted || both_nan, "{opcode} of {source:#x}: {got:#x}, expected {wanted:#x}");
    }
}

fn every_16_bits() -> Vec<u64> {
    (0..=0xffff).collect()
}

/// Every sign, exponent and upper fraction of f32, with the lower bits that decide roundings.
fn dense() -> Vec<u64> {
    let lower = [0, 1, 0xfff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff];
    (0..1u64 << 16).flat_map(|upper| lower.map(|lower| upper << 16 | lower)).collect()
}

/// f64: values of f32 and their neighbours, halfway points, and any bits.
fn doubles() -> Vec<u64> {
    let mut random = Random(31);
    let mut values = vec![0, 1 << 63, f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits(), f64::NAN.to_bits()];
    for _ in 0..60_000 {
        let near = f64::from(random.f32(1.0));
        let bits = near.to_bits();
        values.extend([bits, bits.wrapping_add(1), bits.wrapping_sub(1), bits | 1 << 28, random.bits()]);
        let whole = (random.bits() >> (random.bits() % 64)) as f64;
        values.extend([whole, -whole, whole + 0.5, 0.5 - whole].map(f64::to_bits));
    }
    values
}

#[test]
fn every_f16_and_bf16_converts_as_defined() {
    let sources = every_16_bits();
    for (kind, sat) in [(F16, true), (Bf16, false)] {
        for to in INTEGERS {
            if kind == Bf16 && to.bits() == 8 {
                continue;
            }
            for (name, rounding) in FLOAT_ROUNDINGS {
                let opcode = format!("cvt.{name}i.{}.{}", to.name(), kind.name());
                check(&opcode, (kind, to), &sources, rounding, Extra::default());
                if sat {
                    let opcode = format!("cvt.{name}i.sat.{}.f16", to.name());
                    check(&opcode, (kind, to), &sources, rounding, Extra::default());
                }
            }
        }
        let other = if kind == F16 { Bf16 } else { F16 };
        for (name, rounding) in FLOAT_ROUNDINGS {
            let opcode = format!("cvt.{name}.{}.{}", other.name(), kind.name());
            check(&opcode, (kind, other), &sources, rounding, Extra::default());
        }
        for to in [F32, F64] {
            let opcode = format!("cvt.{}.{}", to.name(), kind.name());
            check(&opcode, (kind, to), &sources, Rounding::Nearest, Extra::default());
        }
    }
    let sat = Extra { sat: true, ..Extra::default() };
    let ftz = Extra { ftz: true, ..Extra::default() };
    check("cvt.sat.f32.f16", (F16, F32), &sources, Rounding::Nearest, sat);
    check("cvt.sat.f64.f16", (F16, F64), &sources, Rounding::Nearest, sat);
    check("cvt.sat.f16.f16", (F16, F16), &sources, Rounding::Nearest, sat);
    check("cvt.ftz.f32.bf16", (Bf16, F32), &sources, Rounding::Nearest, ftz);
}

#[test]
fn every_f16_and_bf16_rounds_to_an_integral_value() {
    for (kind, name) in [(F16, "f16"), (Bf16, "bf16")] {
        for (direction, rounding) in FLOAT_ROUNDINGS {
            let sources = every_16_bits();
            let opcode = format!("cvt.{direction}i.{name}.{name}");
            let results = execute(&opcode, 16, 16, &sources, false);
            for (&source, &got) in sources.iter().zip(&results) {
                let wanted = match kind.decode(source) {
                    Source::Nan => 0x7fff,
                    Source::Infinite(_) => source,
                    // Large values are integral; the others' integers are exact in the format.
                    Source::Finite(value) if value.unit >= 0 => source,
                    Source::Finite(value) => {
                        let whole = integral(value, rounding);
                        let exact =
                            Exact { negative: value.negative, magnitude: whole.unsigned_abs(), unit: 0, sticky: false };
                        kind.format().expect("a format").round(exact, Rounding::Zero)
                    }
                };
                assert_eq!(got, wanted, "{opcode} of {source:#x}");
            }
        }
    }
}

#[test]
fn every_byte_pair_and_f16_converts_between_the_formats() {
    let pairs = every_16_bits();
    for (kind, name) in [(E4m3, "e4m3x2"), (E5m2, "e5m2x2")] {
        for relu in [false, true] {
            let extra = Extra { relu, satfinite: true, ..Extra::default() };
            let word = if relu { ".relu" } else { "" };
            let narrow = |bits: u64, from: Kind| kind.convert(from.decode(bits), Rounding::Nearest, extra, false);
            let wide = |bits: u64| {
                F16.convert(kind.decode(bits), Rounding::Nearest, Extra { satfinite: false, ..extra }, false)
            };
            let opcode = format!("cvt.rn{word}.f16x2.{name}");
            for (&pair, got) in pairs.iter().zip(execute(&opcode, 16, 32, &pairs, false)) {
                assert_eq!(got, wide(pair & 0xff) | wide(pair >> 8) << 16, "{opcode} of {pair:#x}");
            }
            let halves: Vec<u64> = pairs.iter().map(|&low| low | (low.wrapping_mul(0x9e37) & 0xffff) << 16).collect();
            let opcode = format!("cvt.rn.satfinite{word}.{name}.f16x2");
            for (&pair, got) in halves.iter().zip(execute(&opcode, 32, 16, &halves, false)) {
                let wanted = narrow(pair & 0xffff, F16) | narrow(pair >> 16, F16) << 8;
                assert_eq!(got, wanted, "{opcode} of {pair:#x}");
            }
            let sources = dense();
            let opcode = format!("cvt.rn.satfinite{word}.{name}.f32");
            for (&source, got) in sources.iter().zip(execute(&opcode, 32, 16, &sources, true)) {
                let wanted = narrow(source, F32);
                assert_eq!(got, wanted | wanted << 8, "{opcode} of {source:#x}");
            }
        }
    }
}

#[test]
fn f32_narrows_as_defined_over_a_dense_sweep() {
    let sources = dense();
    let plain = Extra::default();
    for (name, rounding) in FLOAT_ROUNDINGS {
        for to in [F16, Bf16] {
            let ty = to.name();
            check(&format!("cvt.{name}.{ty}.f32"), (F32, to), &sources, rounding, plain);
            let ftz = Extra { ftz: true, ..plain };
            check(&format!("cvt.{name}.ftz.{ty}.f32"), (F32, to), &sources, rounding, ftz);
        }
        let sat = Extra { sat: true, ..plain };
        check(&format!("cvt.{name}.sat.f16.f32"), (F32, F16), &sources, rounding, sat);
    }
    for (name, rounding) in &FLOAT_ROUNDINGS[..2] {
        for (word, relu, satfinite) in
            [(".relu", true, false), (".satfinite", false, true), (".relu.satfinite", true, true)]
        {
            let extra = Extra { relu, satfinite, ..plain };
            for to in [F16, Bf16] {
                check(&format!("cvt.{name}{word}.{}.f32", to.name()), (F32, to), &sources, *rounding, extra);
                let opcode = format!("cvt.{name}{word}.{}x2.f32", to.name());
                for (&source, got) in sources.iter().zip(execute(&opcode, 32, 32, &sources, true)) {
                    let half = to.convert(F32.decode(source), *rounding, extra, false);
                    assert_eq!(got, half | half << 16, "{opcode} of {source:#x}");
                }
            }
        }
        let relu = Extra { relu: true, ..plain };
        check(&format!("cvt.{name}.tf32.f32"), (F32, Tf32), &sources, *rounding, plain);
        check(&format!("cvt.{name}.relu.tf32.f32"), (F32, Tf32), &sources, *rounding, relu);
    }
    let away = Extra { away: true, ..plain };
    check("cvt.rna.tf32.f32", (F32, Tf32), &sources, Rounding::Nearest, away);
    let finite = Extra { satfinite: true, ..away };
    check("cvt.rna.satfinite.tf32.f32", (F32, Tf32), &sources, Rounding::Nearest, finite);
}

#[test]
fn f32_and_f64_convert_to_integers_and_to_each_other_as_defined() {
    let plain = Extra::default();
    let few: Vec<u64> = dense().into_iter().step_by(5).collect();
    for (kind, sources) in [(F32, few), (F64, doubles())] {
        for (name, rounding) in FLOAT_ROUNDINGS {
            for to in INTEGERS {
                let opcode = format!("cvt.{name}i.{}.{}", to.name(), kind.name());
                check(&opcode, (kind, to), &sources, rounding, plain);
            }
            if kind == F64 {
                let sat = Extra { sat: true, ..plain };
                let ftz = Extra { ftz: true, ..plain };
                for to in [F32, F16, Bf16] {
                    check(&format!("cvt.{name}.{}.f64", to.name()), (F64, to), &sources, rounding, plain);
                }
                check(&format!("cvt.{name}.sat.f32.f64"), (F64, F32), &sources, rounding, sat);
                check(&format!("cvt.{name}.sat.f16.f64"), (F64, F16), &sources, rounding, sat);
                check(&format!("cvt.{name}.ftz.f32.f64"), (F64, F32), &sources, rounding, ftz);
            }
        }
        let sat = Extra { sat: true, ..plain };
        check(&format!("cvt.sat.f64.{}", kind.name()), (kind, F64), &sources, Rounding::Nearest, sat);
    }
}

#[test]
fn integers_convert_to_floats_and_saturate_as_defined() {
    let mut random = Random(33);
    let mut sources = every_16_bits();
    sources.extend((0..60_000).map(|_| random.bits() >> (random.bits() % 64)));
    sources
        .extend((0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1u64 << bit).wrapping_neg(), u64::MAX << bit]));
    for from in INTEGERS {
        for to in [F16, Bf16, F32, F64] {
            if to == Bf16 && from.bits() == 8 {
                continue;
            }
            for (name, rounding) in FLOAT_ROUNDINGS {
                for sat in [false, true] {
                    if sat && to == Bf16 {
                        continue;
                    }
                    let word = if sat { ".sat" } else { "" };
                    let opcode = format!("cvt.{name}{word}.{}.{}", to.name(), from.name());
                    check(&opcode, (from, to), &sources, rounding, Extra { sat, ..Extra::default() });
                }
            }
        }
        for to in INTEGERS {
            let ranges = [from, to].map(|kind| match kind {
                Signed(bits) => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                other => (0, (1i128 << other.bits()) - 1),
            });
            if ranges[0].0 < ranges[1].0 || ranges[0].1 > ranges[1].1 {
                let opcode = format!("cvt.sat.{}.{}", to.name(), from.name());
                check(&opcode, (from, to), &sources, Rounding::Nearest, Extra::default());
            }
            let opcode = format!("cvt.{}.{}", to.name(), from.name());
            for (&source, got) in sources.iter().zip(execute(&opcode, from.bits(), to.bits(), &sources, false)) {
                let Source::Finite(value) = from.decode(source) else { panic!("an integer") };
                let whole = if value.negative { -(value.magnitude as i128) } else { value.magnitude as i128 };
                assert_eq!(got, whole as u64 & (u64::MAX >> (64 - to.bits())), "{opcode} of {source:#x}");
            }
        }
    }
}
