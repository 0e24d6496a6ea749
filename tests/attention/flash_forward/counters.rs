//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use llm_kernels::attention::flash_forward::plan;
use llm_kernels::verify::Counters;

use crate::get;

/// Counters of one launch; `None` on a GPU, which has no such figures.
fn count(attention: &Attention) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let counting = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    attention.launch_in(attention.layouts(), counting).unwrap();
    counters
}

/// Problems of whole tiles, of every head dimension.
fn aligned() -> Vec<Attention> {
    let problem = |d| Attention::new(F16, [1, 256, 256, 2, 1, d], CAUSAL);
    [64, 128, 256].map(problem).into()
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
        assert!(moved > 0.0 && moved == asked, "d {}: {moved} for {asked}", attention.problem.shape.d);
    }
}

#[test]
fn global_traffic_is_what_the_plan_says() {
    let uneven = Attention::new(BF16, [2, 150, 333, 4, 2, 128], Options { window_left: Some(100), ..CAUSAL });
    for attention in aligned().into_iter().chain([uneven]) {
        let Some(counters) = count(&attention) else {
            return;
        };
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
        assert!((moved - planned).abs() <= 0.02 * planned, "{:?}: {moved}, plan {planned}", attention.problem);
    }
}

#[test]
fn instructions_for_each_mma_stay_below_their_ceilings() {
    // A long row of full tiles, so that what is done once counts little.
    for (d, ceiling) in [(64, 5.3), (128, 3.75), (256, 3.8)] {
        let attention = Attention::new(F16, [1, 128, 1024, 1, 1, d], FULL);
        let Some(counters) = count(&attention) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");

        assert!(ratio <= ceiling, "d {d}: {ratio} warp instructions for each mma, ceiling {ceiling}");
    }
}

#[test]
fn no_tile_is_multiplied_that_no_query_sees() {
    for (options, sizes) in [(FULL, [1, 256, 512, 1, 1, 64]), (CAUSAL, [1, 512, 512, 1, 1, 64])] {
        let attention = Attention::new(F16, sizes, options);
        let Some(counters) = count(&attention) else {
            return;
        };
        let Shape { s_q, d, .. } = attention.problem.shape;
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (block_m, block_n) = (plan.block_m, plan.block_n);
        let last_key = |block: usize| attention.problem.visible_keys((block + 1) * block_m - 1).end;
        let tiles: usize = (0..s_q / block_m).map(|block| last_key(block).div_ceil(block_n)).sum();
        let needed = (tiles * block_m * block_n * 2 * d) as f64;
        assert_eq!(get(&counters, "tensor_multiply_adds"), needed, "{options:?}");
    }
}

/// The same problem for the instances with features, which slopes of 0 ask for.
fn featured(sizes: [usize; 6], options: Options) -> Attention {
    Attention::new(F16, sizes, options).with_alibi(vec![0.0; sizes[3]])
}

#[test]
fn features_keep_instructions_for_each_mma_below_their_ceilings() {
    // With ALiBi, and with a softcap besides; each feature costs its own arithmetic.
    let ceilings = [(64, [9.9, 19.5]), (128, [6.5, 11.0]), (256, [6.0, 8.5])];
    let mut ratios = Vec::new();
    for (d, _) in ceilings {
        for softcap in [None, Some(30.0)] {
            let Some(counters) = count(&featured([1, 64, 1024, 1, 1, d], Options { softcap, ..FULL })) else {
                return;
            };
            ratios.push(get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor"));
        }
    }
    let ceilings: Vec<f64> = ceilings.into_iter().flat_map(|(_, ceilings)| ceilings).collect();
    let within = ratios.iter().zip(&ceilings).all(|(ratio, ceiling)| ratio <= ceiling);
    assert!(within, "warp instructions for each mma {ratios:.2?}, ceilings {ceilings:?}");
}

#[test]
fn features_have_no_bank_conflicts_and_read_whole_sectors() {
    for attention in [64, 128, 256].map(|d| featured([1, 256, 256, 2, 1, d], CAUSAL)) {
        let Some(counters) = count(&attention) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "{attention:?}: {taken} for {ideal}");
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
        assert!((moved - planned).abs() <= 0.04 * planned, "{attention:?}: {moved}, plan {planned}");
    }
}

