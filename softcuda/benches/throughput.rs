//! How fast the executor runs, per core and with memory checks on: thread instructions and multiply-adds a second.
#[path = "../tests/support/mod.rs"]
mod support;

#[path = "support/mod.rs"]
mod time;

use criterion::{Criterion, criterion_group, criterion_main};
use softcuda::config::TensorMode;
use support::Bench;
use time::{ThreadTime, elements};

/// `c = a b` in f32 by 16 x 16 tiles.
fn matmul(criterion: &mut Criterion<ThreadTime>) {
    let size = 256usize;
    let mut bench = Bench::new(include_str!("ptx/matmul.ptx"));
    bench.config.threads = 1;
    let a = vec![1.5f32; size * size];
    let (da, db, dc) = (bench.upload(&a), bench.upload(&a), bench.upload(&a));
    let dim = size as u32;
    let params: Vec<&[u8]> = [&da, &db, &dc]
        .into_iter()
        .map(bytemuck::bytes_of)
        .chain([&dim; 3].into_iter().map(bytemuck::bytes_of))
        .collect();
    let run = || {
        bench
            .launch("matmul16", [dim / 16, dim / 16, 1], [16, 16, 1], 0, &params)
            .unwrap_or_else(|fault| panic!("{}", fault.text))
    };
    let instructions = run().thread_instructions();
    let mut group = criterion.benchmark_group("thread instructions");
    group.throughput(elements(instructions));
    group.bench_function("f32 matmul, 16 x 16 tiles", |bencher| bencher.iter(run));
    group.finish();
}

/// Chains of `mma.sync` in registers, as the chip computes them and with plain sums.
fn mma(criterion: &mut Criterion<ThreadTime>) {
    for (name, tensor) in [("exact", TensorMode::Exact), ("fast", TensorMode::Fast)] {
        let mut bench = Bench::new(include_str!("ptx/mma.ptx"));
        bench.config.threads = 1;
        bench.config.tensor = tensor;
        let out = bench.upload(&[0f32; 4 * 128]);
        let run = || {
            bench
                .launch("chains", [4, 1, 1], [128, 1, 1], 0, &[bytemuck::bytes_of(&out)])
                .unwrap_or_else(|fault| panic!("{}", fault.text))
        };
        let multiply_adds = run().tensor_multiply_adds;
        let mut group = criterion.benchmark_group("multiply-adds");
        group.throughput(elements(multiply_adds));
        group.bench_function(format!("mma m16n8k16, {name}"), |bencher| bencher.iter(run));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = matmul, mma
}
criterion_main!(benches);
