//! Plans, without a device.

use super::*;
use llm_kernels::attention::merge::plan;
use llm_kernels::{Error, LaunchPlan, Limits, embedded};

fn problem(part: DType, out: DType, sizes: [usize; 5]) -> Problem {
    Problem::new(part, out, shape(sizes)).unwrap()
}

#[test]
fn every_pair_of_types_has_an_embedded_instance_that_fits_every_chip() {
    for (part, out) in [(F16, F16), (BF16, BF16), (F32, F32), (F32, F16), (F32, BF16)] {
        for (major, minor) in [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
            let limits = Limits::of_capability(major, minor);
            let plan = plan(&problem(part, out, [256, 2, 300, 8, 128]), &limits).unwrap();
            assert_eq!(plan.launch.instance, format!("merge_{part}_{out}"));
            assert!(plan.launch.shared_bytes <= 48 * 1024);
            let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == plan.launch.op);
            let instances = kernels.flat_map(|kernel| kernel.instances);
            assert_eq!(instances.filter(|instance| instance.name == plan.launch.instance).count(), 1);
        }
    }
}

#[test]
fn a_plan_is_known_before_it_runs() {
    let plan = plan(&problem(F32, BF16, [8, 2, 5, 7, 128]), &Limits::of_capability(8, 0)).unwrap();
    let expected = LaunchPlan {
        op: "attention/merge",
        instance: "merge_f32_bf16",
        // 70 rows, 32 a block.
        grid: [3, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 8 * 32 * 4,
        workspace_bytes: 0,
    };
    assert_eq!(plan.launch, expected);
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let error = plan(&problem(F16, F16, [1, 1 << 29, 128, 1, 64]), &Limits::of_capability(8, 0)).unwrap_err();
    assert_eq!(error.to_string(), "attention/merge: number of blocks is 2147483648, the limit is 2147483647");
}

#[test]
fn a_chip_with_too_little_shared_memory_is_refused() {
    let limits = Limits { shared_bytes_per_block: 1024, ..Limits::of_capability(8, 0) };
    let error = plan(&problem(F16, F16, [9, 1, 1, 1, 64]), &limits).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { needed: 1152, available: 1024, .. }), "{error}");
}

#[test]
fn everything_is_moved_once() {
    let resources = plan(&problem(F32, F16, [3, 2, 5, 7, 64]), &Limits::of_capability(8, 0)).unwrap().resources;
    let bytes = 70.0 * (3.0 * (64.0 * 4.0 + 4.0) + 64.0 * 2.0 + 4.0);
    assert_eq!((resources.bytes_moved, resources.bytes_needed), (Some(bytes), Some(bytes)));
    assert_eq!(resources.flops, Some(2.0 * 3.0 * 70.0 * 64.0));
}
