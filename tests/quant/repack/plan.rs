//! Plans, without a device.

use super::*;
use llm_kernels::Error;
use llm_kernels::quant::repack::plan;

#[test]
fn a_thread_makes_16_bytes_or_one_scale() {
    let plan = plan(&Checkpoint::new(Gptq, Int8, [40, 256, 64]).problem).unwrap();
    // 3 tiles of 4 chunks of 1024 bytes; 4 groups.
    assert_eq!((plan.codes.unwrap().grid, plan.factors.unwrap().grid), ([6, 1, 1], [2, 1, 1]));
    // Codes; scales and zero-points; what they are packed to.
    let read = 40.0 * 256.0 + 160.0 * 2.0 + 160.0;
    assert_eq!(plan.resources.bytes_needed, Some(read + 12288.0 + 192.0 * 3.0));
}

#[test]
fn nothing_is_launched_for_nothing() {
    let plan = plan(&Checkpoint::new(Awq, Int4, [0, 64, 32]).problem).unwrap();
    assert_eq!((plan.codes, plan.factors), (None, None));
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let mut problem = Checkpoint::new(Gptq, Int8, [8, 64, 64]).problem;
    (problem.format.n, problem.format.k) = (1 << 22, 1 << 20);
    let error = plan(&problem).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "number of blocks", .. }), "{error}");
}
