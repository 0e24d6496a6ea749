//! Plans, without a device.

use super::*;
use llm_kernels::{Error, LaunchPlan, Limits, embedded};

fn problem(dtype: DType, sizes: [usize; 6], options: Options) -> Problem {
    Problem::new(dtype, shape(sizes), &options).unwrap()
}

fn chip(multiprocessors: u32) -> Limits {
    Limits { multiprocessors, ..Limits::of_capability(8, 0) }
}

#[test]
fn every_type_and_head_dimension_has_embedded_instances_that_fit_every_chip() {
    for dtype in [F16, BF16] {
        for d in [64, 128, 256] {
            // Chips with 163, 99 and 227 KB of shared memory a block.
            for (major, minor) in [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
                let limits = Limits::of_capability(major, minor);
                let plan = plan(&problem(dtype, [1, 300, 300, 8, 2, d], CAUSAL), &limits).unwrap();
                let main = plan.main.unwrap();
                assert_eq!(main.instance, format!("flash_backward_{dtype}_d{d}"));
                assert!(main.shared_bytes <= limits.shared_bytes_per_block.min(99 * 1024));
                for launch in [plan.statistics, plan.main, plan.finish_queries, plan.finish_keys] {
                    let launch = launch.unwrap();
                    let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == launch.op);
                    let instances = kernels.flat_map(|kernel| kernel.instances);
                    let found = instances.filter(|instance| instance.name == launch.instance).count();
                    assert_eq!(found, 1, "{}", launch.instance);
                }
            }
        }
    }
}

#[test]
fn a_plan_is_known_before_it_runs() {
    let plan = plan(&problem(BF16, [2, 300, 700, 8, 2, 128], CAUSAL), &chip(12)).unwrap();
    let workspace_bytes = plan.workspace.bytes;
    let launch = |instance, grid, shared_bytes| {
        let (op, block) = ("attention/flash_backward", [128, 1, 1]);
        Some(LaunchPlan { op, instance, grid, block, shared_bytes, workspace_bytes })
    };
    // 24 blocks fill the chip: 4 key-value heads, 4 parts of their queries' 4 heads, 2 splits of 11 key tiles.
    assert_eq!((plan.num_parts, plan.num_splits, plan.num_query_tiles, plan.num_key_tiles), (4, 2, 10, 11));
    assert_eq!(plan.statistics, launch("flash_backward_statistics_bf16", [2 * 8 * 10, 1, 1], 0));
    let shared = 2 * 64 * 256 + 2 * (2 * 32 * 256 + 256) + 64 * 64 + 128 * 16;
    assert_eq!(plan.main, launch("flash_backward_bf16_d128", [4, 4, 2], shared));
    // A block sums 4 pieces of 16 rows and 64 columns.
    assert_eq!(plan.finish_queries, launch("flash_backward_finish_bf16", [2 * 8 * 19 * 2 / 4, 1, 1], 0));
    assert_eq!(plan.finish_keys, launch("flash_backward_finish_bf16", [2 * 2 * 44 * 2 / 4, 1, 1], 0));
    let (statistics, d_q, d_k) = (16 * 320 * 8, 2 * 16 * 320 * 128 * 4, 4 * 4 * 704 * 128 * 4);
    let workspace = plan.workspace;
    assert_eq!([workspace.d_q, workspace.d_k, workspace.d_v], [statistics, statistics + d_q, statistics + d_q + d_k]);
    assert_eq!(workspace.bytes, statistics + d_q + 2 * d_k);
}

