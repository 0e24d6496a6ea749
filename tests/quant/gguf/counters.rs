//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::support::is_modelled_a100;
use crate::{count, get};
use llm_kernels::verify::{Counters, Sample, modelled_sample, profiled};
use std::num::NonZero;

fn counters(product: &Product) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = product.tensors(product.layouts()).unwrap();
    count(|| tensors.launch(&product.problem))
}

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

/// Thread instructions for a weight, without moves and changes of address space.
fn instructions(counters: &Counters, Problem { n, k, .. }: Problem) -> f64 {
    get(counters, "thread_inst_executed_but_moves") / (n * k) as f64
}

/// The most of them that may be.
fn ceiling(format: Format) -> f64 {
    match format {
        Format::Q4_0 | Format::Q4K | Format::Q8_0 => 1.5,
        _ => 2.5,
    }
}

#[test]
fn a_row_takes_few_instructions_for_a_weight_and_moves_weights_once_without_bank_conflicts() {
    let mut failures = Vec::new();
    for format in Format::ALL {
        // 4096 x 4096 weights: the attention output of Llama 3 8B.
        let product = Product::new(format, Q8, [1, 4096, 4096]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let instructions = instructions(&counters, product.problem);
        let moved = get(&counters, "global_bytes");
        let requested = get(&counters, "global_requested_bytes") / moved;
        let conflicts = conflicts(&counters);
        // What comes from memory: weights, activations, quantised ones with their scales once, and the result. What
        // blocks fetch from the L2 cache beyond that are the activations.
        let tile = plan(&product.problem, queue().device().limits()).unwrap().tile.unwrap();
        let blocks = 4096.0 / tile.rows_per_block() as f64;
        let expected = product.w.len() as f64 + 4096.0 * 4.0 + 5120.0 + blocks * 5120.0 + 4096.0 * 4.0;
        let text = format!(
            "{format}: {instructions:.3} instructions a weight, {:.4} of the bytes, sectors used {requested:.4}, \
             conflicts {conflicts:.4}",
            moved / expected
        );
        eprintln!("{text}");
        if instructions > ceiling(format) || moved > 1.02 * expected || requested < 0.95 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Products of Gemma 3 270M, `[n, k]`: attention's and the feed-forward ones, and a part of the vocabulary.
const GEMMA: [[usize; 2]; 5] = [[1024, 640], [640, 1024], [2048, 640], [640, 2048], [32768, 640]];

#[test]
fn the_weights_of_a_real_model_come_from_memory_once_in_whole_sectors_without_bank_conflicts() {
    let mut failures = Vec::new();
    for (format, [n, k]) in Format::ALL.into_iter().flat_map(|format| GEMMA.map(|shape| (format, shape))) {
        // The output matrix of 640 columns is Q8_0.
        if !k.is_multiple_of(format.block_weights()) || n > 4096 && format != Format::Q8_0 {
            continue;
        }
        let product = Product::new(format, Q8, [1, n, k]);
        let Some(counters) = memory_counters(&product) else {
            return;
        };
        let limits = queue().device().limits();
        let needed = plan(&product.problem, limits).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&counters, "dram_bytes") / needed;
        let requested = get(&counters, "global_requested_bytes") / get(&counters, "global_bytes");
        let (conflicts, instructions) = (conflicts(&counters), instructions(&counters, product.problem));
        let text = format!(
            "{format} {n} x {k}: {moved:.4} of the bytes, sectors used {requested:.4}, conflicts {conflicts:.4}, \
             {instructions:.3} instructions a weight"
        );
        eprintln!("{text}");
        if !(0.98..=1.02).contains(&moved) || requested < 0.95 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn eight_rows_read_the_weights_once_quantised_or_exact() {
    for (format, activations) in [(Format::Q4K, Q8), (Format::Q4K, Exact), (Format::Q5_0, Exact), (Format::Q6K, Exact)]
    {
        let product = Product::new(format, activations, [8, 2048, 1024]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let blocks =
            2048.0 / plan(&product.problem, queue().device().limits()).unwrap().tile.unwrap().rows_per_block() as f64;
        let (f32s, q8) = (8.0 * 1024.0 * 4.0, 8.0 * 1280.0);
        let activations = if activations == Q8 { f32s + q8 * (1.0 + blocks) } else { f32s * blocks };
        let moved = get(&counters, "global_bytes") / (product.w.len() as f64 + activations + 8.0 * 2048.0 * 4.0);
        assert!(moved <= 1.02, "{format}: {moved} of the bytes");
        let conflicts = conflicts(&counters);
        assert!(conflicts <= 0.01, "{format}: {conflicts} of the wavefronts are bank conflicts");
    }
}

#[test]
fn many_rows_go_by_tensor_cores_without_waste() {
    if !is_modelled_a100() {
        return;
    }
    let mut failures = Vec::new();
    for format in Format::ALL {
        // A short tile, which no other block shares; so its beginning counts, too.
        let product = Product::new(format, Q8, [256, 128, 512]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let multiply_adds = get(&counters, "tensor_multiply_adds");
        assert_eq!(multiply_adds, 256.0 * 128.0 * 512.0, "{format}");
        let ratio = get(&counters, "inst_executed") / (multiply_adds / 2048.0);
        let odd = Product::new(format, Q8, [256, 128, 768]);
        let conflicts = conflicts(&counters).max(self::conflicts(&self::counters(&odd).unwrap()));
        let text = format!("{format}: {ratio:.2} warp instructions for 16 x 8 x 16 products, conflicts {conflicts:.4}");
        eprintln!("{text}");
        if ratio > 14.3 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Three products of tf32 parts each.
#[test]
fn exact_rows_go_by_tensor_cores_without_bank_conflicts() {
    let mut failures = Vec::new();
    for format in Format::ALL {
        let product = Product::new(format, Exact, [832, 64, 1024]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let multiply_adds = get(&counters, "tensor_multiply_adds");
        assert_eq!(multiply_adds, 3.0 * 832.0 * 64.0 * 1024.0, "{format}");
        let ratio = get(&counters, "inst_executed") / (multiply_adds / 1024.0);
        let odd = Product::new(format, Exact, [832, 64, 768]);
        let conflicts = conflicts(&counters).max(self::conflicts(&self::counters(&odd).unwrap()));
        let text = format!("{format}: {ratio:.2} warp instructions for 16 x 8 x 8 products, conflicts {conflicts:.4}");
        eprintln!("{text}");
        if ratio > 11.5 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Where rows are too few for bf16.
#[test]
fn integers_of_a_few_dozen_rows_have_no_bank_conflicts() {
    let mut failures = Vec::new();
    for format in Format::ALL {
        let product = Product::new(format, Q8, [64, 64, 1024]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / (64.0 * 64.0 * 1024.0 / 4096.0);
        // An odd number of blocks a row: every other one starts in the middle of a word.
        let odd = Product::new(format, Q8, [64, 64, 768]);
        let conflicts = conflicts(&counters).max(self::conflicts(&self::counters(&odd).unwrap()));
        let text = format!("{format}: {ratio:.1} warp instructions for 16 x 8 x 32 products, conflicts {conflicts:.4}");
        eprintln!("{text}");
        if conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// In multiples of what tensor cores need for the products in bf16; a sample of the blocks.
#[test]
fn many_rows_take_the_modelled_time_that_is_stated_on_an_a100() {
    let mut failures = Vec::new();
    for (format, sizes, most) in [
        (Format::Q4K, [256, 4096, 4096], 2.0),
        (Format::Q4K, [256, 57344, 8192], 1.15),
        (Format::Q4K, [2048, 4096, 4096], 1.2),
        (Format::Q4K, [2048, 28672, 4096], 1.15),
        (Format::Q4_0, [2048, 28672, 4096], 1.17),
        (Format::Q8_0, [2048, 4096, 4096], 1.25),
        (Format::Q8_0, [2048, 28672, 4096], 1.2),
        (Format::Q6K, [2048, 4096, 4096], 1.45),
        (Format::Q6K, [2048, 28672, 4096], 1.4),
    ] {
        if !is_modelled_a100() {
            return;
        }
        let product = Product::new(format, Q8, sizes).with_types(BF16, BF16);
        let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = product.tensors(product.layouts()).unwrap();
        // Sums of blocks that are left out.
        let bytes = plan(&product.problem, queue().device().limits()).unwrap().workspace.bytes;
        tensors.workspace.write(queue(), &vec![0; bytes]).unwrap();
        let sample = Sample { blocks: NonZero::new(4), ..Sample::ALL };
        let Some(modelled) = modelled_sample(queue(), sample, || tensors.launch(&product.problem)).unwrap() else {
            return;
        };
        let [m, n, k] = sizes.map(|size| size as f64);
        let ratio = modelled.seconds / (2.0 * m * n * k / modelled.peak_flops);
        let text = format!("{format} {sizes:?}: {ratio:.2} of the bound; {:?}; {:?}", modelled.bounds, modelled.stalls);
        eprintln!("{text}");
        if ratio.is_nan() || ratio > most {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
