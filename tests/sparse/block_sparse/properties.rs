//! What must hold for any input, tried on made-up ones.

use super::*;
use llm_kernels::attention::flash_forward::plan as dense_plan;
use llm_kernels::sparse::Band;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Cases of a property: each runs the kernel a few times.
fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

/// Any pattern: of its tiles half are empty, a quarter whole, the others seen where a causal band or random bits show
/// them.
pub(crate) fn any_pattern(grid: TileGrid, seed: u64) -> Pattern {
    let kinds = random::normal(seed, grid.query_tiles() * grid.key_tiles());
    let bits = &random::normal(seed ^ 1, 4096);
    let (causal, kinds) = (Band::causal(&grid), &kinds);
    Pattern::from_rows(grid, &[causal], |i| {
        let tiles = (0..grid.key_tiles()).flat_map(|tile| {
            let (kind, keys) = (kinds[i / grid.tile_q() * grid.key_tiles() + tile], grid.keys(tile));
            let seen = causal.keys(i, grid.s_k());
            let shown = move |j: &usize| match kind {
                0.67.. => true,
                0.33..0.67 => seen.contains(j),
                0.0..0.33 => bits[(i * 61 + j * 7) % 4096] > 0.0,
                _ => false,
            };
            keys.filter(shown).collect::<Vec<_>>()
        });
        tiles.map(|j| j..j + 1).collect()
    })
    .unwrap()
}

prop_compose! {
    /// Any problem of moderate size, with a pattern for all heads or one for each.
    fn problems()(
        seed in any::<u64>().prop_map(|seed| seed >> 4),
        dtype in prop_oneof![Just(F16), Just(BF16)],
        (b, s_q, s_k, h_kv, group) in (1..3_usize, 1..300_usize, 1..300_usize, 1..3_usize, 1..3_usize),
        d in prop_oneof![3 => Just(64_usize), 2 => Just(128), 1 => Just(192), 1 => Just(256)],
        tiles in prop_oneof![Just([64, 64]), Just([64, 128]), Just([128, 64]), Just([128, 128])],
        each in any::<bool>(),
    ) -> Sparse {
        let sizes = [b, s_q, s_k, h_kv * group, h_kv, d];
        let heads = if each { h_kv * group } else { 1 };
        let grid = grid(shape(sizes), tiles);
        let heads = (0..heads).map(|head| any_pattern(grid, seed + 2 * head as u64)).collect();
        Sparse::of_heads(seed, dtype, sizes, heads)
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_layout_agrees_with_the_reference_and_with_dense_attention_under_its_element_mask(sparse in problems()) {
        let results = sparse.run();
        let agreement = sparse.compare(&results);
        prop_assert!(agreement.passed(), "{sparse:?}: {}", agreement.report());
        let mask = (sparse.heads.len(), mask_bits(&sparse.heads));
        let dense = {
            let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
            sparse.launch_dense(flash_forward::Options::default(), Some(mask), |work| work()).unwrap()
        };
        let agreement = sparse.compare(&dense);
        prop_assert!(agreement.passed(), "dense {sparse:?}: {}", agreement.report());
        // Rows that see nothing are the same to the bit.
        let (own, other) = (results.lse.to_f64(), dense.lse.to_f64());
        prop_assert!(own.iter().zip(&other).all(|(a, b)| (*a == f64::NEG_INFINITY) == (*b == f64::NEG_INFINITY)));
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_layout_of_all_tiles_gives_the_bits_of_dense_attention(sparse in problems(), scale in -1.0..1.0_f32) {
        let grid = grid(sparse.shape, [128, 128]);
        let scaled = Options { scale: Some(scale) };
        for options in [Options::default(), scaled] {
            let full = Sparse { heads: vec![Pattern::full(grid).unwrap()], options, ..sparse.clone() };
            // Rows that are packed go through another instance.
            if dense_plan(&full.dense(), queue().device().limits()).unwrap().pack == 1 {
                prop_assert_eq!(full.run(), full.run_dense());
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bits(sparse in problems()) {
        prop_assert_eq!(sparse.run(), sparse.run());
    }

    #[test]
    fn one_pattern_for_all_heads_equals_the_same_for_each(sparse in problems()) {
        let each = Sparse { heads: vec![sparse.heads[0].clone(); sparse.shape.h_q], ..sparse.clone() };
        let one = Sparse { heads: vec![sparse.heads[0].clone()], ..sparse };
        prop_assert_eq!(one.run(), each.run());
    }

    #[test]
    fn sequences_of_various_lengths_equal_one_run_each(
        sparse in problems(),
        lengths in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..4),
    ) {
        let Shape { s_q, s_k, h_q, h_kv, d, d_v, .. } = sparse.shape;
        let of = |longest: usize, part: f64| (longest as f64 * part) as usize;
        // Shorter than the layout.
        let lengths: Vec<_> = lengths.iter().map(|&(q, k)| [of(s_q, q), of(s_k, k)]).collect();
        let longest = |which: usize| lengths.iter().map(|length| length[which]).max().unwrap();
        let sizes = [lengths.len(), longest(0), longest(1), h_q, h_kv, d];
        let various = Sparse::of_heads(5, sparse.dtype, sizes, sparse.heads.clone()).of_lengths(&lengths);
        let results = various.run();
        let (out, [queries, keys]) = (results.out.to_f64(), various.sequences.clone().unwrap());
        for (at, &[s_q, s_k]) in lengths.iter().enumerate().filter(|(_, length)| length[0] > 0) {
            let rows = |values: &[f64], from: i32, count: usize, width: usize| {
                values[from as usize * width..][..count * width].to_vec()
            };
            // The upper left part of the layout, as elements.
            let cut = |pattern: &Pattern| {
                let grid = TileGrid::new([s_q, s_k], [pattern.grid().tile_q(), pattern.grid().tile_k()]).unwrap();
                let row = |i| (0..s_k).filter(|&j| pattern.sees(i, j)).map(|j| j..j + 1).collect();
                Pattern::from_rows(grid, &[], row).unwrap()
            };
            let single = Sparse {
                shape: Shape { b: 1, s_q, s_k, ..various.shape },
                heads: various.heads.iter().map(cut).collect(),
                q: rows(&various.q, queries[at], s_q, h_q * d),
                k: rows(&various.k, keys[at], s_k, h_kv * d),
                v: rows(&various.v, keys[at], s_k, h_kv * d_v),
                sequences: None,
                ..various.clone()
            };
            prop_assert_eq!(single.run().out.to_f64(), rows(&out, queries[at], s_q, h_q * d_v));
        }
    }
}
