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
    let problem = |d, h_q| Attention::without_forward(0, F16, [1, 256, 256, h_q, 1, d], CAUSAL);
    [problem(64, 2), problem(128, 1), problem(256, 2)].into()
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
    for (d, ceiling) in [(64, 6.4), (128, 6.9), (256, 8.2)] {
        let attention = Attention::without_forward(0, F16, [1, 1024, 2048, 1, 1, d], FULL);
        let Some(counters) = count(&attention) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
        assert!(ratio <= ceiling, "d {d}: {ratio} warp instructions for each mma, ceiling {ceiling}");
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
fn results_do_not_depend_on_the_number_of_host_threads() {
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
    let results = Attention::new(BF16, [1, 150, 300, 4, 2, 64], CAUSAL).run();
    assert_eq!(results, Attention::new(BF16, [1, 150, 300, 4, 2, 64], CAUSAL).run());
    let mut hasher = DefaultHasher::new();
    for tensor in [&results.d_q, &results.d_k, &results.d_v] {
        tensor.bytes.hash(&mut hasher);
    }
    if std::env::var_os(CHILD).is_some() {
        println!("bits {:x}", hasher.finish());
    }
}
