//! Time of one tile, by form, arithmetic and level of the host's vector instructions; fragments decoded anew each time, and known.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softcuda::exec::{
    mma::{Accumulator, Arithmetic, Element, Form, HostLevel, Memo, Multiplier, Operands, TensorModel},
    value::Lanes,
};
use std::hint::black_box;

/// Values as an attention kernel has them: both signs, exponents spread over a dozen binades, some zeros.
fn lanes(seed: u32, element: Element) -> Lanes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 8) as f32 / 16_777_216.0 - 0.5;
        let value = if state >> 28 == 0 { 0.0 } else { value * value * value };
        match element {
            Element::F16 => u32::from(half::f16::from_f32(value).to_bits()),
            Element::Bf16 => u32::from(half::bf16::from_f32(value).to_bits()),
            Element::Tf32 => value.to_bits(),
            // Any bits but those of NaN and infinities.
            _ => state >> 16 & 0xbbbb,
        }
    };
    let mut out = Lanes::ZERO;
    out.0.fill_with(|| match element {
        Element::Tf32 => next(),
        _ => next() | next() << 16,
    });
    out
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tile");
    let arithmetics = [
        ("exact sm_80", Arithmetic::Exact(TensorModel::Sm80)),
        ("exact sm_89", Arithmetic::Exact(TensorModel::Sm89)),
        ("exact sm_90", Arithmetic::Exact(TensorModel::Sm90)),
        ("fast", Arithmetic::Fast),
    ];
    let levels = || HostLevel::ALL.into_iter().filter(|&level| level <= HostLevel::detect());
    let forms = [
        Form::new(16, Element::F16, Element::F16, Accumulator::F32, Accumulator::F32),
        Form::new(16, Element::F16, Element::F16, Accumulator::F16, Accumulator::F16),
        Form::new(16, Element::Bf16, Element::Bf16, Accumulator::F32, Accumulator::F32),
        Form::new(8, Element::Tf32, Element::Tf32, Accumulator::F32, Accumulator::F32),
        Form::new(32, Element::E4m3, Element::E4m3, Accumulator::F32, Accumulator::F32),
        Form::new(32, Element::S8, Element::S8, Accumulator::S32, Accumulator::S32),
    ];
    for form in forms {
        group.throughput(Throughput::Elements(16 * 8 * form.k as u64));
        for (name, arithmetic) in arithmetics {
            for level in levels() {
                let Some(multiplier) = Multiplier::new(form, level, arithmetic) else {
                    continue;
                };
                // sm_89 differs for 8-bit floats alone, and integers do not differ at all.
                let known = arithmetic == Arithmetic::Exact(TensorModel::Sm89) && form.a != Element::E4m3;
                if known || form.a == Element::S8 && arithmetic != Arithmetic::Fast {
                    continue;
                }
                for changing in [true, false] {
                    let mut a: Vec<Lanes> = (0..4).map(|i| lanes(i, form.a)).collect();
                    let mut b: Vec<Lanes> = (0..2).map(|i| lanes(10 + i, form.b)).collect();
                    let c = Lanes([if form.c == Accumulator::F32 { 0.01_f32.to_bits() } else { 0x2200_2200 }; 32]);
                    let mut memo = Memo::new();
                    let mut d = [Lanes::ZERO; 8];
                    let what = if changing { "new fragments" } else { "known fragments" };
                    let name = format!("m16n8k{} {:?}->{:?} {name} {level:?}, {what}", form.k, form.a, form.d);
                    group.bench_function(name, |bencher| {
                        bencher.iter(|| {
                            if changing {
                                a[0].0[5] ^= 1;
                                b[0].0[7] ^= 1;
                            }
                            let count = multiplier.registers();
                            let (a, b) = ([&a[0], &a[1], &a[2], &a[3]], [&b[0], &b[1]]);
                            let operands = Operands {
                                a: &a[..count.a],
                                b: &b[..count.b],
                                c: &[&c; 4][..count.c],
                                metadata: None,
                                places: [0, 0],
                            };
                            multiplier.multiply(&mut memo, black_box(&operands), &mut d);
                            black_box(&d);
                        });
                    });
                }
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_millis(400)).warm_up_time(std::time::Duration::from_millis(100));
    targets = bench
}
criterion_main!(benches);
