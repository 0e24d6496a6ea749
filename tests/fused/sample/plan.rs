//! Plans, without a device.

use super::*;
use llm_kernels::fused::sample::plan;

#[test]
fn every_instance_is_embedded() {
    assert_embedded("fused/sample", 6);
}

#[test]
fn few_rows_are_divided_over_the_chip_and_many_are_not() {
    // 16 multiprocessors with 4 blocks each.
    let limits = Limits::of_capability(8, 0);
    let planned = |m, n| {
        let plan = plan(&Problem::new(F32, m, n, false, Options::default()).unwrap(), &limits).unwrap();
        assert_eq!(plan.workspace_bytes, m * plan.num_parts * 24);
        assert_eq!((plan.parts.grid[0] as usize, plan.rows.grid[0] as usize), (m * plan.num_parts, m));
        assert!(plan.num_parts * plan.units_per_part >= n / 4);
        (plan.num_parts, plan.units_per_part)
    };
    assert_eq!(planned(1, 262_144), (64, 1024));
    assert_eq!(planned(16, 262_144), (4, 16_384));
    assert_eq!(planned(1000, 262_144), (1, 65_536));
    assert_eq!(planned(1, 64), (1, 16));
}
