//! Plans, without a device.

use super::*;
use llm_kernels::quant::gguf_rows::plan;
use llm_kernels::{Error, LaunchPlan, embedded};

#[test]
fn every_format_has_an_embedded_instance() {
    for format in Format::ALL {
        let plan = plan(&Problem::new(format, 5, 512, 5, false, F32).unwrap()).unwrap();
        assert_eq!(plan.launch.instance, format!("gguf_rows_{format}"));
        let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == plan.launch.op);
        let instances = kernels.flat_map(|kernel| kernel.instances);
        assert_eq!(instances.filter(|instance| instance.name == plan.launch.instance).count(), 1);
    }
}

#[test]
fn a_plan_is_known_before_it_runs() {
    // 20 groups a row: 6 rows in 128 threads. 340 bytes of a row, 16-byte copies around them.
    let plan = plan(&Problem::new(Format::Q8_0, 100, 640, 20, true, F16).unwrap()).unwrap();
    let expected = LaunchPlan {
        op: "quant/gguf_rows",
        instance: "gguf_rows_q8_0",
        grid: [4, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 6 * (704 + 16),
        workspace_bytes: 0,
    };
    assert_eq!(plan.launch, expected);
    assert_eq!(plan.resources.bytes_moved, Some(20.0 * (680.0 + 1280.0 + 4.0)));
}

#[test]
fn wide_rows_are_shared_by_several_blocks() {
    let plan = plan(&Problem::new(Format::Q6K, 3, 256 * 33, 3, false, F32).unwrap()).unwrap();
    assert_eq!((plan.parts_per_row, plan.rows_per_tile, plan.launch.grid), (3, 1, [9, 1, 1]));
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let problem = Problem::new(Format::Q4_0, 1, 8192, i32::MAX as usize, true, F32).unwrap();
    assert!(matches!(plan(&problem), Err(Error::TooLarge { what: "number of blocks", .. })));
}
