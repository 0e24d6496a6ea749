//! Plans, without a device.

use super::*;
use llm_kernels::fused::rope::plan;

#[test]
fn every_instance_is_embedded() {
    assert_embedded("fused/rope", 3);
}

#[test]
fn heads_share_a_thread_unless_tokens_are_few() {
    // 16 multiprocessors with 6 blocks of 128 threads: 12,288 threads.
    let limits = Limits::of_capability(8, 0);
    let plan = |s, h, n| {
        let shape = Shape { b: 1, s, h, d: 2 * n, n };
        let plan = plan(&Problem::new(Some(F16), F16, shape, Options::default()).unwrap(), &limits).unwrap();
        (plan.launch.instance, plan.head_groups, plan.launch.grid[0])
    };
    assert_eq!(plan(4096, 32, 64), ("rope_unit8", 1, 96));
    assert_eq!(plan(1, 4, 128), ("rope_unit8", 4, 1));
    assert_eq!(plan(512, 32, 64), ("rope_unit8", 3, 96));
    assert_eq!(plan(1, 1, 4096), ("rope_unit8", 1, 4));
    // More threads for a token than the chip runs at once.
    assert_eq!(plan(8, 1, 16_001), ("rope_unit1", 1, 126));
}

#[test]
fn a_part_of_a_unit_makes_units_smaller() {
    let unit = |dtype, d, n, interleaved| {
        let mut call = Rope::new(dtype, [1, 2, 2, d, n], Options { interleaved, ..Options::default() });
        let whole = call.problem().unit;
        call.out = call.out.strided(&[1000, 500, d + 1, 1]);
        assert_eq!(call.problem().unit, 1);
        whole
    };
    assert_eq!((unit(F16, 64, 32, false), unit(F32, 64, 32, true)), (8, 4));
    assert_eq!((unit(F16, 64, 12, true), unit(F32, 64, 12, true), unit(F32, 64, 6, false)), (1, 4, 1));
}
