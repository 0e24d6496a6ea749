//! Plans, without a device.

use super::*;
use llm_kernels::attention::flash_forward::plan;
use llm_kernels::{Error, LaunchPlan, Limits, embedded};

fn problem(dtype: DType, sizes: [usize; 6], options: Options) -> Problem {
    Problem::new(dtype, shape(sizes), &options).unwrap()
}

/// Chips with 163, 99 and 227 KB of shared memory a block.
const CHIPS: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

#[test]
fn every_type_and_head_dimension_has_an_embedded_instance_that_fits_every_chip() {
    for dtype in [F16, BF16] {
        for d in [64, 128, 256] {
            for (major, minor) in CHIPS {
                let limits = Limits::of_capability(major, minor);
                let plan = plan(&problem(dtype, [2, 300, 300, 8, 2, d], CAUSAL), &limits).unwrap();
                assert_eq!(plan.launch.instance, format!("flash_forward_{dtype}_d{d}"));
                assert!(plan.launch.shared_bytes <= limits.shared_bytes_per_block);
                assert!(plan.launch.shared_bytes <= 99 * 1024);
                let embedded = embedded::KERNELS
                    .iter()
                    .filter(|kernel| kernel.op == plan.launch.op)
                    .flat_map(|kernel| kernel.instances)
                    .filter(|instance| instance.name == plan.launch.instance);
                assert_eq!(embedded.count(), 1, "{}", plan.launch.instance);
            }
        }
    }
}

#[test]
fn every_other_head_dimension_has_an_instance_that_fits_99_kb() {
    let limits = Limits::of_capability(8, 9);
    assert_eq!(limits.shared_bytes_per_block, 99 * 1024);
    for d in (8..=256).step_by(8) {
        for d_v in (8..=256).step_by(8) {
            let shape = Shape { d_v, ..shape([1, 300, 300, 2, 2, d]) };
            let plan = plan(&Problem::new(BF16, shape, &CAUSAL).unwrap(), &limits).unwrap();
            let expected = match (d, d_v) {
                (64, 64) | (128, 128) | (256, 256) => format!("flash_forward_bf16_d{d}"),
                (192, 128) => "flash_forward_bf16_d192_128".to_owned(),
                _ => {
                    let most = [64, 128, 256].into_iter().find(|&most| d.max(d_v) <= most).unwrap();
                    format!("flash_forward_features_bf16_d{most}")
                }
            };
            assert_eq!(plan.launch.instance, expected, "{d} {d_v}");
            assert!(plan.launch.shared_bytes <= limits.shared_bytes_per_block);
        }
    }
}

#[test]
fn single_precision_has_three_instances_that_take_everything_and_fit_99_kb() {
    let limits = Limits::of_capability(8, 9);
    for d in (8..=256).step_by(8) {
        for d_v in [8, 64, 72, 128, 136, 256] {
            let shape = Shape { d_v, ..shape([1, 300, 300, 2, 2, d]) };
            let plain = Problem::new(F32, shape, &CAUSAL).unwrap();
            let most = [64, 128, 256].into_iter().find(|&most| d.max(d_v) <= most).unwrap();
            for problem in [plain, Problem { alibi: true, sinks: true, ..plain }] {
                let launch = plan(&problem, &limits).unwrap().launch;
                assert_eq!(launch.instance, format!("flash_forward_features_f32_d{most}"));
                assert!(launch.shared_bytes <= limits.shared_bytes_per_block);
                let embedded = embedded::KERNELS.iter().filter(|kernel| kernel.op == launch.op);
                let mut names = embedded.flat_map(|kernel| kernel.instances).map(|instance| instance.name);
                assert!(names.any(|name| name == launch.instance));
            }
        }
    }
}

#[test]
fn features_choose_the_instances_that_have_them() {
    let limits = Limits::of_capability(8, 0);
    let plain = problem(F16, [1, 300, 300, 2, 2, 128], CAUSAL);
    let name = |problem: &Problem| plan(problem, &limits).unwrap().launch.instance;
    assert_eq!(name(&plain), "flash_forward_f16_d128");
    assert_eq!(name(&Problem { sinks: true, ..plain }), "flash_forward_f16_d128");
    assert_eq!(name(&Problem { totals: Some([400, 500]), ..plain }), "flash_forward_f16_d128");
    let mask = Some(Broadcast { dtype: DType::U32, b: 1, h_q: 1, s_q: 300, columns: 10 });
    for featured in [
        Problem { alibi: true, ..plain },
        Problem { prefix: true, ..plain },
        Problem { mask_bits: mask, ..plain },
        Problem { bias: mask, ..plain },
        problem(F16, [1, 300, 300, 2, 2, 128], Options { softcap: Some(30.0), ..CAUSAL }),
        problem(F16, [1, 300, 300, 2, 2, 128], Options { dropout_p: 0.1, ..CAUSAL }),
    ] {
        assert_eq!(name(&featured), "flash_forward_features_f16_d128", "{featured:?}");
    }
}

