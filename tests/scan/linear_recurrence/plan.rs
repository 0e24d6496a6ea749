//! Plans, without a device.

use super::*;
use llm_kernels::Limits;

fn problem(dtype: DType, sizes: [usize; 6], decay: Option<DecayKind>, options: Options) -> Problem {
    let [b, s, h_k, h, d_k, d_v] = sizes;
    Problem::new(dtype, SequenceSizes::uniform(b, s), Shape { h_k, h, d_k, d_v }, decay, &options).unwrap()
}

#[test]
fn every_instance_is_embedded_and_fits_every_chip() {
    crate::assert_embedded("scan/linear_recurrence", 13);
}

#[test]
fn the_smallest_instance_that_fits_is_chosen() {
    let limits = Limits::of_capability(8, 6);
    let instance = |d_k, decay| {
        plan_of(&problem(BF16, [1, 64, 1, 1, d_k, 64], decay, PLAIN), &limits).unwrap().main.unwrap().instance
    };
    assert_eq!(instance(48, None), "linear_recurrence_bf16_d64");
    assert_eq!(instance(80, Some(DecayKind::Heads)), "linear_recurrence_bf16_d128");
    assert_eq!(instance(144, Some(DecayKind::Steps)), "linear_recurrence_bf16_d256");
    assert_eq!(instance(144, Some(DecayKind::Channels)), "linear_recurrence_channels_bf16_d256");
}

#[test]
fn a_sequence_is_one_chunk_where_heads_fill_the_chip() {
    // 16 multiprocessors: 32 blocks.
    let limits = Limits::of_capability(8, 0);
    let chunks = |b, s, h, d_v, options| {
        let plan = plan_of(&problem(F16, [b, s, h, h, 64, d_v], None, options), &limits).unwrap();
        (plan.chunk, plan.num_chunks, plan.states.map(|launch| launch.grid[0]), plan.main.map(|launch| launch.grid[0]))
    };
    assert_eq!(chunks(1, 8192, 32, 64, PLAIN), (8192, 1, None, Some(32)));
    assert_eq!(chunks(1, 8192, 16, 64, PLAIN), (4096, 2, Some(16), Some(32)));
    assert_eq!(chunks(2, 8192, 1, 256, PLAIN), (2048, 4, Some(24), Some(32)));
    // No chunk is shorter than 512 steps, unless it is asked for.
    assert_eq!(chunks(1, 1000, 1, 64, PLAIN), (512, 2, Some(1), Some(2)));
    assert_eq!(chunks(1, 1000, 1, 64, Options { chunk: Some(64), ..PLAIN }), (64, 16, Some(15), Some(16)));
    assert_eq!(chunks(1, 0, 1, 64, PLAIN), (64, 1, None, Some(1)));
}

#[test]
fn bytes_are_those_of_the_algorithm() {
    let limits = Limits::of_capability(8, 0);
    let one = problem(BF16, [2, 1024, 1, 32, 128, 64], Some(DecayKind::Steps), PLAIN);
    let plan = plan_of(&one, &limits).unwrap();
    let sweep = 2.0 * 1024.0 * (2 * 128 + 2 * 32 * 64) as f64 * 2.0;
    assert_eq!(plan.device_bytes, Some(sweep + 2.0 * 1024.0 * 32.0 * 4.0));
    assert!((plan.sweep_ratio(&one).unwrap() - 1.015).abs() < 1e-3);
    assert_eq!(plan.workspace.bytes, 0);
    let chunks = Problem { chunk: Some(256), ..one };
    let plan = plan_of(&chunks, &limits).unwrap();
    let again = 2.0 * 768.0 * ((128 + 32 * 64) * 2 + 32 * 4) as f64;
    let states = 4.0 * 2.0 * 3.0 * (32 * 128 * 64 * 4) as f64;
    assert_eq!(plan.device_bytes, Some(sweep + 2.0 * 1024.0 * 32.0 * 4.0 + again + states));
    assert_eq!(plan.workspace.bytes, 2 * 3 * 32 * 128 * 64 * 4 + 2 * 3 * 32 * 4);
    assert_eq!(plan.resources.flops, Some(4.0 * 2048.0 * (32 * 128 * 64) as f64));
}

#[test]
fn a_normaliser_is_a_warp_of_its_own() {
    let limits = Limits::of_capability(8, 0);
    let options = Options { normaliser: Some(0.0), ..PLAIN };
    let plan = plan_of(&problem(F16, [1, 64, 1, 1, 64, 64], None, options), &limits).unwrap();
    assert_eq!(plan.main.unwrap().block, [160, 1, 1]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let limits = Limits { shared_bytes_per_block: 48 * 1024, ..Limits::of_capability(8, 0) };
    let error = plan_of(&problem(F16, [1, 64, 1, 1, 256, 64], None, PLAIN), &limits).unwrap_err();
    let expected = "scan/linear_recurrence: linear_recurrence_f16_d256 needs 76816 bytes of shared memory a block, the device allows 49152";
    assert_eq!(error.to_string(), expected);
    let many = problem(F16, [1 << 14, 64, 1 << 18, 1 << 18, 64, 64], None, PLAIN);
    let error = plan_of(&many, &Limits::of_capability(8, 0)).unwrap_err();
    assert_eq!(error.to_string(), "scan/linear_recurrence: number of blocks is 4294967296, the limit is 2147483647");
}
