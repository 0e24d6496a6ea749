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
fn a_plan_is_known_before_it_runs() {
    let plan = plan(&problem(BF16, [2, 300, 700, 8, 2, 128], CAUSAL), &Limits::of_capability(8, 0)).unwrap();
    let expected = LaunchPlan {
        op: "attention/flash_forward",
        instance: "flash_forward_bf16_d128",
        // 3 tiles of 128 queries in each of 2 * 8 heads.
        grid: [48, 1, 1],
        block: [128, 1, 1],
        shared_bytes: (128 + 2 * 64) * 128 * 2,
        workspace_bytes: 0,
    };
    assert_eq!(plan.launch, expected);
    assert_eq!(
        plan.launch.to_string(),
        "attention/flash_forward: flash_forward_bf16_d128 grid [48, 1, 1] block [128, 1, 1] shared 65536 B workspace 0 B"
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
    assert!(matches!(error, Error::SharedMemory { needed: 65536, available: 49152, .. }), "{error}");
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
