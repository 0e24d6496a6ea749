//! Plans, without a device.

use super::*;
use llm_kernels::Error;
use llm_kernels::quant::quantize::plan;

#[test]
fn a_warp_has_a_group_of_two_rows_or_a_block_a_row() {
    // 3 tiles of 8 pairs of rows, 4 groups; 4 warps a block.
    let groups = plan(&Numbers::groups(Int4, [40, 256, 64]).with_zeros().problem).unwrap();
    assert_eq!((groups.launch.unwrap().instance, groups.launch.unwrap().grid), ("quantize_groups", [24, 1, 1]));
    assert_eq!(groups.resources.bytes_needed, Some(40.0 * 1024.0 + 6144.0 + 192.0 * 3.0));
    let rows = plan(&Numbers::rows(I8, 7, 256).problem).unwrap();
    assert_eq!((rows.launch.unwrap().instance, rows.launch.unwrap().grid), ("quantize_rows", [7, 1, 1]));
    assert_eq!(rows.resources.bytes_needed, Some(7.0 * (1024.0 + 260.0)));
}

#[test]
fn nothing_is_launched_for_nothing() {
    assert_eq!(plan(&Numbers::groups(Int4, [0, 64, 64]).problem).unwrap().launch, None);
}

#[test]
fn more_rows_than_a_grid_holds_are_refused() {
    let mut problem = Numbers::rows(I8, 1, 64).problem;
    problem.n = 1 << 33;
    let error = plan(&problem).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "n", .. }), "{error}");
}
