//! What must hold for any input, tried on made-up ones.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

fn types() -> impl Strategy<Value = (DType, DType)> {
    prop_oneof![
        2 => Just((F16, F16)),
        2 => Just((BF16, BF16)),
        1 => Just((F16, I8)),
        1 => Just((BF16, I8)),
        1 => Just((F16, E4M3)),
        1 => Just((BF16, E4M3)),
    ]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let d = prop_oneof![4 => 1..9_usize, 2 => 9..17_usize];
    (1..17_usize, 1..3_usize, 1..6_usize, d).prop_map(|(s_q, h_kv, group, d)| Sizes {
        s_q,
        h_q: h_kv * group,
        h_kv,
        d: 16 * d,
    })
}

fn options() -> impl Strategy<Value = Options> {
    let window_left = proptest::option::of(0..300_usize);
    let softcap = proptest::option::of(0.5..20.0_f32);
    (any::<bool>(), window_left, softcap, proptest::option::of(1..7_usize)).prop_map(
        |(bidirectional, window_left, softcap, num_splits)| Options {
            bidirectional,
            window_left,
            softcap,
            num_splits,
            ..DEFAULT
        },
    )
}

/// Any problem of moderate size with any features, its cache in one piece.
fn problems() -> impl Strategy<Value = Decode> {
    let lengths = proptest::collection::vec(0..320_usize, 1..4);
    (any::<u64>(), types(), sizes(), lengths, options(), any::<[bool; 2]>()).prop_map(
        |(seed, (dtype, cache), sizes, lengths, options, [sinks, alibi])| {
            let mut decode = Decode::seeded(seed >> 6, dtype, cache, sizes, &lengths, options);
            if sinks {
                decode = decode.with_sinks(&random::normal(seed, sizes.h_q));
            }
            if alibi { decode.with_alibi() } else { decode }
        },
    )
}

