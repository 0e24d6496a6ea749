//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::verify::Counters;

/// Counters of one call; `None` on a GPU, which has no such figures.
fn count(attention: &Attention) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let around = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    attention.launch(attention.layouts(), around).unwrap();
    counters
}

/// Problems of whole tiles, of every head dimension; with grouped heads there are partial sums of every kind.
fn aligned() -> Vec<Attention> {
    let problem = |dtype, d, h_q| Attention::without_forward(0, dtype, [1, 256, 256, h_q, 1, d], CAUSAL);
    let halves = [problem(F16, 64, 2), problem(F16, 128, 1), problem(F16, 256, 2)];
    halves.into_iter().chain([problem(F32, 64, 1), problem(F32, 128, 2), problem(F32, 256, 1)]).collect()
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for attention in aligned() {
        let Some(counters) = count(&attention) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "d {}: {taken} for {ideal}", attention.problem.shape.d);
    }
}

#[test]
fn every_sector_is_used_whole() {
    for attention in aligned() {
        let Some(counters) = count(&attention) else {
            return;
        };
        let (moved, asked) = (get(&counters, "global_bytes"), get(&counters, "global_requested_bytes"));
        // But for the turns: 4 bytes each.
        assert!(moved > 0.0 && moved <= 1.01 * asked, "d {}: {moved} for {asked}", attention.problem.shape.d);
    }
}

#[test]
fn global_traffic_is_what_the_plan_says() {
    let window = Options { window_left: Some(100), ..CAUSAL };
    let uneven = Attention::without_forward(0, BF16, [2, 150, 333, 4, 2, 128], window);
    let few_queries = Attention::without_forward(0, BF16, [1, 20, 700, 2, 2, 64], FULL);
    for attention in aligned().into_iter().chain([uneven, few_queries]) {
        let Some(counters) = count(&attention) else {
            return;
        };
        let plan = attention.plan();
        let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
        assert!((moved - planned).abs() <= 0.02 * planned, "{:?}: {moved}, plan {planned}", attention.problem);
    }
}

#[test]
fn instructions_for_each_mma_stay_below_their_ceilings() {
    // Many full tiles, so that what is done once for a query or a key counts little.
    let halves = [(F16, 64, 6.4), (F16, 128, 6.9), (F16, 256, 8.2)];
    for (dtype, d, ceiling) in halves.into_iter().chain([(F32, 64, 12.1), (F32, 128, 13.1), (F32, 256, 15.6)]) {
        let attention = Attention::without_forward(0, dtype, [1, 1024, 2048, 1, 1, d], FULL);
        let Some(counters) = count(&attention) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
        assert!(ratio <= ceiling, "{dtype} d {d}: {ratio} warp instructions for each mma, ceiling {ceiling}");
    }
}

/// The same problem for the instances with features, which slopes of 0 ask for.
fn featured(dtype: DType, sizes: [usize; 6], options: Options) -> Attention {
    let forward = Forward::of_shape(0, dtype, shape(sizes), options).with_alibi(vec![0.0; sizes[3]]);
    Attention::without_results(0, forward)
}

#[test]
fn features_keep_instructions_for_each_mma_below_their_ceilings() {
    // With ALiBi, with a softcap besides, with dropout besides; each feature costs its own arithmetic.
    let halves = [(F16, 64, [16.2, 20.5, 21.6]), (F16, 128, [15.0, 17.2, 18.0]), (F16, 256, [13.9, 15.0, 15.4])];
    let single = [(F32, 64, [13.2, 13.9, 14.1]), (F32, 128, [13.9, 14.2, 14.4]), (F32, 256, [16.2, 16.4, 16.6])];
    for (dtype, d, ceilings) in halves.into_iter().chain(single) {
        let softcap = Options { softcap: Some(30.0), ..FULL };
        let dropout = Options { dropout_p: 0.1, ..FULL };
        for (options, ceiling) in [FULL, softcap, dropout].into_iter().zip(ceilings) {
            let Some(counters) = count(&featured(dtype, [1, 256, 128, 1, 1, d], options)) else {
                return;
            };
            let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
            assert!(ratio <= ceiling, "{dtype} d {d} {options:?}: {ratio} for each mma, ceiling {ceiling}");
        }
    }
}

#[test]
fn waiting_for_turns_costs_little_where_heads_are_few() {
    // Four query heads that share keys, as in Gemma 3 270M: sixteen blocks of each head wait for one another.
    for (dtype, s, ceiling) in [(F16, 512, 9.2), (F32, 256, 16.3)] {
        let Some(counters) = count(&Attention::without_forward(0, dtype, [1, s, s, 4, 1, 256], CAUSAL)) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
        assert!(ratio <= ceiling, "{dtype}: {ratio} warp instructions for each mma, ceiling {ceiling}");
        let (moved, asked) = (get(&counters, "global_bytes"), get(&counters, "global_requested_bytes"));
        assert!(moved <= 1.01 * asked, "{dtype}: {moved} for {asked}");
    }
}

