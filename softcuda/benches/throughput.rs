//! How fast the executor runs, on one core: thread instructions and multiply-adds a second.
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod time;
#[path = "../tests/support/workloads.rs"]
mod workloads;

use criterion::{Criterion, criterion_group, criterion_main};
use softcuda::config::{Checks, TensorMode};
use softcuda::profile::Profile;
use support::Bench;
use time::{ThreadTime, elements};

/// Kernels of many kinds. Each has given the host's result before it is measured.
fn kernels(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("thread instructions");
    for mut workload in workloads::all() {
        workload.config().threads = 1;
        let counters = workload.verify();
        group.throughput(elements(counters.thread_instructions()));
        group.bench_function(workload.name, |bencher| bencher.iter(|| workload.run()));
    }
    group.finish();
}

/// Chains of `mma.sync` in registers, and a product of matrices, as the chip computes them and with plain sums.
fn multiply_adds(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("multiply-adds");
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
        group.throughput(elements(run().tensor_multiply_adds));
        group.bench_function(format!("mma m16n8k16, {name}"), |bencher| bencher.iter(run));

        let mut gemm = workloads::gemm();
        gemm.config().threads = 1;
        gemm.config().tensor = tensor;
        let counters = gemm.verify();
        group.throughput(elements(counters.tensor_multiply_adds));
        group.bench_function(format!("{}, {name}", gemm.name), |bencher| bencher.iter(|| gemm.run()));
        gemm.config().checks = Checks::NONE;
        group.bench_function(format!("{}, {name}, unchecked copies", gemm.name), |bencher| bencher.iter(|| gemm.run()));
    }
    group.finish();
}

/// The same kernels with every access followed.
fn checks(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("checks");
    for mut workload in workloads::all() {
        let counters = workload.verify();
        group.throughput(elements(counters.thread_instructions()));
        let init = Checks { initialisation: true, ..Checks::USUAL };
        let race = Checks { races: true, ..Checks::USUAL };
        for (name, checks) in [("usual", Checks::USUAL), ("init", init), ("race", race), ("all", Checks::ALL)] {
            workload.config().threads = 1;
            workload.config().checks = checks;
            workload.verify();
            group.bench_function(format!("{}, {name}", workload.name), |bencher| bencher.iter(|| workload.run()));
        }
    }
    group.finish();
}

/// The same kernels with more or less measured.
fn profiles(criterion: &mut Criterion<ThreadTime>) {
    let mut group = criterion.benchmark_group("profiles");
    for mut workload in workloads::all() {
        let counters = workload.verify();
        group.throughput(elements(counters.thread_instructions()));
        for (name, profile) in [("counters", Profile::NONE), ("memory", Profile::default())] {
            workload.config().threads = 1;
            workload.config().profile = profile;
            group.bench_function(format!("{}, {name}", workload.name), |bencher| bencher.iter(|| workload.run()));
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = kernels, multiply_adds, checks, profiles
}
criterion_main!(benches);
