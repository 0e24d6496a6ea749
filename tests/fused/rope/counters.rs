//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;

#[test]
fn heads_are_moved_once_and_instructions_are_few() {
    if !is_modelled_a100() {
        return;
    }
    for (dtype, sizes, options, ceiling) in [
        (F16, [1, 6000, 4, 256, 128], Options::default(), 18.0),
        (BF16, [1, 5000, 8, 128, 64], INTERLEAVED, 19.7),
        (F32, [1, 5000, 8, 128, 64], Options::default(), 22.0),
    ] {
        let call = Rope::new(dtype, sizes, options);
        let mut out = call.out.upload();
        let Some(counters) = count(|| call.launch(&mut out)) else {
            return;
        };
        let resources = llm_kernels::fused::rope::plan(&call.problem(), queue().device().limits()).unwrap().resources;
        let (moved, requested) = (get(&counters, "global_bytes"), get(&counters, "global_requested_bytes"));
        let needed = resources.bytes_needed.unwrap();
        eprintln!("{dtype}: moved {} of needed, {} of requested", moved / needed, moved / requested);
        assert!(moved <= 1.02 * needed, "{dtype} {sizes:?}: {moved} bytes moved, {needed} needed");
        assert!(moved <= 1.01 * requested, "{dtype} {sizes:?}: {moved} bytes moved, {requested} requested");
        assert_instructions(&counters, call.out.values.len(), ceiling, &(dtype, sizes));
    }
}
