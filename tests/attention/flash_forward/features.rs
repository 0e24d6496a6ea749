//! Sinks, softcap, ALiBi, bias, custom masks, prefixes, dropout, sequences of various lengths, packed heads: against the
//! reference, and what must hold between them.

use super::*;
use llm_kernels::attention::flash_forward::plan;
use llm_kernels::attention::flash_forward::reference::{Row, rows};
use llm_kernels::attention::philox::{Dropout, philox};
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

/// Type, `[b, s_q, s_k, h_q, h_kv]` and head dimensions of moderate size.
fn shapes() -> impl Strategy<Value = (DType, Shape)> {
    let sizes = (1..3_usize, 1..100_usize, 1..150_usize, 1..3_usize, 1..4_usize);
    let dims =
        prop_oneof![4 => (1..9_usize, 1..9_usize), 2 => (9..17_usize, 1..17_usize), 1 => (1..33_usize, 17..33_usize)];
    let dtypes = prop_oneof![Just(F16), Just(BF16), Just(F32)];
    (dtypes, sizes, dims).prop_map(|(dtype, (b, s_q, s_k, h_kv, group), (d, d_v))| {
        (dtype, Shape { b, s_q, s_k, h_q: h_kv * group, h_kv, d: 8 * d, d_v: 8 * d_v })
    })
}

fn shapes_of_any_type() -> impl Strategy<Value = (DType, Shape)> {
    (shapes(), any::<bool>()).prop_map(|((dtype, shape), single)| (if single { F32 } else { dtype }, shape))
}