#[test]
fn heads_are_packed_where_that_halves_the_blocks() {
    let limits = Limits::of_capability(8, 0);
    let pack = |sizes| {
        let plan = plan(&problem(BF16, sizes, CAUSAL), &limits).unwrap();
        (plan.pack, plan.num_row_tiles, plan.launch.grid[0])
    };
    // 8 rows of 4 heads in one block of 64, instead of 4 blocks.
    assert_eq!(pack([3, 8, 500, 32, 8, 128]), (4, 1, 24));
    assert_eq!(pack([3, 32, 500, 32, 8, 128]), (4, 2, 48));
    assert_eq!(pack([3, 33, 500, 32, 8, 128]), (1, 1, 96));
    assert_eq!(pack([1, 1, 500, 32, 32, 128]), (1, 1, 32));
    assert_eq!(pack([1, 1, 500, 71, 1, 64]), (71, 2, 2));
}

#[test]
fn a_plan_is_known_before_it_runs() {
    let plan = plan(&problem(BF16, [2, 300, 700, 8, 2, 128], CAUSAL), &Limits::of_capability(8, 0)).unwrap();
    let expected = LaunchPlan {
        op: "attention/flash_forward",
        instance: "flash_forward_bf16_d128",
        // 3 tiles of 128 queries in each of 2 * 8 heads.
        grid: [48, 1, 1],
        block: [128, 1, 1],
        shared_bytes: (128 + 2 * 64) * 128 * 2 + 16,
        workspace_bytes: 0,
    };
    assert_eq!(plan.launch, expected);
    assert_eq!(
        plan.launch.to_string(),
        "attention/flash_forward: flash_forward_bf16_d128 grid [48, 1, 1] block [128, 1, 1] shared 65552 B workspace 0 B"
    );
}

#[test]
fn big_dimensions_are_on_the_grid_s_first_axis() {
    let limits = Limits::of_capability(8, 0);
    let plan = plan(&problem(F16, [70_000, 1, 8, 16, 16, 64], FULL), &limits).unwrap();
    assert_eq!(plan.launch.grid, [70_000 * 16, 1, 1]);
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let problem = problem(F16, [1 << 28, 1, 1, 8, 8, 64], FULL);
    let error = plan(&problem, &Limits::of_capability(8, 0)).unwrap_err();
    let text = "attention/flash_forward: number of blocks is 2147483648, the limit is 2147483647";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_chip_with_too_little_shared_memory_is_refused() {
    let limits = Limits { shared_bytes_per_block: 48 * 1024, ..Limits::of_capability(8, 0) };
    let error = plan(&problem(F16, [1, 1, 1, 1, 1, 128], FULL), &limits).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { needed: 65552, available: 49152, .. }), "{error}");
}

#[test]
fn flops_count_the_pairs_that_see_each_other() {
    let flops = |sizes, options| {
        let plan = plan(&problem(F16, sizes, options), &Limits::of_capability(8, 0)).unwrap();
        plan.resources.flops.unwrap()
    };
    let heads = [2, 100, 100, 4, 2, 64];
    assert_eq!(flops(heads, FULL), 4.0 * 8.0 * 64.0 * 10_000.0);
    assert_eq!(flops(heads, CAUSAL), 4.0 * 8.0 * 64.0 * 5_050.0);
    let window = Options { window_left: Some(9), ..CAUSAL };
    assert_eq!(flops(heads, window), 4.0 * 8.0 * 64.0 * (45.0 + 91.0 * 10.0));
    // 50 rows stand before the first key.
    assert_eq!(flops([1, 100, 50, 1, 1, 64], CAUSAL), 4.0 * 64.0 * 1_275.0);
}

#[test]
fn traffic_counts_tiles_that_are_visited() {
    let moved = |sizes, options| {
        let plan = plan(&problem(F16, sizes, options), &Limits::of_capability(8, 0)).unwrap();
        plan.resources.bytes_moved.unwrap()
    };
    let (row, lse) = (128.0, 4.0);
    // q and out once, k and v for each of two blocks of 128 queries.
    assert_eq!(moved([1, 256, 256, 1, 1, 64], FULL), row * (256.0 * 2.0 + 2.0 * 2.0 * 256.0) + 256.0 * lse);
    // The first block sees 128 keys, the second all 256.
    assert_eq!(moved([1, 256, 256, 1, 1, 64], CAUSAL), row * (512.0 + 2.0 * 384.0) + 256.0 * lse);
    // No keys: only results are written.
    assert_eq!(moved([1, 256, 0, 1, 1, 64], FULL), row * 256.0 + 256.0 * lse);
}

#[test]
fn a_window_that_hides_nothing_is_none() {
    let options = Options { window_left: Some(99), window_right: Some(49), ..FULL };
    let open = problem(F16, [1, 50, 100, 1, 1, 64], options);
    assert_eq!((open.window_left, open.window_right), (None, None));
    let options = Options { window_left: Some(98), window_right: Some(48), ..FULL };
    let limited = problem(F16, [1, 50, 100, 1, 1, 64], options);
    assert_eq!((limited.window_left, limited.window_right), (Some(98), Some(48)));
}
