//! What the families' benches share.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use llm_kernels::verify;

/// Measures each case of an operator, after it has agreed with the reference.
pub(crate) fn bench(criterion: &mut Criterion, path: &str) {
    let fail = |error: llm_kernels::Error| -> ! { panic!("{error}") };
    let queue = verify::bench_queue().unwrap_or_else(|error| fail(error));
    let software = queue.device().is_software();
    let mut group = criterion.benchmark_group(path);
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for op in verify::select(Some(path)) {
        for case in op.bench_cases.iter().filter(|case| !(software && case.gpu_only)) {
            let row = op.bench(queue, case).unwrap_or_else(|error| fail(error));
            assert!(row.agreement.passed(), "{}: {}", case.shape(), row.agreement.report());
            let bindings = op.bindings(case).unwrap_or_else(|error| fail(error));
            let mut prepared = (op.prepare)(queue, &bindings).unwrap_or_else(|error| fail(error));
            // Floating-point operations a second.
            group.throughput(Throughput::Elements(row.resources.flops.unwrap_or(0.0) as u64));
            group.bench_function(format!("{} {}", case.name, case.dtype), |bencher| {
                bencher.iter(|| prepared.launch(queue).and_then(|()| queue.synchronize()));
            });
        }
    }
    group.finish();
}