#[test]
fn a_causal_mask_saves_almost_half_of_the_instructions() {
    for (d, s) in [(64, 4096), (128, 2048), (256, 2048)] {
        let instructions = |options| {
            Some(get(&count(&Attention::without_forward(0, F16, [1, s, s, 1, 1, d], options))?, "inst_executed"))
        };
        let (Some(full), Some(causal)) = (instructions(FULL), instructions(CAUSAL)) else {
            return;
        };
        assert!(causal <= 0.55 * full, "d {d}: {causal} of {full}");
    }
}

#[test]
fn work_is_proportional_to_the_window() {
    let multiply_adds = |s, window| {
        let options = Options { window_left: Some(window), ..CAUSAL };
        Some(get(&count(&Attention::without_forward(0, F16, [1, s, s, 1, 1, 64], options))?, "tensor_multiply_adds"))
    };
    let (Some(short), Some(long)) = (multiply_adds(512, 127), multiply_adds(1024, 127)) else {
        return;
    };
    assert!((1.9..2.2).contains(&(long / short)), "a sequence twice as long: {}", long / short);
    let wide = multiply_adds(1024, 255).unwrap();
    assert!(wide / long < 1.7, "a window twice as wide: {}", wide / long);
}

#[test]
fn no_tile_is_multiplied_that_no_query_sees() {
    for (options, sizes) in [(FULL, [1, 256, 512, 1, 1, 64]), (CAUSAL, [1, 512, 512, 1, 1, 64])] {
        let attention = Attention::without_forward(0, F16, sizes, options);
        let Some(counters) = count(&attention) else {
            return;
        };
        let Shape { s_k, d, .. } = attention.problem.shape;
        let plan = attention.plan();
        let tiles: usize = (0..s_k / plan.block_n)
            .map(|tile| attention.problem.visible_queries(tile * plan.block_n..(tile + 1) * plan.block_n))
            .map(|queries| queries.end.div_ceil(plan.block_m) - queries.start / plan.block_m)
            .sum();
        // Five products.
        let needed = (tiles * plan.block_m * plan.block_n * 5 * d) as f64;
        assert_eq!(get(&counters, "tensor_multiply_adds"), needed, "{options:?}");
    }
}

#[test]
fn results_with_any_features_do_not_depend_on_the_number_of_host_threads() {
    if std::env::var_os(CHILD).is_some() || !queue().device().is_software() {
        return;
    }
    let hash = |threads: &str| {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program)
            .args(["--exact", "flash_backward::counters::prints_the_bits_of_some_gradients", "--nocapture"])
            .env("SOFTCUDA_THREADS", threads)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.split_once("bits ")).map(|(_, bits)| bits.to_owned());
        line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let one = hash("1");
    assert!(!one.is_empty());
    assert_eq!(one, hash("3"));
}

/// Set in the processes that the test above starts.
const CHILD: &str = "LLM_KERNELS_TEST_CHILD";

#[test]
fn prints_the_bits_of_some_gradients() {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let all = Options { softcap: Some(4.0), dropout_p: 0.2, dropout_seed: 7, window_left: Some(90), ..CAUSAL };
    for dtype in [BF16, F32] {
        let plain = Attention::new(dtype, [1, 150, 300, 4, 2, 64], CAUSAL);
        // A bias and a mask that all share, so that one block adds up what heads and batches give.
        let forward = Forward::of_shape(5, dtype, shape([2, 70, 150, 4, 2, 128]), all).with_sinks(vec![0.5; 4]);
        let forward = forward.with_alibi(vec![0.25; 4]).with_bias(F32, [1, 1], |[_, _, i, j]| ((i + j) % 5) as f64);
        let forward = forward.with_mask([1, 4], |[_, head, i, j]| (head + i * 3 + j) % 6 != 0).with_prefix(vec![40, 9]);
        for attention in [plain, Attention::of(5, forward)] {
            let results = attention.run();
            assert_eq!(results, attention.run());
            let Results { d_q, d_k, d_v, d_sinks, d_bias } = &results;
            [d_q, d_k, d_v, d_sinks, d_bias].into_iter().for_each(|tensor| tensor.bytes.hash(&mut hasher));
        }
    }
    if std::env::var_os(CHILD).is_some() {
        println!("bits {:x}", hasher.finish());
    }
}
