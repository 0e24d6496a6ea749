//! Plans, without a device.

use super::*;
use llm_kernels::Error;
use llm_kernels::quant::quantize::{Plan, plan};

fn grids(plan: &Plan) -> Vec<(&'static str, u32)> {
    plan.launches.iter().map(|launch| (launch.instance, launch.grid[0])).collect()
}

#[test]
fn a_warp_has_a_group_of_two_rows_or_a_block_a_row() {
    // 3 tiles of 8 pairs of rows, 4 groups; 4 warps a block.
    let groups = plan(&Numbers::groups(Int4, [40, 256, 64]).with_zeros().problem).unwrap();
    assert_eq!(grids(&groups), [("quantize_groups", 24)]);
    assert_eq!(groups.resources.bytes_needed, Some(40.0 * 1024.0 + 6144.0 + 192.0 * 3.0));
    let rows = plan(&Numbers::rows(I8, 7, 256).problem).unwrap();
    assert_eq!(grids(&rows), [("quantize_rows", 7)]);
    assert_eq!(rows.resources.bytes_needed, Some(7.0 * (1024.0 + 260.0)));
}

#[test]
fn nothing_is_launched_for_nothing() {
    assert_eq!(plan(&Numbers::groups(Int4, [0, 64, 64]).problem).unwrap().launches, []);
    assert_eq!(plan(&Numbers::blocks([0, 64, 64], false).problem).unwrap().launches, []);
}

#[test]
fn magnitudes_are_quantised_after_the_blocks() {
    let plan = plan(&Numbers::blocks([40, 1024, 64], true).problem).unwrap();
    let of_magnitudes = [("quantize_block_sums", 3), ("quantize_block_offset", 1), ("quantize_block_magnitudes", 3)];
    assert_eq!(grids(&plan), [&[("quantize_blocks", 40)], &of_magnitudes[..]].concat());
    assert_eq!(plan.resources.bytes_needed, Some(40.0 * 1024.0 * 4.5 + 640.0 * 5.0 + 16.0));
}

#[test]
fn more_rows_than_a_grid_holds_are_refused() {
    let mut problem = Numbers::rows(I8, 1, 64).problem;
    problem.n = 1 << 33;
    let error = plan(&problem).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "n", .. }), "{error}");
}