/// Problems of whole tiles of f32, of every instance.
fn single_precision() -> Vec<Attention> {
    [64, 128, 256].map(|d| Attention::new(F32, [1, 128, 256, 2, 1, d], CAUSAL)).into()
}

#[test]
fn single_precision_has_no_bank_conflicts_and_reads_and_writes_whole_sectors() {
    for attention in single_precision() {
        let Some(counters) = count(&attention) else {
            return;
        };
        let d = attention.problem.shape.d;
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "d {d}: {taken} for {ideal}");
        let plan = plan(&attention.problem, queue().device().limits()).unwrap();
        let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
        assert!((moved - planned).abs() <= 0.02 * planned, "d {d}: {moved}, plan {planned}");
        let asked = get(&counters, "global_requested_bytes");
        assert!(moved <= 1.001 * asked, "d {d}: {moved} for {asked}");
    }
}

#[test]
fn single_precision_multiplies_three_times_and_stays_below_its_ceilings() {
    let ceilings = [(64, 10.2), (128, 10.1), (256, 11.1)];
    let mut ratios = Vec::new();
    for (d, _) in ceilings {
        let Some(counters) = count(&Attention::new(F32, [1, 64, 1024, 1, 1, d], FULL)) else {
            return;
        };
        assert_eq!(get(&counters, "tensor_multiply_adds"), 3.0 * (64 * 1024 * 2 * d) as f64);
        ratios.push(get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor"));
    }
    let within = ratios.iter().zip(ceilings).all(|(ratio, (_, ceiling))| *ratio <= ceiling);
    assert!(within, "warp instructions for each mma {ratios:.2?}, ceilings {ceilings:?}");
}

#[test]
fn causal_executes_little_more_than_half_of_full_and_a_window_its_share() {
    let executed = |attention: &Attention| count(attention).map(|counters| get(&counters, "inst_executed"));
    for feature in [false, true] {
        let with =
            |sizes, options| if feature { featured(sizes, options) } else { Attention::new(F16, sizes, options) };
        let Some(full) = executed(&with([1, 4096, 4096, 1, 1, 64], FULL)) else {
            return;
        };
        let causal = executed(&with([1, 4096, 4096, 1, 1, 64], CAUSAL)).unwrap();
        assert!(causal <= 0.55 * full, "features {feature}: causal {causal}, full {full}");
        let window =
            |left| executed(&with([1, 4096, 4096, 1, 1, 64], Options { window_left: Some(left), ..CAUSAL })).unwrap();
        // Work grows with the window: each 256 keys more cost the same, and the whole is a fraction of causal's.
        let (narrow, middle, wide) = (window(127), window(383), window(639));
        let (first, second) = (middle - narrow, wide - middle);
        assert!(narrow <= 0.25 * causal, "features {feature}: window 127 {narrow}, causal {causal}");
        assert!((first - second).abs() <= 0.15 * first, "features {feature}: {narrow} {middle} {wide}");
    }
}

#[test]
fn packed_heads_read_keys_once_for_a_group() {
    let attention = Attention::new(BF16, [1, 8, 512, 8, 2, 128], CAUSAL);
    let Some(counters) = count(&attention) else {
        return;
    };
    let plan = plan(&attention.problem, queue().device().limits()).unwrap();
    assert_eq!(plan.pack, 4);
    let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
    assert!((moved - planned).abs() <= 0.02 * planned, "{moved}, plan {planned}");
    // Nothing is read twice.
    assert!(moved <= 1.02 * plan.resources.bytes_needed.unwrap(), "{moved}");
}

#[test]
fn only_tiles_of_the_sequences_themselves_are_multiplied() {
    let attention = Attention::of_lengths(0, F16, &[[128, 256], [0, 90], [256, 0], [64, 128]], [1, 1, 64, 64], FULL);
    let Some(counters) = count(&attention) else {
        return;
    };
    // Tiles of 128 queries and 128 keys: 2 and 1.
    assert_eq!(get(&counters, "tensor_multiply_adds"), (3 * 128 * 128 * 2 * 64) as f64);
}