#[test]
fn work_is_divided_only_as_far_as_it_fills_the_chip() {
    let divided = |sizes, multiprocessors| {
        let plan = plan(&problem(F16, sizes, CAUSAL), &chip(multiprocessors)).unwrap();
        (plan.num_parts, plan.num_splits)
    };
    // Two blocks a multiprocessor: 216.
    assert_eq!(divided([8, 1024, 1024, 32, 32, 64], 108), (1, 1));
    assert_eq!(divided([4, 4096, 4096, 32, 8, 64], 108), (4, 2));
    assert_eq!(divided([16, 4096, 4096, 32, 8, 64], 108), (2, 1));
    assert_eq!(divided([1, 4096, 4096, 12, 12, 64], 108), (1, 18));
    // No more splits than tiles.
    assert_eq!(divided([1, 4096, 200, 1, 1, 64], 108), (1, 2));
    assert_eq!(divided([1, 0, 0, 1, 1, 64], 108), (1, 1));
    // The parts divide the heads: 6 over 4 blocks' worth is 6, not 4.
    assert_eq!(divided([1, 64, 64, 6, 1, 64], 2), (6, 1));
    assert_eq!(divided([1, 64, 64, 12, 2, 64], 2), (2, 1));
}

#[test]
fn the_workspace_grows_with_the_sequence_not_with_its_square() {
    let bytes = |s| plan(&problem(F16, [1, s, s, 32, 8, 128], CAUSAL), &chip(108)).unwrap().workspace.bytes;
    assert!(bytes(16_384) <= 4 * bytes(4096) && bytes(4096) <= 4 * bytes(1024));
}

#[test]
fn launches_with_nothing_to_do_are_left_out() {
    let launches = |sizes| {
        let plan = plan(&problem(F16, sizes, FULL), &chip(108)).unwrap();
        [plan.statistics, plan.main, plan.finish_queries, plan.finish_keys].map(|launch| launch.is_some())
    };
    assert_eq!(launches([0, 5, 5, 2, 2, 64]), [false; 4]);
    assert_eq!(launches([1, 0, 5, 2, 2, 64]), [false, true, false, false]);
    assert_eq!(launches([1, 5, 0, 2, 2, 64]), [true, false, true, false]);
    assert_eq!(launches([1, 5, 5, 2, 2, 64]), [true, true, true, false]);
    assert_eq!(launches([1, 5, 5, 2, 1, 64]), [true; 4]);
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let error = plan(&problem(F16, [1 << 28, 1, 1, 8, 8, 64], FULL), &chip(108)).unwrap_err();
    let text = "attention/flash_backward: number of query tiles is 2147483648, the limit is 2147483647";
    assert_eq!(error.to_string(), text);
    let error = plan(&problem(F16, [1 << 29, 0, 1, 4, 4, 64], FULL), &chip(108)).unwrap_err();
    let text = "attention/flash_backward: number of blocks is 2147483648, the limit is 2147483647";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_chip_with_too_little_shared_memory_is_refused() {
    let limits = Limits { shared_bytes_per_block: 48 * 1024, ..Limits::of_capability(8, 0) };
    let error = plan(&problem(F16, [1, 1, 1, 1, 1, 64], FULL), &limits).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { needed: 59904, available: 49152, .. }), "{error}");
}

#[test]
fn flops_count_the_pairs_that_see_each_other() {
    let flops = |sizes, options| plan(&problem(F16, sizes, options), &chip(108)).unwrap().resources.flops.unwrap();
    let heads = [2, 100, 100, 4, 2, 64];
    assert_eq!(flops(heads, FULL), 10.0 * 8.0 * 64.0 * 10_000.0);
    assert_eq!(flops(heads, CAUSAL), 10.0 * 8.0 * 64.0 * 5_050.0);
}

#[test]
fn the_queries_that_see_keys_are_those_of_which_a_key_is_seen() {
    for (s_q, s_k) in [(9, 9), (5, 12), (12, 5), (1, 7), (7, 1)] {
        for window_left in [None, Some(0), Some(2), Some(6)] {
            for window_right in [None, Some(0), Some(3)] {
                let problem = problem(F16, [1, s_q, s_k, 1, 1, 64], Options { window_left, window_right, ..FULL });
                for (first, last) in (0..s_k).flat_map(|first| (first..s_k).map(move |last| (first, last))) {
                    let sees = |i: &usize| problem.visible_keys(*i).any(|j| j >= first && j <= last);
                    let expected: Vec<usize> = (0..s_q).filter(sees).collect();
                    let got: Vec<usize> = problem.visible_queries(first..last + 1).collect();
                    assert_eq!(got, expected, "{problem:?} keys {first} to {last}");
                }
            }
        }
    }
}
