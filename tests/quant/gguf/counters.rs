//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::{count, get};
use llm_kernels::verify::Counters;

fn counters(product: &Product) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = product.tensors(product.layouts()).unwrap();
    count(|| tensors.launch(&product.problem))
}

/// One row of activations, 4096 x 4096 weights: the attention output of Llama 3 8B.
fn one_row(format: Format) -> Product {
    Product::new(format, Q8, [1, 4096, 4096])
}

/// Thread instructions for a weight, without moves and changes of address space.
const CEILINGS: [(Format, f64); 12] = [
    (Format::Q4_0, 2.2),
    (Format::Q4_1, 2.2),
    (Format::Q5_0, 3.3),
    (Format::Q5_1, 3.5),
    (Format::Q8_0, 2.0),
    (Format::Q2K, 2.1),
    (Format::Q3K, 3.6),
    (Format::Q4K, 1.8),
    (Format::Q5K, 2.5),
    (Format::Q6K, 3.1),
    (Format::IQ4NL, 3.5),
    (Format::IQ4XS, 3.1),
];

#[test]
fn a_row_takes_few_instructions_for_a_weight_moves_weights_once_and_has_no_bank_conflicts() {
    let mut failures = Vec::new();
    for (format, ceiling) in CEILINGS {
        let product = one_row(format);
        let Some(counters) = counters(&product) else {
            return;
        };
        let instructions = get(&counters, "thread_inst_executed_but_moves") / (4096.0 * 4096.0);
        let moved = get(&counters, "global_bytes");
        let requested = get(&counters, "global_requested_bytes") / moved;
        let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts") - 1.0;
        // What comes from memory: weights, activations, quantised ones with their scales once, and the result. What
        // blocks fetch from the L2 cache beyond that are the activations.
        let tile = plan(&product.problem, queue().device().limits()).unwrap().tile.unwrap();
        let blocks = 4096.0 / tile.rows_per_tile as f64;
        let expected = product.w.len() as f64 + 4096.0 * 4.0 + 5120.0 + blocks * 5120.0 + 4096.0 * 4.0;
        let text = format!(
            "{format}: {instructions:.3} instructions a weight, {:.4} of the bytes, sectors used {requested:.4}, \
             conflicts {conflicts:.4}",
            moved / expected
        );
        eprintln!("{text}");
        if instructions > ceiling || moved > 1.02 * expected || requested < 0.95 || conflicts > 0.01 {
            failures.push(text);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn many_rows_go_by_tensor_cores_without_waste() {
    for (format, ceiling) in [(Format::Q4_0, 60.0), (Format::Q4K, 60.0), (Format::Q6K, 66.0)] {
        let product = Product::new(format, Q8, [256, 128, 512]);
        let Some(counters) = counters(&product) else {
            return;
        };
        let multiply_adds = get(&counters, "tensor_multiply_adds");
        assert_eq!(multiply_adds, 256.0 * 128.0 * 512.0, "{format}");
        let ratio = get(&counters, "inst_executed") / (multiply_adds / 4096.0);
        let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts") - 1.0;
        eprintln!("{format}: {ratio:.2} warp instructions for 16 x 8 x 32 products, conflicts {conflicts:.4}");
        assert!(ratio <= ceiling, "{format}: {ratio} warp instructions for 16 x 8 x 32 products");
    }
}
