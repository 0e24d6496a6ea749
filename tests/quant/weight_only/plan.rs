//! Plans, without a device.

use super::*;
use llm_kernels::quant::Shares;
use llm_kernels::{Error, Limits, embedded};

fn problem(codes: Codes, x_dtype: DType, [m, n, k]: [usize; 3]) -> Problem {
    let format = GroupedFormat { codes, n, k, group: 128 };
    Problem { format, has_zeros: false, permuted: false, m, x_dtype, bias_dtype: None, y_dtype: x_dtype }
}

fn a100() -> Limits {
    Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) }
}

#[test]
fn every_kind_of_codes_and_type_has_embedded_instances_that_fit_every_chip() {
    for codes in Codes::ALL {
        for dtype in [F16, BF16] {
            for (m, name) in
                [(1, "vector"), (8, "vector"), (9, "rows16"), (17, "rows32"), (64, "rows64"), (65, "rows128")]
            {
                for (major, minor) in [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
                    let limits = Limits::of_capability(major, minor);
                    let plan = plan(&problem(codes, dtype, [m, 4096, 4096]), &limits).unwrap();
                    assert_eq!(plan.multiply.instance, format!("weight_only_{name}_{codes}_{dtype}"));
                    assert!(plan.multiply.shared_bytes <= limits.shared_bytes_per_block);
                    for launch in plan.permute.iter().chain([&plan.multiply]).chain(&plan.finish) {
                        let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == launch.op);
                        let instances = kernels.flat_map(|kernel| kernel.instances);
                        assert_eq!(instances.filter(|instance| instance.name == launch.instance).count(), 1);
                    }
                }
            }
        }
    }
}

#[test]
fn k_is_split_where_blocks_of_few_rows_are_too_few_for_the_chip() {
    let split = |sizes| {
        let plan = plan(&problem(Int4, F16, sizes), &a100()).unwrap();
        (plan.multiply.grid, plan.num_splits, plan.split_chunks, plan.workspace.bytes, plan.finish.is_some())
    };
    // 128 blocks of 32 columns.
    assert_eq!(split([1, 4096, 4096]), ([128, 1, 1], 1, 64, 0, false));
    // 32 blocks; 216 places.
    assert_eq!(split([1, 1024, 4096]), ([32, 4, 1], 4, 16, 4 * 1024 * 4, true));
}

#[test]
fn tiles_of_many_rows_that_fill_no_wave_are_shared_where_that_takes_less_time() {
    let shares = |codes, sizes| {
        let plan = plan(&problem(codes, F16, sizes), &a100()).unwrap();
        let Shares { blocks, whole_tiles, shared_tiles, tile_units } = plan.shares;
        assert_eq!(plan.multiply.grid, [blocks as u32, 1, 1]);
        assert_eq!(plan.finish.is_some(), shared_tiles > 0);
        // Two tiles for each block.
        let partial_bytes = if shared_tiles > 0 { 2 * blocks * plan.rows * plan.columns * 4 } else { 0 };
        assert_eq!(plan.workspace.bytes, partial_bytes);
        (blocks, whole_tiles, shared_tiles, tile_units)
    };
    // 16 tiles of 64 x 256 in units of 128 of k; of 8 bits 32 of 64 x 128.
    assert_eq!(shares(Int4, [64, 4096, 4096]), (108, 0, 16, 32));
    assert_eq!(shares(Int8, [64, 4096, 4096]), (108, 0, 32, 32));
    // 224 tiles: two whole waves first.
    assert_eq!(shares(Int4, [64, 57344, 4096]), (108, 216, 8, 32));
    // Eight waves; and four units, which are too few.
    assert_eq!(shares(Int4, [2048, 13824, 4096]), (864, 864, 0, 0));
    assert_eq!(shares(Int4, [64, 256, 512]), (1, 1, 0, 0));
}

#[test]
fn only_many_rows_are_permuted_beforehand() {
    for (m, bytes) in [(8, 0), (9, 9 * 512 * 2)] {
        let problem = Problem { permuted: true, ..problem(Int8, BF16, [m, 4096, 512]) };
        let plan = plan(&problem, &Limits { multiprocessors: 1, ..Limits::of_capability(8, 0) }).unwrap();
        assert_eq!((plan.permute.is_some(), plan.workspace.bytes), (bytes > 0, bytes));
    }
}

#[test]
fn everything_is_counted_once() {
    let resources = plan(&problem(Int4, F16, [3, 4096, 512]), &a100()).unwrap().resources;
    let weights = 4096.0 * 512.0 / 2.0 + 4096.0 * 4.0 * 2.0;
    assert_eq!(resources.bytes_needed, Some(weights + 3.0 * (512.0 + 4096.0) * 2.0));
    assert_eq!(resources.flops, Some(2.0 * 3.0 * 4096.0 * 512.0));
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let error = plan(&problem(Int4, F16, [1 << 29, 1 << 20, 256]), &a100()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "number of blocks", .. }), "{error}");
}
