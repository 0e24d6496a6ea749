//! How fast the executor runs, per core and with memory checks on: thread instructions and multiply-adds a second.
#[path = "../tests/support/mod.rs"]
mod support;

#[path = "support/mod.rs"]
mod time;

use criterion::{Criterion, criterion_group, criterion_main};
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

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = matmul
}
criterion_main!(benches);
