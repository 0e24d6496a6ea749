//! Plans, without a device.

use super::*;
use llm_kernels::sparse::block_sparse::plan;
use llm_kernels::{Error, Limits, embedded};

/// Chips with 163, 99 and 227 KB of shared memory a block.
const CHIPS: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

#[test]
fn every_type_head_dimension_and_tile_has_an_embedded_instance_that_fits_every_chip() {
    for dtype in [F16, BF16] {
        for (d, tiles, expected) in [
            (64, [128, 128], "d64_128x128"),
            (64, [128, 64], "d64_64x64"),
            (64, [64, 128], "d64_64x64"),
            (128, [128, 128], "d128_128x64"),
            (128, [128, 64], "d128_128x64"),
            (128, [64, 128], "d128_64x64"),
            (192, [128, 64], "d192_128_128x64"),
            (192, [64, 64], "d192_128_64x64"),
            (256, [128, 128], "d256_64x32"),
            (256, [64, 64], "d256_64x32"),
        ] {
            for (major, minor) in CHIPS {
                let limits = Limits::of_capability(major, minor);
                let plan = plan(&Sparse::full(dtype, [2, 300, 300, 8, 2, d], tiles).problem(), &limits).unwrap();
                assert_eq!(plan.launch.instance, format!("block_sparse_{dtype}_{expected}"));
                assert!(plan.launch.shared_bytes <= limits.shared_bytes_per_block);
                let instances = embedded::KERNELS.iter().flat_map(|kernel| kernel.instances);
                let embedded = instances.filter(|instance| instance.name == plan.launch.instance);
                assert_eq!(embedded.count(), 1, "{}", plan.launch.instance);
            }
        }
    }
}

#[test]
fn a_grid_has_a_block_for_each_head_and_rows_of_a_block() {
    let limits = Limits::of_capability(8, 0);
    let large = plan(&Sparse::full(F16, [3, 300, 70, 4, 2, 64], [128, 128]).problem(), &limits).unwrap();
    assert_eq!((large.launch.grid, large.num_row_tiles, large.block_m), ([3 * 4 * 3, 1, 1], 3, 128));
    let small = plan(&Sparse::full(F16, [3, 300, 70, 4, 2, 64], [128, 64]).problem(), &limits).unwrap();
    assert_eq!((small.launch.grid, small.num_row_tiles, small.block_m), ([3 * 4 * 5, 1, 1], 5, 64));
}

#[test]
fn work_and_traffic_are_those_of_the_tiles_visited() {
    let limits = Limits::of_capability(8, 0);
    let sparse = Sparse::new(F16, [2, 256, 256, 4, 2, 64], [64, 64], &PatternKind::Causal);
    let resources = plan(&sparse.problem(), &limits).unwrap().resources;
    assert_eq!(resources.flops, Some((2 * 4 * (256 * 257 / 2) * 4 * 64) as f64));
    // 10 of 16 tiles, of 64 keys and values each.
    let (rows, tiles, out) = (2 * 4 * 256 * 64 * 2, 2 * 4 * 10 * 64 * 2 * 64 * 2, 2 * 4 * 256 * (64 * 2 + 4));
    assert_eq!(resources.bytes_moved, Some((rows + tiles + out) as f64));
    // Unknown of lengths that lie on the device.
    let various = Sparse::new(F16, [2, 256, 256, 4, 2, 64], [64, 64], &PatternKind::Causal);
    let various = various.of_lengths(&[[256, 256], [1, 2]]);
    let resources = plan(&various.problem(), &limits).unwrap().resources;
    assert_eq!((resources.flops, resources.bytes_moved), (None, None));
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let mut problem = Sparse::full(F16, [1, 64, 64, 1, 1, 64], [64, 64]).problem();
    (problem.attention.shape.b, problem.attention.shape.h_q) = (1 << 20, 1 << 20);
    let error = plan(&problem, &Limits::of_capability(8, 0)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "number of blocks", .. }), "{error}");
}

#[test]
fn a_chip_with_too_little_shared_memory_is_refused() {
    let limits = Limits { shared_bytes_per_block: 48 << 10, ..Limits::of_capability(8, 0) };
    let error = plan(&Sparse::full(F16, [1, 64, 64, 1, 1, 128], [64, 64]).problem(), &limits).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { .. }), "{error}");
}
