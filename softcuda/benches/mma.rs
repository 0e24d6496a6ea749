//! Time of one m16n8k16 (2048 multiply-adds) for every arithmetic and level of the host's vector instructions.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softcuda::exec::{
    mma::{Arithmetic, HostLevel, OperandType, Shape, TensorModel, select_f16, select_f32},
    value::Lanes,
};
use std::hint::black_box;

/// Values as an attention kernel has them: both signs, exponents spread over a dozen binades, some zeros.
fn lanes(seed: u32, operands: OperandType) -> Lanes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 8) as f32 / 16_777_216.0 - 0.5;
        let value = if state >> 28 == 0 { 0.0 } else { value * value * value };
        u32::from(match operands {
            OperandType::F16 => half::f16::from_f32(value).to_bits(),
            OperandType::Bf16 => half::bf16::from_f32(value).to_bits(),
        })
    };
    let mut out = Lanes::ZERO;
    out.0.fill_with(|| next() | next() << 16);
    out
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("m16n8k16");
    group.throughput(Throughput::Elements(2048));
    let arithmetics = [
        ("exact sm_80", Arithmetic::Exact(TensorModel::Sm80)),
        ("exact sm_90", Arithmetic::Exact(TensorModel::Sm90)),
        ("fast", Arithmetic::Fast),
    ];
    let levels = || HostLevel::ALL.into_iter().filter(|&level| level <= HostLevel::detect());
    for (name, arithmetic) in arithmetics {
        for level in levels() {
            for operands in [OperandType::F16, OperandType::Bf16] {
                let a: [Lanes; 4] = std::array::from_fn(|i| lanes(i as u32, operands));
                let b: [Lanes; 2] = std::array::from_fn(|i| lanes(10 + i as u32, operands));
                let c = Lanes([0.01_f32.to_bits(); 32]);
                let (a, b) = ([&a[0], &a[1], &a[2], &a[3]], [&b[0], &b[1]]);
                let function = select_f32(level, Shape::K16, operands, arithmetic);
                group.bench_function(format!("{name} {operands:?}->f32 {level:?}"), |bencher| {
                    // SAFETY: the machine has the level.
                    bencher.iter(|| unsafe { function(black_box(a), black_box(b), [&c; 4]) });
                });
                if operands == OperandType::F16 {
                    let c = Lanes([0x2200_2200; 32]);
                    let function = select_f16(level, Shape::K16, operands, arithmetic);
                    group.bench_function(format!("{name} F16->f16 {level:?}"), |bencher| {
                        // SAFETY: the machine has the level.
                        bencher.iter(|| unsafe { function(black_box(a), black_box(b), [&c; 2]) });
                    });
                }
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_millis(600)).warm_up_time(std::time::Duration::from_millis(200));
    targets = bench
}
criterion_main!(benches);
