//! Plans, without a device.

use super::*;
use llm_kernels::{Error, Limits, embedded};

/// Chips with 163, 99 and 227 KB of shared memory a block.
const CHIPS: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

#[test]
fn every_type_and_head_dimension_has_an_embedded_instance_that_fits_every_chip() {
    for dtype in [F16, BF16] {
        for d in [64, 128, 256] {
            for (major, minor) in CHIPS {
                let limits = Limits::of_capability(major, minor);
                let plan = plan(&Sparse::full(dtype, [2, 300, 300, 8, 2, d], [64, 128]).problem(), &limits).unwrap();
                let main = plan.main.unwrap();
                assert_eq!(main.instance, format!("block_sparse_backward_{dtype}_d{d}"));
                assert!(main.shared_bytes <= limits.shared_bytes_per_block && main.shared_bytes <= 99 * 1024);
                for launch in [plan.main, plan.statistics, plan.finish_queries].into_iter().flatten() {
                    let of_op = embedded::KERNELS.iter().filter(|kernel| kernel.op == launch.op);
                    let mut instances = of_op.flat_map(|kernel| kernel.instances);
                    assert!(instances.any(|instance| instance.name == launch.instance), "{launch}");
                }
            }
        }
    }
}

#[test]
fn head_dimensions_without_gradients_are_refused() {
    let error = plan(&Sparse::full(F16, [1, 64, 64, 1, 1, 192], [64, 64]).problem(), &Limits::of_capability(8, 0));
    assert!(matches!(error, Err(Error::Unsupported { what: "head_dim", .. })), "{error:?}");
}

#[test]
fn the_workspace_is_that_of_dense_gradients_with_the_same_tiles() {
    let limits = Limits::of_capability(8, 0);
    let sparse = Sparse::full(F16, [2, 300, 500, 4, 2, 128], [64, 64]);
    let own = plan(&sparse.problem(), &limits).unwrap();
    let dense = flash_backward::plan(&sparse.dense(), Wanted::default(), &limits).unwrap();
    assert_eq!(own.workspace, dense.workspace);
}
