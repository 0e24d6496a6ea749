//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::sparse::patterns::BigBird;
use llm_kernels::verify::Counters;

/// Counters of one call; `None` on a GPU, which has no such figures.
fn count(backward: &Backward) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let counting = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    backward.launch(counting).unwrap();
    counters
}

/// Layouts of whole tiles of 1024 positions that visit different numbers of them.
fn whole_tiles(d: usize) -> Vec<Backward> {
    let sizes = [1, 1024, 1024, 1, 1, d];
    let of = |window, random| {
        let kind = PatternKind::BigBird(BigBird { block: 64, window, global: 1, random, seed: 7 });
        Backward::without_forward(Sparse::new(F16, sizes, [64, 64], &kind))
    };
    vec![of(0, 1), of(1, 2), of(2, 4), Backward::without_forward(Sparse::full(F16, sizes, [64, 64]))]
}

#[test]
fn instructions_and_bytes_are_proportional_to_the_tiles_visited() {
    for d in [64, 128, 256] {
        // Beside what is done once for each row and column of tiles, which the one with the fewest tiles has too.
        let [fewest, others @ ..] = &whole_tiles(d)[..] else { unreachable!() };
        let Some(base) = count(fewest) else {
            return;
        };
        let visited = |backward: &Backward| LayoutWork::new(&backward.forward.heads[0]).visited as f64;
        for name in ["inst_executed", "global_bytes"] {
            let each = |backward: &Backward| {
                let counters = count(backward).unwrap();
                (get(&counters, name) - get(&base, name)) / (visited(backward) - visited(fewest))
            };
            let each: Vec<f64> = others.iter().map(each).collect();
            let (least, most) = each.iter().fold((f64::MAX, 0.0_f64), |(least, most), &x| (least.min(x), most.max(x)));
            assert!(most <= 1.05 * least, "d {d} {name} for each pair: {each:?}");
        }
    }
}

#[test]
fn multiply_adds_are_those_of_the_tiles_visited() {
    for d in [64, 128, 256] {
        for backward in whole_tiles(d) {
            let Some(counters) = count(&backward) else {
                return;
            };
            let visited = LayoutWork::new(&backward.forward.heads[0]).visited as usize;
            assert_eq!(get(&counters, "tensor_multiply_adds"), (visited * 5 * d) as f64, "{:?}", backward.forward);
        }
    }
}

#[test]
fn traffic_is_what_the_plan_says_and_shared_memory_has_no_conflicts() {
    for d in [64, 128, 256] {
        for kind in [PatternKind::Causal, PatternKind::SlidingWindow { left: 100, right: 50 }] {
            let backward = Backward::without_forward(Sparse::new(BF16, [1, 512, 512, 2, 1, d], [64, 64], &kind));
            let Some(counters) = count(&backward) else {
                return;
            };
            let plan = plan(&backward.forward.problem(), queue().device().limits()).unwrap();
            let (moved, planned) = (get(&counters, "global_bytes"), plan.resources.bytes_moved.unwrap());
            assert!((moved - planned).abs() <= 0.05 * planned, "d {d} {kind:?}: {moved}, plan {planned}");
            let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
            assert!(ideal > 0.0 && taken <= 1.01 * ideal, "d {d}: {taken} for {ideal}");
        }
    }
}
