//! A matrix product as libraries have it: its result, and its modelled time against theirs.

use crate::support::Bench;
use softcuda::chip::Architecture;
use softcuda::exec::Launch;
use softcuda::profile::Profile;
use softcuda::profile::time::{Subject, model};

const M: usize = 256;
const N: usize = 128;

/// Runs one tile of the product over a depth of `k`; the device, what it did, and where the result lies.
fn tile(k: usize) -> (Bench, softcuda::exec::Execution, [Vec<i32>; 2], u64) {
    let mut bench = Bench::new(include_str!("cuda/large_gemm.ptx"));
    bench.config.profile = Profile::NONE;
    let mut state = 1u32;
    let mut matrix = |rows: usize| -> Vec<i32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i32 % 5 - 2
        };
        (0..rows * k).map(|_| next()).collect()
    };
    let values = [matrix(M), matrix(N)];
    let halves = |values: &[i32]| values.iter().map(|&x| half::f16::from_f32(x as f32).to_bits()).collect::<Vec<u16>>();
    let [a, b] = [bench.upload(&halves(&values[0])), bench.upload(&halves(&values[1]))];
    let out = bench.upload(&vec![0f32; M * N]);
    let launch = Launch { block: [256, 1, 1], dynamic_shared_bytes: 4 * 24_576, traced: &[0], ..Launch::default() };
    let params: [&[u8]; 5] =
        [&a.to_le_bytes(), &b.to_le_bytes(), &out.to_le_bytes(), &(N as u32).to_le_bytes(), &(k as u32).to_le_bytes()];
    let execution = bench.run("large_gemm", launch, &params).unwrap_or_else(|fault| panic!("{}", fault.text));
    (bench, execution, values, out)
}

#[test]
fn a_large_tile_is_the_product() {
    // Fewer tiles than stages, as many, and more.
    for k in [32, 64, 96, 320] {
        let (bench, _, [a, b], out) = tile(k);
        let found: Vec<f32> = bench.download(out, M * N);
        for index in (0..M * N).step_by(13) {
            let (row, column) = (index / N * k, index % N * k);
            let expected: i32 = (0..k).map(|l| a[row + l] * b[column + l]).sum();
            assert_eq!(found[index], expected as f32, "k {k}, element {index}");
        }
    }
}

#[test]
fn a_large_product_is_modelled_near_the_time_that_libraries_take() {
    let chip = Architecture::Sm80.chip();
    // The best shape of cuBLAS in bf16 on A100 SXM: 271.2 TFLOP/s of 312. Here 8192 x 8192 x 8192 in 20 waves of 108 blocks,
    // of which one runs; that blocks in flight share rows and columns in L2 is taken for granted.
    let (k, blocks) = (8192, 20 * u64::from(chip.multiprocessors));
    let (bench, execution, ..) = tile(k);
    let time = model(&Subject {
        chip,
        kernel: bench.kernel("large_gemm"),
        execution: &execution,
        blocks,
        ran: 1,
        warps_per_block: 8,
        resident: 1,
    });
    let tflops = 2e-12 * (blocks as usize * M * N * k) as f64 / time.seconds;
    let error = tflops / 271.2 - 1.0;
    println!(
        "modelled {tflops:.0} TFLOP/s, {:+.0} % of cuBLAS; {}; {:?}",
        100.0 * error,
        time.describe(4),
        time.replay
    );
    // 8 % ahead when this was written: the model knows nothing of clocks that fall under load.
    assert!(error.abs() < 0.15, "{tflops} TFLOP/s, {}, {:?}", time.describe(4), time.replay);
    assert_eq!(time.bounds[0].part, "tensor");
}