/// Any problem with any features.
fn problems() -> impl Strategy<Value = Attention> {
    let window = || proptest::option::of(0..120_usize);
    let options = (any::<bool>(), window(), window(), proptest::option::of(0.5..20.0_f32), 0..3_u8);
    let extras = (any::<[bool; 5]>(), any::<[bool; 3]>(), 0..150_i32);
    (any::<u64>(), shapes(), options, extras).prop_map(|(seed, (dtype, shape), options, extras)| {
        let (causal, window_left, window_right, softcap, dropout) = options;
        let ([sinks, alibi, bias, mask, prefix], [all_b, all_heads, single], keys) = extras;
        let dropout_p = [0.0, 0.0, 0.3][usize::from(dropout)];
        let options = Options { causal, window_left, window_right, softcap, dropout_p, dropout_seed: seed, ..FULL };
        let mut attention = Attention::of_shape(seed >> 4, dtype, shape, options);
        let Shape { b, h_q, .. } = shape;
        let leading = [if all_b { b } else { 1 }, if all_heads { h_q } else { 1 }];
        let hash = move |index: [usize; 4]| {
            index.iter().fold(seed, |hash, &i| (hash ^ i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7)
        };
        if sinks {
            attention = attention.with_sinks(random::normal(seed, h_q));
        }
        if alibi {
            attention = attention.with_alibi((0..h_q).map(|head| 0.5 / (head + 1) as f64).collect());
        }
        if bias {
            let dtype = if single { DType::F32 } else { dtype };
            attention = attention.with_bias(dtype, leading, |index| (hash(index) % 1000) as f64 / 250.0 - 2.0);
        }
        if mask {
            attention = attention.with_mask(leading, |index| hash(index) % 4 != 0);
        }
        if prefix {
            attention = attention.with_prefix((0..b as i32).map(|batch| keys - 40 * batch).collect());
        }
        attention
    })
}

/// The same problem over the keys `range` alone. What windows and prefixes show is a mask then, and distances are a bias,
/// since places count from the last key; sinks go with the last key.
fn keys_alone(attention: &Attention, range: std::ops::Range<usize>) -> Attention {
    let Attention { problem, extras, .. } = attention;
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
    let keys = |values: &[f64], width: usize| -> Vec<f64> {
        let of_batch = values.chunks(s_k * h_kv * width);
        of_batch.flat_map(|batch| &batch[range.start * h_kv * width..range.end * h_kv * width]).copied().collect()
    };
    let options = Options { scale: Some(problem.scale), softcap: problem.softcap, ..FULL };
    let shape = Shape { s_k: range.len(), ..problem.shape };
    let part = Attention {
        problem: Problem::new(problem.dtype, shape, &options).unwrap(),
        options,
        q: attention.q.clone(),
        k: keys(&attention.k, d),
        v: keys(&attention.v, d_v),
        extras: Extras::default(),
    };
    let part = part.with_mask([b, h_q], |[batch, head, i, j]| {
        attention.inputs().sees(problem, Row { batch, head, i }, range.start + j)
    });
    let part = part.with_bias(F32, [b, h_q], |[batch, head, i, j]| {
        let j = range.start + j;
        let bias = problem.bias.map_or(0.0, |bias| extras.bias[bias.row(batch, head, i) + j]);
        let slope = extras.alibi_slopes.get(head).copied().unwrap_or(0.0);
        bias - slope * (j as f64 - (i + s_k) as f64 + s_q as f64).abs()
    });
    if problem.sinks && range.end == s_k { part.with_sinks(extras.sinks.clone()) } else { part }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_problem_with_any_features_agrees(attention in problems()) {
        let agreement = attention.compare(&attention.run());
        prop_assert!(agreement.passed(), "{:?}: {}", attention, agreement.report());
    }

    #[test]
    fn sequences_of_various_lengths_equal_one_run_for_each(
        seed in any::<u64>(),
        lengths in proptest::collection::vec((0..150_usize, 0..150_usize), 1..4),
        d in prop_oneof![Just(64_usize), Just(128), Just(72)],
        causal in any::<bool>(),
        window_left in proptest::option::of(0..100_usize),
    ) {
        // No groups: then rows are packed neither together nor alone.
        let options = Options { causal, window_left, ..FULL };
        let lengths: Vec<_> = lengths.into_iter().map(|(queries, keys)| [queries, keys]).collect();
        let all = Attention::of_lengths(seed >> 4, F16, &lengths, [2, 2, d, d], options);
        let results = all.run();
        let (out, lse) = (results.out(), results.lse());
        let total_q = all.problem.totals.unwrap()[0];
        for (sequence, &[s_q, s_k]) in lengths.iter().enumerate() {
            let (first_q, first_k) = (all.extras.cu_seqlens_q[sequence] as usize, all.extras.cu_seqlens_k[sequence] as usize);
            let rows = |values: &[f64], first: usize, count: usize| values[first * 2 * d..(first + count) * 2 * d].to_vec();
            let one = Attention {
                problem: Problem::new(F16, shape([1, s_q, s_k, 2, 2, d]), &options).unwrap(),
                q: rows(&all.q, first_q, s_q),
                k: rows(&all.k, first_k, s_k),
                v: rows(&all.v, first_k, s_k),
                extras: Extras::default(),
                ..all.clone()
            };
            let one = one.run();
            prop_assert_eq!(&one.out(), &rows(&out, first_q, s_q));
            for head in 0..2 {
                let own = &one.lse()[head * s_q..][..s_q];
                prop_assert_eq!(own, &lse[head * total_q + first_q..][..s_q]);
            }
        }
        let agreement = all.compare(&results);
        prop_assert!(agreement.passed(), "{}", agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn a_tree_that_is_a_chain_equals_causal(seed in any::<u64>(), (dtype, shape) in shapes_of_any_type()) {
        let Shape { s_q, s_k, h_q, .. } = shape;
        let zero = vec![0.0; h_q];
        // Slopes of 0 bring both to the same instance.
        let causal = Attention::of_shape(seed >> 4, dtype, shape, CAUSAL).with_alibi(zero.clone());
        let chain = Attention::of_shape(seed >> 4, dtype, shape, FULL)
            .with_alibi(zero)
            .with_mask([1, 1], |[_, _, i, j]| j + s_q <= i + s_k);
        prop_assert_eq!(causal.run(), chain.run());
    }

    #[test]
    fn slopes_of_0_equal_none(seed in any::<u64>(), (dtype, shape) in shapes()) {
        let none = Attention::of_shape(seed >> 4, dtype, shape, CAUSAL);
        let results = none.clone().with_alibi(vec![0.0; shape.h_q]).run();
        prop_assert_eq!(&results, &none.clone().with_bias(DType::F32, [1, 1], |_| 0.0).run());
        prop_assert!(none.compare(&results).passed(), "{}", none.compare(&results).report());
    }

    #[test]
    fn sinks_of_minus_infinity_equal_none(attention in problems()) {
        let mut without = attention.clone();
        without.problem.sinks = false;
        without.extras.sinks.clear();
        let h_q = attention.problem.shape.h_q;
        prop_assert_eq!(without.run(), without.clone().with_sinks(vec![f64::NEG_INFINITY; h_q]).run());
    }

    #[test]
    fn a_softcap_towards_infinity_equals_none(seed in any::<u64>(), (dtype, shape) in shapes()) {
        let none = Attention::of_shape(seed >> 4, dtype, shape, CAUSAL);
        for softcap in [1e6, 1e25] {
            let capped = Attention::of_shape(seed >> 4, dtype, shape, Options { softcap: Some(softcap), ..CAUSAL });
            let agreement = none.compare(&capped.run());
            prop_assert!(agreement.passed(), "{softcap}: {}", agreement.report());
        }
    }

    #[test]
    fn packed_heads_equal_heads_alone(
        seed in any::<u64>(),
        (s_q, s_k, h_kv, group) in (1..13_usize, 1..200_usize, 1..3_usize, 3..9_usize),
        d in prop_oneof![Just(40_usize), Just(64), Just(128), Just(256)],
        causal in any::<bool>(),
    ) {
        let h_q = h_kv * group;
        let options = Options { causal, dropout_p: 0.25, dropout_seed: seed, ..FULL };
        let packed = Attention::seeded(seed >> 4, BF16, [2, s_q, s_k, h_q, h_kv, d], options)
            .with_sinks(random::normal(seed, h_q))
            .with_alibi((0..h_q).map(|head| 0.1 * head as f64).collect())
            .with_bias(BF16, [1, h_q], |[_, head, i, j]| (head * 7 + i * 3 + j) as f64 % 5.0)
            .with_mask([2, h_q], |[batch, head, i, j]| (batch + head + i * 5 + j) % 3 != 0);
        prop_assert_eq!(plan(&packed.problem, queue().device().limits()).unwrap().pack, group);
        let repeat = |values: &[f64]| -> Vec<f64> {
            values.chunks(d).flat_map(|row| std::iter::repeat_n(row, group)).flatten().copied().collect()
        };
        let problem = Problem { shape: Shape { h_kv: h_q, ..packed.problem.shape }, ..packed.problem };
        prop_assert_eq!(plan(&problem, queue().device().limits()).unwrap().pack, 1);
        let alone = Attention { problem, k: repeat(&packed.k), v: repeat(&packed.v), ..packed.clone() };
        let results = packed.run();
        prop_assert_eq!(&results, &alone.run());
        prop_assert!(packed.compare(&results).passed(), "{}", packed.compare(&results).report());
    }

    #[test]
    fn permuting_heads_permutes_results_with_features(seed in any::<u64>(), (dtype, shape) in shapes_of_any_type()) {
        let Shape { b, s_q, h_q, d, d_v, .. } = shape;
        let shape = Shape { h_kv: 1, ..shape };
        let slopes: Vec<_> = (0..h_q).map(|head| 0.2 * head as f64).collect();
        let sinks = random::normal(seed, h_q);
        let reversed = |values: &[f64], inner: usize| -> Vec<f64> {
            values.chunks(h_q * inner).flat_map(|heads| heads.chunks(inner).rev().flatten()).copied().collect()
        };
        let attention = Attention::of_shape(seed >> 4, dtype, shape, CAUSAL);
        let permuted = Attention { q: reversed(&attention.q, d), ..attention.clone() };
        let results = attention.with_alibi(slopes.clone()).with_sinks(sinks.clone()).run();
        let permuted = permuted.with_alibi(reversed(&slopes, 1)).with_sinks(reversed(&sinks, 1)).run();
        prop_assert_eq!(permuted.out(), reversed(&results.out(), d_v));
        prop_assert_eq!(permuted.lse(), reversed(&results.lse(), s_q));
        prop_assert_eq!(results.out().len(), b * s_q * h_q * d_v);
    }

    #[test]
    fn permuting_batches_permutes_results_with_features(seed in any::<u64>(), (dtype, shape) in shapes_of_any_type()) {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = shape;
        let last = b - 1;
        let prefix: Vec<i32> = (0..b as i32).map(|batch| 20 * batch).collect();
        let bias = |[batch, head, i, j]: [usize; 4]| (batch * 11 + head * 7 + i * 3 + j) as f64 % 5.0;
        let seen = |[batch, head, i, j]: [usize; 4]| (batch + head + i * 5 + j) % 3 != 0;
        let reversed = |values: &[f64], row: usize| -> Vec<f64> { values.chunks(row).rev().flatten().copied().collect() };
        let plain = Attention::of_shape(seed >> 4, dtype, shape, Options { softcap: Some(4.0), ..CAUSAL });
        let permuted = Attention {
            q: reversed(&plain.q, s_q * h_q * d),
            k: reversed(&plain.k, s_k * h_kv * d),
            v: reversed(&plain.v, s_k * h_kv * d_v),
            ..plain.clone()
        };
        let results = plain.with_bias(dtype, [b, h_q], bias).with_mask([b, 1], seen).with_prefix(prefix.clone()).run();
        let of_other = |[batch, head, i, j]: [usize; 4]| [last - batch, head, i, j];
        let permuted = permuted
            .with_bias(dtype, [b, h_q], |index| bias(of_other(index)))
            .with_mask([b, 1], |index| seen(of_other(index)))
            .with_prefix(prefix.into_iter().rev().collect())
            .run();
        prop_assert_eq!(permuted.out(), reversed(&results.out(), s_q * h_q * d_v));
        prop_assert_eq!(permuted.lse(), reversed(&results.lse(), h_q * s_q));
    }

    #[test]
    fn splitting_keys_and_merging_by_lse_equals_one_pass_with_features(
        attention in problems(),
        cuts in proptest::collection::vec(0.0..1.0_f64, 1..3),
    ) {
        // Which probabilities are dropped depends on a key's place in the whole.
        let attention = Attention {
            options: Options { dropout_p: 0.0, ..attention.options },
            problem: Problem { dropout: None, ..attention.problem },
            ..attention
        };
        let Shape { s_k, d_v, .. } = attention.problem.shape;
        let mut ends: Vec<_> = cuts.iter().map(|cut| (cut * s_k as f64) as usize).chain([s_k]).collect();
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let parts = starts.zip(ends.iter().copied()).map(|(start, end)| {
            let results = keys_alone(&attention, start..end).run();
            (results.out(), results.lse())
        });
        let parts: Vec<_> = parts.collect();
        let mut merged = attention.run();
        let (mut out, mut lse) = (merged.out(), merged.lse());
        let (problem, inputs) = (&attention.problem, &attention.inputs());
        for row in rows(problem, inputs) {
            let (first, at) = (row.of_out(problem, inputs), row.of_lse(problem, inputs));
            let most = parts.iter().map(|(_, lse)| lse[at]).fold(f64::NEG_INFINITY, f64::max);
            if most == f64::NEG_INFINITY {
                continue;
            }
            lse[at] = most + parts.iter().map(|(_, lse)| (lse[at] - most).exp()).sum::<f64>().ln();
            for (element, merged) in out.iter_mut().enumerate().skip(first).take(d_v) {
                let weighed = parts.iter().map(|(out, part_lse)| (part_lse[at] - lse[at]).exp() * out[element]);
                *merged = weighed.sum();
            }
        }
        merged.out = HostTensor::from_f64("out", attention.problem.dtype, &merged.out.shape, &out);
        merged.lse = HostTensor::from_f64("lse", DType::F32, &merged.lse.shape, &lse);
        let agreement = attention.compare(&merged);
        prop_assert!(agreement.passed(), "{:?} cut at {:?}: {}", attention, ends, agreement.report());
    }

    #[test]
    fn dropout_keeps_exactly_what_the_generator_says(
        seed in any::<u64>(),
        (s_q, s_k) in (1..100_usize, 1..65_usize),
        p in 0.05..0.95_f32,
    ) {
        // Values that are the identity give the probabilities themselves.
        let options = Options { dropout_p: p, dropout_seed: seed, ..FULL };
        let mut attention = Attention::seeded(seed >> 4, F16, [2, s_q, s_k, 2, 2, 64], options);
        for [batch, j, head, column] in every_index([2, s_k, 2, 64]) {
            let row = attention.key_row(batch, j, head);
            attention.v[row.start + column] = f64::from(u8::from(column == j));
        }
        let dropout = Dropout::new(p, seed).unwrap();
        let results = attention.assert_agrees();
        let out = results.out();
        for [batch, i, head, j] in every_index([2, s_q, 2, s_k]) {
            let row = attention.query_row(batch, i, head);
            prop_assert_eq!(out[row.start + j] != 0.0, dropout.keeps(batch, head, i, j), "{} {} {} {}", batch, head, i, j);
        }
        // The logarithm of the sum is that of all.
        let without = Attention { options: FULL, problem: Problem { dropout: None, ..attention.problem }, ..attention.clone() };
        let agreement = without.compare(&Results { out: without.run().out, lse: results.lse });
        prop_assert!(agreement.passed(), "{}", agreement.report());
    }
}

#[test]
fn philox_gives_the_published_vectors() {
    let pi = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
    for ((counter, key), expected) in [
        (([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        (([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ] {
        assert_eq!(philox(counter, key), expected);
    }
}

#[test]
fn dropout_keeps_the_expected_mean_and_none_is_none() {
    let p = 0.3;
    let mut attention = Attention::new(F16, [1, 64, 128, 4, 4, 64], Options { dropout_p: p, ..FULL });
    attention.q.fill(0.0);
    attention.v.fill(1.0);
    // Each row's result is the number of probabilities that stay, times 1 / (1 - p) / 128.
    let out = attention.assert_agrees().out();
    let mean = out.iter().sum::<f64>() / out.len() as f64;
    let deviation = (f64::from(p) / (1.0 - f64::from(p)) / (64.0 * 4.0 * 128.0)).sqrt();
    assert!((mean - 1.0).abs() < 5.0 * deviation, "mean {mean}, expected 1 within 5 * {deviation}");
    let none = Attention::new(F16, [1, 64, 128, 4, 4, 64], FULL);
    let zero = Attention::new(F16, [1, 64, 128, 4, 4, 64], Options { dropout_p: 0.0, dropout_seed: 7, ..FULL });
    assert_eq!(none.run(), zero.run());
    let seeds = [1, 2].map(|dropout_seed| {
        Attention::new(F16, [1, 64, 128, 4, 4, 64], Options { dropout_p: p, dropout_seed, ..FULL }).run()
    });
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn rows_without_keys_give_0_and_their_sink() {
    // The first 60 queries stand before the first key.
    let sinks = vec![0.5, f64::NEG_INFINITY];
    for d in [64, 40] {
        let mut attention = Attention::new(F16, [1, 100, 40, 2, 1, d], CAUSAL).with_sinks(sinks.clone());
        // A NaN value may not come into rows that see no key.
        attention.v[3] = f64::NAN;
        let results = attention.run();
        for (head, sink) in sinks.iter().enumerate() {
            for i in 0..60 {
                assert!(results.out()[attention.query_row(0, i, head)].iter().all(|&x| x == 0.0));
                let lse = results.lse()[head * 100 + i];
                assert!(lse == *sink || (lse - sink).abs() < 1e-6, "{lse}");
            }
        }
    }
}

#[test]
fn a_prefix_is_seen_by_all_rows_despite_causal_and_any_number_may_stand_there() {
    for prefix in [i32::MIN, -1, 0, 1, 63, 64, 65, 100, 129, 500, i32::MAX] {
        let attention = Attention::new(F16, [1, 90, 130, 2, 1, 64], CAUSAL);
        attention.with_prefix(vec![prefix]).assert_agrees();
        let options = Options { window_left: Some(20), window_right: Some(3), ..FULL };
        Attention::new(BF16, [2, 90, 70, 1, 1, 128], options).with_prefix(vec![prefix, 30]).assert_agrees();
    }
}

#[test]
fn documents_in_one_sequence_agree_with_documents_alone() {
    // A block-diagonal mask of documents of 50 tokens.
    let all = Attention::new(BF16, [1, 150, 150, 2, 2, 64], CAUSAL);
    let masked = all.clone().with_mask([1, 1], |[_, _, i, j]| i / 50 == j / 50).assert_agrees();
    let row = 2 * 64;
    for document in 0..3 {
        let own = |values: &[f64]| values[document * 50 * row..(document + 1) * 50 * row].to_vec();
        let problem = Problem::new(BF16, shape([1, 50, 50, 2, 2, 64]), &CAUSAL).unwrap();
        let alone = Attention { problem, q: own(&all.q), k: own(&all.k), v: own(&all.v), ..all.clone() };
        let part = HostTensor::from_f64("out", BF16, &[1, 50, 2, 64], &own(&masked.out()));
        let lse: Vec<_> = [0, 1].iter().flat_map(|h| masked.lse()[h * 150 + document * 50..][..50].to_vec()).collect();
        alone.assert_is(&Results { out: part, lse: HostTensor::from_f64("lse", DType::F32, &[1, 2, 50], &lse) });
    }
}
