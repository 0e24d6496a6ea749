//! Plans, without a device.

use super::*;
use llm_kernels::quant::gguf::Shares;
use llm_kernels::{Limits, embedded};

fn problem(format: Format, activations: Activations, [m, n, k]: [usize; 3]) -> Problem {
    Problem { format, m, n, k, x_dtype: F16, bias_dtype: None, y_dtype: F32, activations }
}

const CHIPS: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

#[test]
fn every_format_has_embedded_instances_that_fit_every_chip() {
    for format in Format::ALL {
        for (activations, m, name) in [
            (Q8, 1, "vector_q8"),
            (Q8, 4, "vectors_q8"),
            (Exact, 1, "vectors_exact"),
            (Q8, 9, "matrix"),
            (Exact, 40, "matrix_exact"),
        ] {
            for (major, minor) in CHIPS {
                let limits = Limits::of_capability(major, minor);
                let plan = plan(&problem(format, activations, [m, 4096, 4096]), &limits).unwrap();
                assert_eq!(plan.multiply.instance, format!("gguf_{name}_{format}"));
                assert!(plan.multiply.shared_bytes <= limits.shared_bytes_per_block);
                for launch in plan.prepare.iter().chain([&plan.multiply]) {
                    let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == launch.op);
                    let instances = kernels.flat_map(|kernel| kernel.instances);
                    assert_eq!(instances.filter(|instance| instance.name == launch.instance).count(), 1);
                }
            }
        }
    }
}

#[test]
fn a_plan_is_known_before_it_runs() {
    let limits = Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) };
    let plan = plan(&problem(Format::Q4K, Q8, [1, 4096, 2048]), &limits).unwrap();
    let quantise = plan.prepare.unwrap();
    assert_eq!((quantise.instance, quantise.grid, quantise.block), ("gguf_quantise", [2, 1, 1], [128, 1, 1]));
    // 8 rows a warp: larger tiles would leave multiprocessors idle.
    assert_eq!((plan.multiply.instance, plan.multiply.grid), ("gguf_vector_q8_q4_k", [128, 1, 1]));
    assert_eq!(plan.multiply.block, [128, 1, 1]);
    // A byte for an element, 8 for 32.
    assert_eq!((plan.workspace.scales, plan.workspace.bytes), (2048, 2048 + 512));
}

#[test]
fn warps_take_more_rows_of_larger_matrices_up_to_32() {
    let limits = Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) };
    for (n, rows) in [(100, 8), (4096, 8), (8192, 16), (14336, 32), (262_144, 32)] {
        let plan = plan(&problem(Format::Q4K, Q8, [1, n, 2048]), &limits).unwrap();
        assert_eq!(plan.tile.unwrap().rows_per_warp, rows, "n = {n}");
    }
}

#[test]
fn rows_of_activations_are_shared_out_evenly_where_not_all_fit() {
    let limits = Limits::of_capability(8, 6);
    let plan = plan(&problem(Format::Q8_0, Q8, [8, 1024, 14336]), &limits).unwrap();
    let tile = plan.tile.unwrap();
    assert!(tile.vectors_per_block < 8 && tile.vectors_per_block > 1);
    assert_eq!(plan.multiply.grid[1] as usize, 8_usize.div_ceil(tile.vectors_per_block));
}

#[test]
fn many_rows_go_by_tensor_cores() {
    let limits = Limits::of_capability(8, 0);
    let few = plan(&problem(Format::Q4K, Q8, [8, 100, 512]), &limits).unwrap();
    let more = plan(&problem(Format::Q4K, Q8, [40, 100, 512]), &limits).unwrap();
    assert!(few.tile.is_some() && more.tile.is_none());
    // 2 tiles of 128 x 64.
    assert_eq!(more.multiply.grid, [2, 1, 1]);
}

#[test]
fn many_rows_are_multiplied_in_bf16_where_that_is_fast_and_need_no_workspace_if_they_are_bf16() {
    for (major, minor) in CHIPS {
        let limits = Limits::of_capability(major, minor);
        let mut problem = problem(Format::Q4K, Q8, [257, 100, 512]);
        let many = plan(&problem, &limits).unwrap();
        let dense = matches!((major, minor), (8..=10, 0));
        // 2 x 1 tiles of 256 x 128, or 3 x 2 of 128 x 64.
        let (elements, name, blocks) = if dense { (BF16, "dense", 2) } else { (DType::I8, "matrix", 6) };
        assert_eq!(many.elements, elements);
        assert_eq!((many.multiply.instance, many.multiply.grid[0]), (format!("gguf_{name}_q4_k").as_str(), blocks));
        assert_eq!(many.prepare.unwrap().instance, if dense { "gguf_round" } else { "gguf_quantise" });
        assert_eq!(many.workspace.bytes, if dense { 257 * 512 * 2 } else { 257 * 640 });
        problem.x_dtype = BF16;
        assert_eq!(plan(&problem, &limits).unwrap().prepare.is_none(), dense);
    }
}

