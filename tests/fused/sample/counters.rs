//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use llm_kernels::fused::sample::plan;

#[test]
fn logits_are_read_once_without_filters_and_instructions_are_few() {
    for (options, ceiling) in [(greedy(), 90.0), (Options::default(), 130.0)] {
        let call = Sample::new(F32, [2, 262_144], options);
        let (logits, mut outputs) = (call.logits.upload(), call.outputs());
        let Some(counters) = count(|| call.launch(&logits, &mut outputs)) else {
            return;
        };
        let needed = plan(&call.problem(), queue().device().limits()).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&counters, "global_bytes");
        assert!(moved <= 1.05 * needed, "{options:?}: {moved} bytes moved, {needed} needed");
        assert_instructions(&counters, 2 * 262_144, ceiling, &options);
    }
}

#[test]
fn filters_take_few_passes() {
    let options = Options { top_p: 0.9, ..Options::default() };
    let (mut passes, rows) = (0.0, 12);
    for seed in 0..rows {
        let call = Sample::new(F32, [1, 50_000], Options { seed, ..options });
        let (logits, mut outputs) = (call.logits.upload(), call.outputs());
        let Some(counters) = count(|| call.launch(&logits, &mut outputs)) else {
            return;
        };
        passes += get(&counters, "global_bytes") / 200_000.0 - 1.0;
    }
    // 1 + ln(1 / 0.9) are expected for each.
    assert!(passes / rows as f64 <= 1.6, "{} passes a row", passes / rows as f64);
}