proptest! {
    #![proptest_config(cases(25))]

    #[test]
    fn any_problem_agrees_with_the_reference(decode in problems()) {
        let agreement = decode.compare(&decode.run());
        prop_assert!(agreement.passed(), "{:?} {:?}: {}", decode.problem, decode.lengths, agreement.report());
    }

    #[test]
    fn paged_equals_contiguous_and_permuting_pages_changes_nothing(
        decode in problems(),
        page_size in prop_oneof![Just(1_usize), Just(16), Just(32), Just(64), Just(128), Just(256)],
    ) {
        let contiguous = decode.run();
        prop_assert_eq!(&decode.in_pages(page_size).run(), &contiguous);
        prop_assert_eq!(&decode.in_scattered_pages(page_size).run(), &contiguous);
    }

    #[test]
    fn splits_merged_equal_one_pass(decode in problems(), num_splits in 2..9_usize) {
        let pass = |num_splits| {
            decode.with_options(Options { num_splits: Some(num_splits), ..decode.options }).run()
        };
        let (one, merged) = (pass(1), pass(num_splits));
        for results in [&one, &merged] {
            let agreement = decode.compare(results);
            prop_assert!(agreement.passed(), "{:?} {:?}: {}", decode.problem, decode.lengths, agreement.report());
        }
        // Both sum the same products; they differ by what is rounded for P V with another reference.
        let unit = 4.0 * decode.problem.dtype.epsilon().unwrap();
        let largest = one.out().iter().fold(0f64, |a, b| a.max(b.abs()));
        let near = one.out().iter().zip(merged.out()).all(|(a, b)| (a - b).abs() <= unit * largest);
        prop_assert!(near, "{:?}", decode.problem);
    }

    #[test]
    fn a_sequence_does_not_depend_on_its_neighbours(decode in problems()) {
        // Splits chosen by the plan depend on the batch.
        let decode = decode.with_options(Options { num_splits: Some(2), ..decode.options });
        let results = decode.run();
        let Shape { b, s_q, h_q, h_kv, d, page_size, .. } = decode.problem.shape;
        let keys = page_size * h_kv;
        let last = b - 1;
        let part = |values: &[f64], each: usize| values.get(last * each..(last + 1) * each).unwrap_or(&[]).to_vec();
        let shape = Shape { b: 1, num_pages: 1, ..decode.problem.shape };
        let alone = Decode {
            problem: Problem { shape, ..decode.problem },
            q: part(&decode.q, s_q * h_q * d),
            k: part(&decode.k, keys * d),
            v: part(&decode.v, keys * d),
            k_scales: part(&decode.k_scales, keys),
            v_scales: part(&decode.v_scales, keys),
            lengths: decode.lengths[last..].to_vec(),
            ..decode.clone()
        };
        let alone = alone.run();
        prop_assert_eq!(alone.out(), part(&results.out(), s_q * h_q * d));
        prop_assert_eq!(alone.lse(), part(&results.lse(), h_q * s_q));
    }

    #[test]
    fn the_same_input_gives_the_same_bits(decode in problems()) {
        prop_assert_eq!(decode.run(), decode.run());
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn permuting_heads_permutes_the_result(decode in problems()) {
        let Shape { h_q, h_kv, d, .. } = decode.problem.shape;
        // Groups of query heads move with their heads of keys, which come in the opposite order.
        let reversed = |values: &[f64], heads: usize, width: usize| -> Vec<f64> {
            let group = heads / h_kv;
            let head = |head: usize| (h_kv - 1 - head / group) * group + head % group;
            let rows = values.chunks(heads * width);
            rows.flat_map(|row| (0..heads).flat_map(|h| row[head(h) * width..][..width].to_vec()).collect::<Vec<_>>()).collect()
        };
        let slopes: Vec<f64> = if decode.problem.alibi { reversed(&decode.alibi_slopes, h_q, 1) } else { Vec::new() };
        let sinks: Vec<f64> = if decode.problem.sinks { reversed(&decode.sinks, h_q, 1) } else { Vec::new() };
        let permuted = Decode {
            q: reversed(&decode.q, h_q, d),
            k: reversed(&decode.k, h_kv, d),
            v: reversed(&decode.v, h_kv, d),
            k_scales: reversed(&decode.k_scales, h_kv, 1),
            v_scales: reversed(&decode.v_scales, h_kv, 1),
            alibi_slopes: slopes,
            sinks,
            ..decode.clone()
        };
        prop_assert_eq!(permuted.run().out(), reversed(&decode.run().out(), h_q, d));
    }

    #[test]
    fn a_window_of_all_keys_a_huge_softcap_and_slopes_of_0_equal_none(decode in problems()) {
        let none = decode.with_options(Options { window_left: None, softcap: None, ..decode.options });
        let expected = none.run();
        let wide = none.with_options(Options { window_left: Some(1000), ..none.options });
        prop_assert_eq!(&wide.run(), &expected);
        let capped = none.with_options(Options { softcap: Some(1e6), ..none.options }).run();
        let agreement = none.compare(&capped);
        prop_assert!(agreement.passed(), "{:?}: {}", none.problem, agreement.report());
        let mut flat = none.clone().with_alibi();
        flat.alibi_slopes.fill(0.0);
        let agreement = flat.compare(&flat.run());
        prop_assert!(agreement.passed(), "{:?}: {}", none.problem, agreement.report());
    }

    #[test]
    fn sinks_of_minus_infinity_equal_none(decode in problems()) {
        let none = Decode { problem: Problem { sinks: false, ..decode.problem }, sinks: Vec::new(), ..decode.clone() };
        let sinks = none.clone().with_sinks(&vec![f64::NEG_INFINITY; decode.problem.shape.h_q]);
        prop_assert_eq!(none.run(), sinks.run());
    }
}

#[test]
fn lengths_without_the_new_keys_equal_those_with_them() {
    for (cache, s_q) in [(F16, 1), (I8, 4), (E4M3, 16)] {
        let window = Options { window_left: Some(70), ..splits(3) };
        for options in [DEFAULT, splits(3), window, Options { bidirectional: true, max_length: Some(180), ..DEFAULT }] {
            let with = Decode::new(F16, cache, Sizes { s_q, ..SMALL }, &[200, 16, 130], options).in_pages(16);
            let with = if options.max_length.is_some() { Decode { lengths: vec![180, 16, 130], ..with } } else { with };
            let before = with.lengths.iter().map(|length| length - s_q as i32).collect();
            let options = Options { lengths_exclude_new: true, ..options };
            let without = Decode { lengths: before, ..with.with_options(options) };
            let results = with.assert_agrees();
            assert_eq!(without.assert_agrees(), results, "{s_q} queries, {options:?}");
        }
    }
}
