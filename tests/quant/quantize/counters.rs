//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::quant::quantize::plan;
use llm_kernels::verify::profiled;

#[test]
fn every_byte_comes_from_memory_once() {
    for numbers in [
        Numbers::groups(Int4, [1024, 2048, 128]).with_zeros(),
        Numbers::groups(Int8, [1024, 2048, 128]),
        Numbers::groups(Nf4, [1024, 2048, 64]),
        Numbers::blocks([1024, 2048, 64], false),
        Numbers::rows(I8, 256, 4096),
        Numbers::rows(E4M3, 256, 4096),
    ] {
        let numbers = numbers.with_types(BF16, BF16);
        let layout = Layout::contiguous(&[numbers.problem.n, numbers.problem.k]).unwrap();
        let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = numbers.tensors(layout).unwrap();
        let ((), profile) = profiled(queue(), 0, || tensors.launch(&numbers.problem)).unwrap();
        let Some(profile) = profile else {
            return;
        };
        let needed = plan(&numbers.problem).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&profile.counters, "dram_bytes") / needed;
        eprintln!("{:?}: {moved:.4} of the bytes", numbers.problem.target);
        assert!((0.98..=1.02).contains(&moved), "{:?}: {moved} of the bytes", numbers.problem.target);
    }
}
