//! The executor runs kernels as CUDA defines them.
mod async_copy;
mod barriers;
mod calls;
mod control;
mod counters;
mod coverage;
mod definitions;
mod determinism;
mod device_memory;
mod divergence;
mod forms;
mod gemm;
mod library;
mod lines;
mod lock_step;
mod memcheck;
mod numeric;
#[path = "../support/mod.rs"]
mod support;
mod time;

mod text;
#[path = "../support/workloads.rs"]
mod workloads;

use support::Bench;

const MATMUL: &str = include_str!("../../benches/ptx/matmul.ptx");

#[test]
fn a_tiled_matmul_equals_the_definition() {
    let (m, n, k) = (64usize, 48usize, 80usize);
    let bench = Bench::new(MATMUL);
    let a: Vec<f32> = (0..m * k).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i * 5 % 11) as f32 - 5.0).collect();
    let (da, db, dc) = (bench.upload(&a), bench.upload(&b), bench.upload(&vec![f32::NAN; m * n]));
    let sizes = [m as u32, n as u32, k as u32];
    let params: Vec<&[u8]> =
        [&da, &db, &dc].into_iter().map(bytemuck::bytes_of).chain(sizes.iter().map(bytemuck::bytes_of)).collect();
    bench
        .launch("matmul16", [n as u32 / 16, m as u32 / 16, 1], [16, 16, 1], 0, &params)
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    let c: Vec<f32> = bench.download(dc, m * n);
    for i in 0..m {
        for j in 0..n {
            let expected: f32 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            assert_eq!(c[i * n + j], expected, "element {i}, {j}");
        }
    }
}

#[test]
fn the_chains_that_the_bench_measures_compute_finite_sums() {
    let bench = Bench::new(include_str!("../../benches/ptx/mma.ptx"));
    let out = bench.upload(&[f32::NAN; 4 * 128]);
    let counters = bench
        .launch("chains", [4, 1, 1], [128, 1, 1], 0, &[bytemuck::bytes_of(&out)])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    // 16 warps, 256 rounds of four.
    assert_eq!(counters.tensor_multiply_adds, 16 * 1024 * 16 * 8 * 16);
    assert!(bench.download::<f32>(out, 4 * 128).into_iter().all(f32::is_finite));
}