/// Copies of the kernel for bf16 are words; of 18 bytes a block every other row starts in the middle of one.
#[test]
fn rows_that_start_in_the_middle_of_a_word_are_multiplied_as_integers() {
    let limits = Limits::of_capability(8, 0);
    let elements = |k| plan(&problem(Format::Q4_0, Q8, [512, 100, k]), &limits).unwrap().elements;
    assert_eq!([64, 96, 128].map(elements), [BF16, DType::I8, BF16]);
}

/// On 16 multiprocessors: as many tiles as fill them, a tile more, and many units in one tile.
#[test]
fn tiles_that_fill_no_wave_are_shared_where_that_takes_less_time() {
    let limits = Limits::of_capability(8, 0);
    let shares = |sizes| {
        let plan = plan(&problem(Format::Q4K, Q8, sizes), &limits).unwrap();
        assert_eq!(plan.add.is_some(), plan.shares.shared_tiles > 0);
        let partial = plan.workspace.bytes - plan.workspace.partial_sums;
        assert_eq!(partial, if plan.add.is_some() { 2 * plan.shares.blocks * 256 * 128 * 4 } else { 0 });
        let Shares { blocks, whole_tiles, shared_tiles, .. } = plan.shares;
        (blocks, whole_tiles, shared_tiles)
    };
    assert_eq!(shares([1024, 512, 4096]), (16, 16, 0));
    assert_eq!(shares([1024, 640, 4096]), (16, 16, 4));
    assert_eq!(shares([1024, 128 * 9, 4096]), (16, 32, 4));
    assert_eq!(shares([256, 128, 4096]), (16, 0, 1));
    // Three units: no time is won by more blocks than tiles, since sums would have to be added up.
    assert_eq!(shares([256, 128, 768]), (1, 1, 0));
}

#[test]
fn exact_activations_need_no_workspace_unless_they_are_many_and_to_be_widened() {
    let limits = Limits::of_capability(8, 0);
    let plan = |x_dtype, m| plan(&Problem { x_dtype, ..problem(Format::Q6K, Exact, [m, 100, 512]) }, &limits).unwrap();
    for (x_dtype, m) in [(F16, 3), (F32, 3), (F32, 70)] {
        assert_eq!((plan(x_dtype, m).prepare, plan(x_dtype, m).workspace.bytes), (None, 0));
    }
    let widened = plan(BF16, 70);
    assert_eq!((widened.prepare.unwrap().instance, widened.workspace.bytes), ("gguf_widen", 70 * 512 * 4));
    // Two tiles of 64 each way.
    assert_eq!((widened.multiply.grid, widened.elements), ([4, 1, 1], F32));
}

#[test]
fn everything_is_counted_once() {
    let resources = plan(&problem(Format::Q6K, Exact, [3, 100, 512]), &Limits::of_capability(8, 0)).unwrap().resources;
    assert_eq!(resources.bytes_needed, Some(100.0 * 420.0 + 3.0 * 512.0 * 2.0 + 300.0 * 4.0));
    assert_eq!(resources.flops, Some(2.0 * 3.0 * 100.0 * 512.0));
}

#[test]
fn rows_too_long_for_shared_memory_go_the_way_of_many() {
    for (activations, instance) in [(Q8, "gguf_matrix_q4_0"), (Exact, "gguf_matrix_exact_q4_0")] {
        let plan = plan(&problem(Format::Q4_0, activations, [1, 10, 1 << 18]), &Limits::of_capability(8, 0)).unwrap();
        assert_eq!((plan.tile, plan.multiply.instance), (None, instance));
    }
}

#[test]
fn more_blocks_than_a_grid_holds_are_refused() {
    let limits = Limits::of_capability(8, 0);
    let error = plan(&problem(Format::Q4K, Q8, [1 << 29, 1 << 20, 256]), &limits).unwrap_err();
    assert_eq!(error.to_string(), "quant/gguf: number of blocks is 17179869184, the limit is 2147483647");
}

#[test]
fn exact_rows_are_many_where_a_tile_takes_less_time_than_passes_of_eight() {
    let limits = Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) };
    let instance = |m, n| plan(&problem(Format::Q4K, Exact, [m, n, 1024]), &limits).unwrap().multiply.instance;
    for (m, n, many) in [(8, 262_144, false), (9, 2592, false), (9, 2593, true), (40, 1036, false), (41, 1036, true)] {
        let expected = if many { "gguf_matrix_exact_q4_k" } else { "gguf_vectors_exact_q4_k" };
        assert_eq!(instance(m, n), expected, "{m} rows by {n}");
    }
}
