//! Time of a value function over the 32 lanes of a warp, as vector code of each level of the host.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softcuda::exec::{
    mma::HostLevel,
    value::{Lanes, approximate, float, half_arithmetic, half_precision},
};
use std::{hint::black_box, time::Duration};

/// An operation with three sources.
type Operation = unsafe fn(&Lanes, &Lanes, &Lanes, &mut Lanes);

/// One loop over lanes, compiled for every level.
macro_rules! operations {
    ($($name:ident: |$a:ident, $b:ident, $c:ident| $e:expr;)*) => {
        /// Name, and the loop for plain, AVX2 and AVX-512 code.
        const OPERATIONS: &[(&str, [Operation; 3])] = &[$((stringify!($name), $name::LEVELS)),*];
        $(
            mod $name {
                use super::*;

                #[inline(always)]
                fn body(a: &Lanes, b: &Lanes, c: &Lanes, d: &mut Lanes) {
                    for lane in 0..32 {
                        let ($a, $b, $c) = (a.0[lane], b.0[lane], c.0[lane]);
                        d.0[lane] = $e;
                    }
                }

                fn plain(a: &Lanes, b: &Lanes, c: &Lanes, d: &mut Lanes) {
                    body(a, b, c, d);
                }

                #[target_feature(enable = "avx2,f16c,fma,bmi2")]
                fn avx2(a: &Lanes, b: &Lanes, c: &Lanes, d: &mut Lanes) {
                    body(a, b, c, d);
                }

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,f16c,fma,bmi2")]
                fn avx512(a: &Lanes, b: &Lanes, c: &Lanes, d: &mut Lanes) {
                    body(a, b, c, d);
                }

                pub(super) const LEVELS: [Operation; 3] = [plain, avx2, avx512];
            }
        )*
    };
}

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

operations! {
    add_f32: |a, b, _c| float::add(f(a), f(b)).to_bits();
    fma_f32: |a, b, c| float::fma::<true>(f(a), f(b), f(c)).to_bits();
    fma_f32_in_software: |a, b, c| float::fma::<false>(f(a), f(b), f(c)).to_bits();
    max_f32: |a, b, _c| float::max::<false>(f(a), f(b)).to_bits();
    max_nan_f32: |a, b, _c| float::max::<true>(f(a), f(b)).to_bits();
    ex2_ftz: |a, _b, _c| approximate::ex2::<true>(f(a)).to_bits();
    ex2: |a, _b, _c| approximate::ex2::<false>(f(a)).to_bits();
    lg2: |a, _b, _c| approximate::lg2::<false>(f(a)).to_bits();
    tanh: |a, _b, _c| approximate::tanh(f(a)).to_bits();
    rsqrt: |a, _b, _c| approximate::rsqrt::<true>(f(a)).to_bits();
    sin: |a, _b, _c| approximate::sin::<true>(f(a)).to_bits();
    cvt_f16x2: |a, b, _c| half_precision::f32_to_f16x2_rn(f(a), f(b));
    cvt_bf16x2: |a, b, _c| half_precision::f32_to_bf16x2_rn(f(a), f(b));
    cvt_f32_f16: |a, _b, _c| half_precision::cvt_f32_f16(a as u16).to_bits();
    add_f16x2: |a, b, _c| half_arithmetic::both(a, b, half_arithmetic::add_f16);
    fma_f16x2: |a, b, c| half_arithmetic::both3(a, b, c, half_arithmetic::fma_f16);
    fma_bf16x2: |a, b, c| half_arithmetic::both3(a, b, c, half_arithmetic::fma_bf16);
    max_f16x2: |a, b, _c| half_arithmetic::both(a, b, half_arithmetic::max_f16::<false>);
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("value");
    group.throughput(Throughput::Elements(32));
    let lanes = |step: f32| {
        let mut lanes = Lanes::ZERO;
        let mut value = 0.3;
        lanes.0.fill_with(|| {
            value += step;
            value.to_bits()
        });
        lanes
    };
    let (a, b, c) = (lanes(0.37), lanes(-0.11), lanes(0.05));
    for (name, levels) in OPERATIONS {
        for (level, operation) in HostLevel::ALL.into_iter().zip(levels) {
            if level > HostLevel::detect() {
                continue;
            }
            let mut d = Lanes::ZERO;
            group.bench_function(format!("{name} {level:?}"), |bencher| {
                // SAFETY: the machine has the level.
                bencher.iter(|| unsafe { operation(black_box(&a), black_box(&b), &c, &mut d) });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_millis(200))
        .warm_up_time(Duration::from_millis(50));
    targets = bench
}
criterion_main!(benches);
