//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use crate::support::is_modelled_a100;
use llm_kernels::verify::{Counters, Sample, modelled_sample, profiled};
use std::num::NonZero;

/// Counters with the traffic of memory, whose L2 cache is cold at each launch; `None` on a GPU.
fn memory_counters(product: &Product) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = product.tensors(product.layouts()).unwrap();
    let ((), profile) = profiled(queue(), 0, || tensors.launch(&product.problem)).unwrap();
    profile.map(|profile| profile.counters)
}

fn conflicts(counters: &Counters) -> f64 {
    get(counters, "shared_wavefronts") / get(counters, "shared_ideal_wavefronts") - 1.0
}

#[test]
fn a_row_takes_few_instructions_for_a_weight_and_moves_bytes_once() {
    if !is_modelled_a100() {
        return;
    }
    let mut failures = Vec::new();
    for (codes, group, dtype, zeros, most) in [
        (Int4, 128, F16, false, 1.5),
        (Int4, 128, BF16, false, 1.5),
        (Int4, 128, F16, true, 1.5),
        (Int4, 4096, F16, false, 1.5),
        (Int4, 64, F16, false, 1.5),
        (Int4, 32, F16, false, 1.5),
        (Int8, 128, F16, false, 2.45),
        (Nf4, 64, BF16, false, 3.75),
    ] {
        // The attention output of Llama 3 8B.
        let product = Product::new(codes, group, [1, 4096, 4096]).with_types(dtype, dtype);
        let product = if zeros { product.with_zeros() } else { product };
        let Some(counters) = memory_counters(&product) else {
            return;
        };
        let needed = plan(&product.problem, queue().device().limits()).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&counters, "dram_bytes") / needed;
        let instructions = get(&counters, "thread_inst_executed_but_moves") / (4096.0 * 4096.0);
        let requested = get(&counters, "global_requested_bytes") / get(&counters, "global_bytes");
        let conflicts = conflicts(&counters);
        let text = format!(
            "{codes} in {group}, {dtype}, zero-points {zeros}: {instructions:.4} instructions a weight, {moved:.4} of the \
             bytes, sectors used {requested:.4}, conflicts {conflicts:.4}"
        );
        eprintln!("{text}");
        if instructions > most || !(0.98..=1.02).contains(&moved) || requested < 0.95 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// What limits the modelled time on an A100, and how much it is of the larger of what tensor cores and memory need.
fn modelled(product: &Product) -> Option<(&'static str, f64, String)> {
    if !is_modelled_a100() {
        return None;
    }
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = product.tensors(product.layouts()).unwrap();
    // Blocks that do not run leave nothing to be added up.
    let bytes = tensors.workspace.image(queue()).unwrap().len();
    tensors.workspace.write(queue(), &vec![0; bytes]).unwrap();
    let resources = plan(&product.problem, queue().device().limits()).unwrap().resources;
    let bytes = resources.bytes_needed.unwrap();
    let sample = Sample { blocks: NonZero::new(8), bytes_needed: bytes as u64, ..Sample::ALL };
    let modelled = modelled_sample(queue(), sample, || tensors.launch(&product.problem)).unwrap()?;
    let tensor = resources.flops.unwrap() / modelled.peak_flops;
    let bound = tensor.max(bytes / modelled.peak_bytes);
    let ratio = modelled.seconds / bound;
    let text = format!("{:?}: {ratio:.2} of the bound; {:?}; {:?}", product.problem, modelled.bounds, modelled.stalls);
    eprintln!("{text}");
    Some((modelled.bounds[0].0, ratio, text))
}

#[test]
fn few_rows_are_bound_by_memory_and_many_by_tensor_cores() {
    for (sizes, bound) in [
        ([1, 4096, 4096], "dram"),
        ([16, 4096, 4096], "dram"),
        ([32, 4096, 4096], "dram"),
        ([256, 4096, 4096], "tensor"),
        ([1024, 4096, 4096], "tensor"),
    ] {
        let Some((largest, _, text)) = modelled(&Product::new(Int4, 128, sizes)) else {
            return;
        };
        assert_eq!(largest, bound, "{text}");
    }
}

#[test]
fn sixty_four_rows_take_the_modelled_time_that_is_stated() {
    let mut failures = Vec::new();
    for (sizes, most) in
        [([64, 57344, 8192], 1.25), ([64, 28672, 4096], 1.6), ([64, 8192, 8192], 1.75), ([64, 4096, 4096], 3.8)]
    {
        let Some((_, ratio, text)) = modelled(&Product::new(Int4, 128, sizes)) else {
            return;
        };
        if ratio.is_nan() || ratio > most {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn many_rows_have_no_bank_conflicts_and_few_instructions_for_a_product() {
    if !is_modelled_a100() {
        return;
    }
    let mut failures = Vec::new();
    // Of more than 32 rows enough for every block to have a tile's worth of steps: what it does before and behind them counts.
    for (codes, m, n, most) in
        [(Int4, 16, 1024, 24.0), (Int4, 64, 8192, 8.1), (Int4, 256, 4096, 7.45), (Int8, 256, 4096, 10.2)]
    {
        let product = Product::new(codes, 128, [m, n, 4096]);
        let Some(counters) = memory_counters(&product) else {
            return;
        };
        let products = get(&counters, "tensor_multiply_adds") / 2048.0;
        let (ratio, conflicts) = (get(&counters, "inst_executed") / products, conflicts(&counters));
        let text = format!("{codes}, {m} rows: {ratio:.2} warp instructions for 16 x 8 x 16, conflicts {conflicts:.4}");
        eprintln!("{text}");
        if ratio > most || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
