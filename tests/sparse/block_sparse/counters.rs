//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use llm_kernels::sparse::block_sparse::plan;
use llm_kernels::sparse::patterns::BigBird;
use llm_kernels::verify::Counters;

use crate::get;

/// Counters of one launch; `None` on a GPU, which has no such figures.
fn count(sparse: &Sparse) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let counting = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    sparse.launch(sparse.layouts(), counting).unwrap();
    counters
}

/// Likewise of dense attention.
fn count_dense(sparse: &Sparse) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let counting = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    sparse.launch_dense(flash_forward::Options::default(), None, counting).unwrap();
    counters
}

/// Each head dimension with the tiles for which it has the instance of dense attention.
const DENSE: [(usize, [usize; 2]); 4] = [(64, [128, 128]), (128, [128, 128]), (192, [128, 128]), (256, [128, 128])];

#[test]
fn a_layout_of_all_tiles_costs_at_most_1_03_of_dense_attention() {
    let mut ratios = Vec::new();
    for (d, tiles) in DENSE {
        let sparse = Sparse::full(F16, [1, 256, 1024, 2, 1, d], tiles);
        let (Some(own), Some(dense)) = (count(&sparse), count_dense(&sparse)) else {
            return;
        };
        for name in ["inst_executed", "thread_inst_executed", "global_bytes", "shared_wavefronts"] {
            ratios.push((d, name, get(&own, name) / get(&dense, name)));
        }
        assert_eq!(get(&own, "tensor_multiply_adds"), get(&dense, "tensor_multiply_adds"));
    }
    assert!(ratios.iter().all(|(.., ratio)| *ratio <= 1.03), "{ratios:.4?}");
}

/// Layouts of whole tiles of 2048 positions that visit different numbers of them.
fn whole_tiles(d: usize, tiles: [usize; 2]) -> Vec<Sparse> {
    let block = tiles[0].max(tiles[1]);
    let of = |window, random| {
        let kind = PatternKind::BigBird(BigBird { block, window, global: 1, random, seed: 7 });
        Sparse::new(F16, [1, 2048, 2048, 1, 1, d], tiles, &kind)
    };
    vec![of(0, 1), of(1, 2), of(2, 4), Sparse::full(F16, [1, 2048, 2048, 1, 1, d], tiles)]
}

#[test]
fn instructions_and_bytes_are_proportional_to_the_tiles_visited() {
    for (d, tiles) in [(64, [128, 128]), (64, [64, 64]), (128, [128, 128]), (128, [64, 64]), (256, [64, 64])] {
        // Beside what is done once for each row of tiles, which the one with the fewest tiles has too.
        let [fewest, others @ ..] = &whole_tiles(d, tiles)[..] else { unreachable!() };
        let Some(base) = count(fewest) else {
            return;
        };
        let counted: Vec<(f64, Counters)> = others
            .iter()
            .map(|sparse| {
                let visited = |sparse: &Sparse| LayoutWork::new(&sparse.heads[0]).visited as f64;
                (visited(sparse) - visited(fewest), count(sparse).unwrap())
            })
            .collect();
        for name in ["inst_executed", "global_bytes"] {
            let each = |(visited, counters): &(f64, Counters)| (get(counters, name) - get(&base, name)) / visited;
            let each: Vec<f64> = counted.iter().map(each).collect();
            let (least, most) = each.iter().fold((f64::MAX, 0.0_f64), |(least, most), &x| (least.min(x), most.max(x)));
            assert!(most <= 1.05 * least, "d {d} {tiles:?} {name} for each pair: {each:?}");
            // And what is done once is small beside the whole.
            let once = get(&base, name) - least * LayoutWork::new(&fewest.heads[0]).visited as f64;
            let dense = get(&counted[counted.len() - 1].1, name);
            assert!(once <= 0.12 * dense, "d {d} {tiles:?} {name}: {once} once, {dense} dense");
        }
    }
}

#[test]
fn multiply_adds_are_those_of_the_tiles_visited() {
    for (d, tiles) in DENSE {
        for sparse in whole_tiles(d, tiles) {
            let Some(counters) = count(&sparse) else {
                return;
            };
            let visited = LayoutWork::new(&sparse.heads[0]).visited as usize;
            let needed = (visited * (d + sparse.shape.d_v)) as f64;
            assert_eq!(get(&counters, "tensor_multiply_adds"), needed, "{sparse:?}");
        }
    }
}

#[test]
fn traffic_is_what_the_plan_says_and_shared_memory_has_no_conflicts() {
    for (d, tiles) in DENSE {
        // Bands: bits have traffic of their own.
        for kind in [PatternKind::Causal, PatternKind::SlidingWindow { left: 100, right: 50 }] {
            let sparse = Sparse::new(BF16, [1, 1024, 1024, 2, 1, d], tiles, &kind);
            let Some(counters) = count(&sparse) else {
                return;
            };
            let plan = plan(&sparse.problem(), queue().device().limits()).unwrap();
            let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
            assert!((moved - planned).abs() <= 0.05 * planned, "{sparse:?}: {moved}, plan {planned}");
            let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
            assert!(ideal > 0.0 && taken <= 1.01 * ideal, "d {d}: {taken} for {ideal}");
        }
    }
}

#[test]
fn element_masks_of_bits_cost_a_fraction_of_a_tile() {
    for (d, tiles) in DENSE {
        let sizes = [1, 512, 512, 1, 1, d];
        let checkered = Pattern::from_elements(grid(shape(sizes), tiles), |i, j| (i + j) % 2 == 0).unwrap();
        let (Some(bits), Some(whole)) =
            (count(&Sparse::of_heads(0, F16, sizes, vec![checkered])), count(&Sparse::full(F16, sizes, tiles)))
        else {
            return;
        };
        let ratio = get(&bits, "inst_executed") / get(&whole, "inst_executed");
        assert!(ratio <= 1.8, "d {d}: {ratio}");
    }
}
