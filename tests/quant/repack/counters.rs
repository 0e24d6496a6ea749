//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::quant::repack::plan;
use llm_kernels::verify::profiled;

#[test]
fn every_byte_comes_from_memory_once() {
    for (source, codes, group) in [(Gptq, Int4, 128), (Gptq, Int8, 128), (Awq, Int4, 128), (Source::Nf4, Nf4, 64)] {
        let checkpoint = Checkpoint::new(source, codes, [1024, 2048, group]);
        let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = checkpoint.tensors().unwrap();
        let ((), profile) = profiled(queue(), 0, || tensors.launch(&checkpoint.problem)).unwrap();
        let Some(profile) = profile else {
            return;
        };
        let needed = plan(&checkpoint.problem).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&profile.counters, "dram_bytes") / needed;
        eprintln!("{source:?} {codes}: {moved:.4} of the bytes");
        assert!((0.98..=1.02).contains(&moved), "{source:?} {codes}: {moved} of the bytes");
    }
}
