//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use llm_kernels::fused::rms_norm::plan;

/// Many rows, with everything that may be added, and none.
fn many() -> [Norm; 4] {
    let heads = Norm::new(F16, &[100_000, 64]);
    let residual = Some(Tensor::normal(4, BF16, &[1_000, 4096]));
    let hidden = Norm { residual, weight: None, ..Norm::new(BF16, &[1_000, 4096]) };
    let mut behind = Norm { out: Tensor::normal(3, F32, &[40_000, 128]), ..Norm::new(F16, &[40_000, 128]) };
    behind.options.accumulate = true;
    [heads, hidden, behind, Norm { weight: None, ..Norm::new(F32, &[2_000, 640]) }]
}

#[test]
fn every_byte_is_moved_once_in_whole_sectors_and_instructions_are_few() {
    for (norm, ceiling) in many().iter().zip([28.0, 28.0, 39.0, 36.0]) {
        let Some(counters) = norm.counters() else {
            return;
        };
        let resources = plan(&norm.problem(), queue().device().limits()).unwrap().resources;
        let what = (norm.problem().types, norm.out.layout);
        assert_thrifty(&counters, &resources, &what);
        assert_instructions(&counters, norm.out.values.len(), ceiling, &what);
    }
}

#[test]
fn rows_beyond_registers_move_the_bytes_of_the_plan() {
    for norm in [Norm::new(F32, &[3, 20_000]), Norm::new(F16, &[2, 32_768]), Norm::new(BF16, &[4, 640])] {
        let Some(counters) = norm.counters() else {
            return;
        };
        let resources = plan(&norm.problem(), queue().device().limits()).unwrap().resources;
        assert_eq!(Some(get(&counters, "global_bytes")), resources.bytes_moved, "{:?}", norm.out.layout);
    }
}
