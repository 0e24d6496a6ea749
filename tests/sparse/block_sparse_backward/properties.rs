//! What must hold for any input, tried on made-up ones.

use super::*;
use crate::block_sparse::any_pattern;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 20, ..Config::default() }
}

prop_compose! {
    /// Any problem of moderate size, with a pattern for all heads or one for each.
    fn problems()(
        seed in any::<u64>().prop_map(|seed| seed >> 4),
        dtype in prop_oneof![Just(F16), Just(BF16)],
        (b, s_q, s_k, h_kv, group) in (1..3_usize, 1..200_usize, 1..200_usize, 1..3_usize, 1..3_usize),
        d in prop_oneof![3 => Just(64_usize), 2 => Just(128), 1 => Just(256)],
        tiles in prop_oneof![Just([64, 64]), Just([64, 128]), Just([128, 64]), Just([128, 128])],
        each in any::<bool>(),
    ) -> Sparse {
        let sizes = [b, s_q, s_k, h_kv * group, h_kv, d];
        let heads = if each { h_kv * group } else { 1 };
        let grid = TileGrid::new([s_q, s_k], tiles).unwrap();
        Sparse::of_heads(seed, dtype, sizes, (0..heads).map(|head| any_pattern(grid, seed + 2 * head as u64)).collect())
    }
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn gradients_of_any_layout_agree_with_the_reference(sparse in problems()) {
        let backward = Backward::new(sparse);
        let agreement = backward.compare(&backward.run());
        prop_assert!(agreement.passed(), "{:?}: {}", backward.forward, agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn the_same_input_gives_the_same_bits_in_any_order_of_blocks(sparse in problems(), seed in any::<u64>()) {
        let backward = Backward::new(sparse);
        let results = backward.run();
        prop_assert_eq!(&results, &backward.run());
        let shuffled = {
            let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
            verify::shuffle_schedule(Some(seed));
            let shuffled = backward.launch(|work| work());
            verify::shuffle_schedule(None);
            shuffled.unwrap()
        };
        prop_assert_eq!(results, shuffled);
    }

    #[test]
    fn gradients_of_sequences_of_various_lengths_agree(
        sparse in problems(),
        lengths in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..4),
    ) {
        let [s_q, s_k] = [sparse.shape.s_q, sparse.shape.s_k];
        let of = |longest: usize, part: f64| (longest as f64 * part) as usize;
        let lengths: Vec<_> = lengths.iter().map(|&(q, k)| [of(s_q, q), of(s_k, k)]).collect();
        let longest = |which: usize| lengths.iter().map(|length| length[which]).max().unwrap();
        let sizes = [lengths.len(), longest(0), longest(1), sparse.shape.h_q, sparse.shape.h_kv, sparse.shape.d];
        let various = Sparse::of_heads(5, sparse.dtype, sizes, sparse.heads.clone()).of_lengths(&lengths);
        let backward = Backward::new(various);
        let agreement = backward.compare(&backward.run());
        prop_assert!(agreement.passed(), "{:?}: {}", backward.forward, agreement.report());
    }
}

/// The loss `sum of out * d_out`, in double precision.
fn loss(sparse: &Sparse, d_out: &[f64]) -> f64 {
    let heads: Vec<&Pattern> = sparse.heads.iter().collect();
    let out = block_sparse::reference::reference(&sparse.dense(), &heads, &sparse.inputs()).out;
    out.iter().zip(d_out).map(|(a, b)| a * b).sum()
}

#[test]
fn the_reference_is_the_slope_of_the_loss() {
    let grid = TileGrid::new([70, 90], [64, 64]).unwrap();
    let backward = Backward::new(Sparse::of_heads(1, F16, [1, 70, 90, 2, 1, 64], vec![any_pattern(grid, 40)]));
    let heads: Vec<&Pattern> = backward.forward.heads.iter().collect();
    // The exact forward pass, without rounding.
    let exact = block_sparse::reference::reference(&backward.forward.dense(), &heads, &backward.forward.inputs());
    let inputs =
        Inputs { forward: backward.forward.inputs(), out: &exact.out, lse: &exact.lse, d_out: &backward.d_out };
    let gradients = reference(&backward.forward.dense(), &heads, &inputs);
    type Pick = fn(&mut Sparse) -> &mut Vec<f64>;
    let tensors: [(Pick, &[f64]); 3] =
        [(|s| &mut s.q, &gradients.d_q), (|s| &mut s.k, &gradients.d_k), (|s| &mut s.v, &gradients.d_v)];
    for (pick, gradient) in tensors {
        for at in (0..gradient.len()).step_by(gradient.len() / 11) {
            let at_distance = |step: f64| {
                let mut moved = backward.forward.clone();
                pick(&mut moved)[at] += step;
                loss(&moved, &backward.d_out)
            };
            let slope = (at_distance(1e-5) - at_distance(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() <= 1e-6 * gradient[at].abs().max(1.0), "{slope} {}", gradient[at]);
        }
    }
}
