//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::{count, get};
use llm_kernels::verify::Counters;

fn counters(product: &Product) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = product.tensors(product.layouts()).unwrap();
    count(|| tensors.launch(&product.problem))
}

/// A row of 4096 activations by 1024 of weights.
fn product(format: Format) -> Product {
    Product::new(format, Q8, [1, 1024, 4096])
}

#[test]
fn figures() {
    for format in Format::ALL {
        let p = product(format);
        let Some(c) = counters(&p) else { return };
        let weights = 1024.0 * 4096.0;
        eprintln!(
            "{format}: {:.3} thread inst/weight, {:.3} warp*32; bytes {:.4} of w, use {:.3}, conflicts {:.4}, smem {:.3}",
            get(&c, "thread_inst_executed") / weights,
            get(&c, "inst_executed") * 32.0 / weights,
            get(&c, "global_bytes") / p.w.len() as f64,
            get(&c, "global_requested_bytes") / get(&c, "global_bytes"),
            get(&c, "shared_wavefronts") / get(&c, "shared_ideal_wavefronts") - 1.0,
            get(&c, "shared_wavefronts") / weights * 32.0,
        );
    }
}
