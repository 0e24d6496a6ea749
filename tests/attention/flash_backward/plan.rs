//! Plans, without a device.

use super::*;
use llm_kernels::{Error, LaunchPlan, embedded};

fn problem(dtype: DType, sizes: [usize; 6], options: Options) -> Problem {
    Problem::new(dtype, shape(sizes), &options).unwrap()
}

fn chip(multiprocessors: u32) -> Limits {
    Limits { multiprocessors, ..Limits::of_capability(8, 0) }
}

#[test]
fn every_type_and_head_dimension_has_embedded_instances_that_fit_every_chip() {
    for (dtype, kind) in [(F16, ""), (BF16, ""), (F32, "features_")] {
        for d in [64, 128, 256] {
            // Chips with 163, 99 and 227 KB of shared memory a block.
            for (major, minor) in [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
                let limits = Limits::of_capability(major, minor);
                let plan = plain_plan(&problem(dtype, [1, 300, 300, 8, 2, d], CAUSAL), &limits).unwrap();
                let main = plan.main.unwrap();
                assert_eq!(main.instance, format!("flash_backward_{kind}{dtype}_d{d}"));
                assert!(main.shared_bytes <= limits.shared_bytes_per_block.min(99 * 1024));
                for launch in [plan.statistics.unwrap(), main, plan.finish_queries.unwrap()] {
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
fn every_other_head_dimension_has_an_instance_that_fits_99_kb() {
    let limits = Limits::of_capability(8, 9);
    assert_eq!(limits.shared_bytes_per_block, 99 * 1024);
    for d in (8..=256).step_by(8) {
        for d_v in (8..=256).step_by(8) {
            let shape = Shape { d_v, ..shape([1, 300, 300, 2, 2, d]) };
            for dtype in [BF16, F32] {
                let main = plain_plan(&Problem::new(dtype, shape, &CAUSAL).unwrap(), &limits).unwrap().main.unwrap();
                let expected = match (dtype, d, d_v) {
                    (BF16, 64, 64) | (BF16, 128, 128) | (BF16, 256, 256) => format!("flash_backward_bf16_d{d}"),
                    _ => {
                        let most = [64, 128, 256].into_iter().find(|&most| d.max(d_v) <= most).unwrap();
                        format!("flash_backward_features_{dtype}_d{most}")
                    }
                };
                assert_eq!(main.instance, expected, "{d} {d_v}");
                assert!(main.shared_bytes <= limits.shared_bytes_per_block);
            }
        }
    }
}

#[test]
fn features_choose_the_instances_that_have_them() {
    let plain = problem(F16, [1, 300, 300, 2, 2, 128], CAUSAL);
    let name = |problem: &Problem| plain_plan(problem, &chip(108)).unwrap().main.unwrap().instance;
    assert_eq!(name(&plain), "flash_backward_f16_d128");
    assert_eq!(name(&Problem { sinks: true, ..plain }), "flash_backward_f16_d128");
    assert_eq!(name(&Problem { totals: Some([400, 500]), ..plain }), "flash_backward_f16_d128");
    let mask = Some(Broadcast { dtype: U32, b: 1, h_q: 1, s_q: 300, columns: 10 });
    for featured in [
        Problem { alibi: true, ..plain },
        Problem { prefix: true, ..plain },
        Problem { mask_bits: mask, ..plain },
        Problem { bias: mask, ..plain },
        problem(F16, [1, 300, 300, 2, 2, 128], Options { softcap: Some(30.0), ..CAUSAL }),
        problem(F16, [1, 300, 300, 2, 2, 128], Options { dropout_p: 0.1, ..CAUSAL }),
    ] {
        assert_eq!(name(&featured), "flash_backward_features_f16_d128", "{featured:?}");
    }
}

#[test]
fn a_plan_is_known_before_it_runs() {
    let plan = plain_plan(&problem(BF16, [2, 300, 700, 8, 2, 128], CAUSAL), &chip(40)).unwrap();
    let workspace_bytes = plan.workspace.bytes;
    let launch = |instance, blocks, shared_bytes| {
        let (op, grid, block) = ("attention/flash_backward", [blocks, 1, 1], [128, 1, 1]);
        LaunchPlan { op, instance, grid, block, shared_bytes, workspace_bytes }
    };
    // 80 blocks fill the chip: 4 key-value heads, 11 key tiles, 2 parts of their queries' 4 heads.
    assert_eq!((plan.num_parts, plan.num_query_tiles, plan.num_key_tiles), (2, 10, 11));
    assert_eq!((plan.query_tiles, plan.key_tiles), (20, 22));
    assert_eq!(plan.statistics, Some(launch("flash_backward_statistics_bf16", 2 * 8 * 10, 0)));
    let shared = 2 * 64 * 256 + 2 * (2 * 32 * 256 + 256) + 64 * 64 + 128 * 16 + 48;
    assert_eq!(plan.main, Some(launch("flash_backward_bf16_d128", 4 * 11 * 2, shared)));
    // A block sums 4 pieces of 16 rows and 64 columns.
    assert_eq!(plan.finish_queries, Some(launch("flash_backward_finish_bf16", 2 * 8 * 19 * 2 / 4, 0)));
    assert_eq!(plan.finish_keys, Some([launch("flash_backward_finish_bf16", 2 * 2 * 44 * 2 / 4, 0); 2]));
    assert_eq!(plan.finish_sinks, None);
    let workspace = plan.workspace;
    let (turns, d_q) = (128 + 16 * 320 * 8, 128 + 16 * 320 * 8 + 640);
    let d_k = d_q + 16 * 320 * 128 * 4;
    let part = 2 * 4 * 704 * 128 * 4;
    assert_eq!([workspace.statistics, workspace.turns, workspace.d_q, workspace.d_k], [128, turns, d_q, d_k]);
    assert_eq!([workspace.d_v, workspace.sinks, workspace.bytes], [d_k + part, d_k + 2 * part, d_k + 2 * part]);
}

#[test]
fn query_heads_are_shared_out_only_as_far_as_it_fills_the_chip() {
    let parts =
        |sizes, multiprocessors| plain_plan(&problem(F16, sizes, CAUSAL), &chip(multiprocessors)).unwrap().num_parts;
    // Two blocks a multiprocessor: 216.
    assert_eq!(parts([8, 1024, 1024, 32, 32, 64], 108), 1);
    assert_eq!(parts([1, 512, 512, 32, 8, 128], 108), 4);
    assert_eq!(parts([1, 1024, 1024, 32, 8, 128], 108), 2);
    assert_eq!(parts([1, 4096, 4096, 32, 8, 128], 108), 1);
    assert_eq!(parts([1, 4096, 4096, 12, 12, 64], 108), 1);
    assert_eq!(parts([1, 0, 0, 1, 1, 64], 108), 1);
    // The parts divide the heads: 6 over 4 blocks' worth is 6, not 4.
    assert_eq!(parts([1, 64, 64, 6, 1, 64], 2), 6);
    assert_eq!(parts([1, 64, 64, 12, 2, 64], 2), 2);
}

#[test]
fn a_broadcast_bias_s_gradient_is_one_block_s() {
    let blocks = |[b, h_q]: [usize; 2], d_bias| {
        let bias = Some(Broadcast { dtype: F32, b, h_q, s_q: 128, columns: 128 });
        let problem = Problem { bias, ..problem(F16, [3, 128, 128, 8, 4, 64], FULL) };
        let plan = plan(&problem, Wanted { d_bias, ..Wanted::default() }, &chip(4)).unwrap();
        (plan.block_batches, plan.block_kv_heads, plan.num_parts, plan.main.unwrap().grid[0])
    };
    // Two tiles of keys in 3 * 4 heads fill 4 multiprocessors.
    assert_eq!(blocks([1, 1], false), (1, 1, 1, 24));
    assert_eq!(blocks([3, 8], true), (1, 1, 1, 24));
    assert_eq!(blocks([1, 8], true), (3, 1, 1, 8));
    assert_eq!(blocks([3, 1], true), (1, 4, 1, 6));
    assert_eq!(blocks([1, 1], true), (3, 4, 1, 2));
}

#[test]
fn the_workspace_grows_with_the_sequence_not_with_its_square() {
    let bytes = |s| plain_plan(&problem(F16, [1, s, s, 32, 8, 128], CAUSAL), &chip(108)).unwrap().workspace.bytes;
    assert!(bytes(16_384) <= 4 * bytes(4096) && bytes(4096) <= 4 * bytes(1024));
    // One sum of f32 for each element of q, and little beside.
    let sum = 4096 * 32 * 128 * 4;
    assert!((sum..sum * 21 / 20).contains(&bytes(4096)), "{}", bytes(4096));
}

#[test]
fn launches_with_nothing_to_do_are_left_out() {
    let launches = |sizes| {
        let plan = plain_plan(&problem(F16, sizes, FULL), &chip(108)).unwrap();
        [plan.statistics.is_some(), plan.main.is_some(), plan.finish_queries.is_some(), plan.finish_keys.is_some()]
    };
    assert_eq!(launches([0, 5, 5, 2, 2, 64]), [false; 4]);
    // The ticket is set all the same.
    assert_eq!(launches([1, 0, 5, 2, 2, 64]), [true, true, false, false]);
    assert_eq!(launches([1, 5, 0, 2, 2, 64]), [true, false, true, false]);
    assert_eq!(launches([1, 5, 5, 2, 2, 64]), [true, true, true, false]);
    assert_eq!(launches([1, 5, 5, 2, 1, 64]), [true; 4]);
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let error = plain_plan(&problem(F16, [1 << 28, 1, 1, 8, 8, 64], FULL), &chip(108)).unwrap_err();
    let text = "attention/flash_backward: number of query tiles is 2147483648, the limit is 2147483647";
    assert_eq!(error.to_string(), text);
    let error = plain_plan(&problem(F16, [1 << 29, 0, 1, 4, 4, 64], FULL), &chip(108)).unwrap_err();
    let text = "attention/flash_backward: number of blocks is 2147483648, the limit is 2147483647";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_chip_with_too_little_shared_memory_is_refused() {
    let limits = Limits { shared_bytes_per_block: 48 * 1024, ..Limits::of_capability(8, 0) };
    let error = plain_plan(&problem(F16, [1, 1, 1, 1, 1, 64], FULL), &limits).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { needed: 59952, available: 49152, .. }), "{error}");
}

#[test]
fn flops_count_the_pairs_that_see_each_other() {
    let flops =
        |sizes, options| plain_plan(&problem(F16, sizes, options), &chip(108)).unwrap().resources.flops.unwrap();
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
