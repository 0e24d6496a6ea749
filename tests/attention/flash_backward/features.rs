//! Softcap, ALiBi, bias, sinks, custom masks, prefixes, dropout, sequences of various lengths: against the reference, and
//! what must hold between them.

use super::*;
use crate::flash_forward::every_index;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

/// Type, `[b, s_q, s_k, h_q, h_kv]` and head dimensions of moderate size.
fn shapes() -> impl Strategy<Value = (DType, Shape)> {
    let sizes = (1..3_usize, 1..80_usize, 1..110_usize, 1..3_usize, 1..4_usize);
    let dims =
        prop_oneof![4 => (1..9_usize, 1..9_usize), 2 => (9..17_usize, 1..17_usize), 1 => (1..33_usize, 17..33_usize)];
    let dtypes = prop_oneof![Just(F16), Just(BF16), Just(F32)];
    (dtypes, sizes, dims).prop_map(|(dtype, (b, s_q, s_k, h_kv, group), (d, d_v))| {
        (dtype, Shape { b, s_q, s_k, h_q: h_kv * group, h_kv, d: 8 * d, d_v: 8 * d_v })
    })
}

/// Any problem with any features.
pub(super) fn problems() -> impl Strategy<Value = Attention> {
    let window = || proptest::option::of(0..120_usize);
    let options = (any::<bool>(), window(), window(), proptest::option::of(0.5..20.0_f32), 0..3_u8);
    let extras = (any::<[bool; 5]>(), any::<[bool; 3]>(), 0..110_i32);
    (any::<u64>(), shapes(), options, extras).prop_map(|(seed, (dtype, shape), options, extras)| {
        let (causal, window_left, window_right, softcap, dropout) = options;
        let ([sinks, alibi, bias, mask, prefix], [all_b, all_heads, single], keys) = extras;
        let dropout_p = [0.0, 0.0, 0.3][usize::from(dropout)];
        let options = Options { causal, window_left, window_right, softcap, dropout_p, dropout_seed: seed, ..FULL };
        let mut forward = Forward::of_shape(seed >> 4, dtype, shape, options);
        let Shape { b, h_q, .. } = shape;
        let leading = [if all_b { b } else { 1 }, if all_heads { h_q } else { 1 }];
        let hash = move |index: [usize; 4]| {
            index.iter().fold(seed, |hash, &i| (hash ^ i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7)
        };
        if sinks {
            forward = forward.with_sinks(random::normal(seed, h_q));
        }
        if alibi {
            forward = forward.with_alibi((0..h_q).map(|head| 0.5 / (head + 1) as f64).collect());
        }
        if bias {
            let dtype = if single { F32 } else { dtype };
            forward = forward.with_bias(dtype, leading, |index| (hash(index) % 1000) as f64 / 250.0 - 2.0);
        }
        if mask {
            forward = forward.with_mask(leading, |index| hash(index) % 4 != 0);
        }
        if prefix {
            forward = forward.with_prefix((0..b as i32).map(|batch| keys - 40 * batch).collect());
        }
        Attention::of(seed >> 4, forward)
    })
}

proptest! {
    #![proptest_config(cases(25))]

    #[test]
    fn any_problem_with_any_features_agrees(attention in problems()) {
        let agreement = attention.compare(&attention.run());
        prop_assert!(agreement.passed(), "{:?}: {}", attention, agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn sequences_of_various_lengths_equal_one_run_for_each(
        seed in any::<u64>(),
        lengths in proptest::collection::vec((0..100_usize, 0..100_usize), 1..4),
        d in prop_oneof![Just(64_usize), Just(128), Just(72)],
        causal in any::<bool>(),
        window_left in proptest::option::of(0..100_usize),
    ) {
        let options = Options { causal, window_left, ..FULL };
        let lengths: Vec<_> = lengths.into_iter().map(|(queries, keys)| [queries, keys]).collect();
        let all = Attention::of(seed >> 4, Forward::of_lengths(seed >> 4, F16, &lengths, [2, 1, d, d], options));
        let results = all.run();
        let gradients = results.gradients();
        let total_q = all.problem.totals.unwrap()[0];
        for (sequence, &[s_q, s_k]) in lengths.iter().enumerate() {
            let (first_q, first_k) = (all.extras.cu_seqlens_q[sequence] as usize, all.extras.cu_seqlens_k[sequence] as usize);
            let queries = |values: &[f64]| values[first_q * 2 * d..(first_q + s_q) * 2 * d].to_vec();
            let keys = |values: &[f64]| values[first_k * d..(first_k + s_k) * d].to_vec();
            let lse = [0, 1].iter().flat_map(|head| all.lse[head * total_q + first_q..][..s_q].to_vec()).collect();
            let one = Attention {
                forward: Forward {
                    problem: Problem::new(F16, shape([1, s_q, s_k, 2, 1, d]), &options).unwrap(),
                    q: queries(&all.q),
                    k: keys(&all.k),
                    v: keys(&all.v),
                    extras: Default::default(),
                    ..all.forward.clone()
                },
                d_out: queries(&all.d_out),
                out: queries(&all.out),
                lse,
            };
            let one = one.run().gradients();
            prop_assert_eq!(&one.d_q, &queries(&gradients.d_q));
            // The heads of a group may be summed in parts.
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-3 * (1.0 + b.abs()));
            prop_assert!(near(&one.d_k, &keys(&gradients.d_k)) && near(&one.d_v, &keys(&gradients.d_v)));
        }
        let agreement = all.compare(&results);
        prop_assert!(agreement.passed(), "{}", agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn the_same_input_gives_the_same_bits_with_any_features(attention in problems()) {
        prop_assert_eq!(attention.run(), attention.run());
    }

    #[test]
    fn gradients_of_keys_that_a_mask_hides_are_exactly_0(attention in problems(), hidden in 0..110_usize) {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v, .. } = attention.problem.shape;
        let hidden = hidden % s_k;
        let forward = attention.forward.clone().with_mask([1, 1], |[_, _, _, j]| j != hidden);
        let gradients = Attention::of(1, forward).run().gradients();
        for (batch, head) in (0..b).flat_map(|batch| (0..h_kv).map(move |head| (batch, head))) {
            let key = (batch * s_k + hidden) * h_kv + head;
            prop_assert!(gradients.d_k[key * d..][..d].iter().all(|&x| x == 0.0));
            prop_assert!(gradients.d_v[key * d_v..][..d_v].iter().all(|&x| x == 0.0));
        }
        if let Some(bias) = attention.problem.bias {
            for [batch, head, i, _] in every_index([bias.b, bias.h_q, s_q, 1]) {
                prop_assert!(gradients.d_bias[bias.row(batch, head, i) + hidden] == 0.0, "{}", h_q);
            }
        }
    }

    #[test]
    fn a_tree_that_is_a_chain_equals_causal(seed in any::<u64>(), (dtype, shape) in shapes()) {
        let Shape { s_q, s_k, h_q, .. } = shape;
        let zero = vec![0.0; h_q];
        // Slopes of 0 bring both to the same instance.
        let causal = Forward::of_shape(seed >> 4, dtype, shape, CAUSAL).with_alibi(zero.clone());
        let chain = Forward::of_shape(seed >> 4, dtype, shape, FULL)
            .with_alibi(zero)
            .with_mask([1, 1], |[_, _, i, j]| j + s_q <= i + s_k);
        let (causal, chain) = (Attention::of(seed >> 4, causal), Attention::of(seed >> 4, chain));
        let agreement = causal.compare(&chain.run());
        prop_assert!(agreement.passed(), "{}", agreement.report());
        prop_assert_eq!(causal.run().gradients(), chain.run().gradients());
    }

    #[test]
    fn sinks_of_minus_infinity_equal_none_and_have_no_gradient(attention in problems()) {
        let h_q = attention.problem.shape.h_q;
        let mut without = attention.clone();
        without.problem.sinks = false;
        without.extras.sinks.clear();
        without.set_results();
        let sinks = without.forward.clone().with_sinks(vec![f64::NEG_INFINITY; h_q]);
        let sinks = Attention { forward: sinks, ..without.clone() };
        let (expected, results) = (without.run(), sinks.run());
        prop_assert!(results.d_sinks.to_f64().iter().all(|&x| x == 0.0));
        prop_assert_eq!(Results { d_sinks: expected.d_sinks.clone(), ..results }, expected);
    }

    #[test]
    fn a_softcap_towards_infinity_equals_none(seed in any::<u64>(), (dtype, shape) in shapes()) {
        let none = Attention::of(seed >> 4, Forward::of_shape(seed >> 4, dtype, shape, CAUSAL));
        let mut capped = none.clone();
        for softcap in [1e6, 1e25] {
            let options = Options { softcap: Some(softcap), ..CAUSAL };
            (capped.options, capped.problem.softcap) = (options, options.softcap);
            let agreement = none.compare(&capped.run());
            prop_assert!(agreement.passed(), "{softcap}: {}", agreement.report());
        }
    }

    #[test]
    fn a_broadcast_bias_s_gradient_is_the_sum_over_what_it_serves(seed in any::<u64>(), (dtype, shape) in shapes()) {
        let Shape { b, s_q, s_k, h_q, .. } = shape;
        let bias = |[_, _, i, j]: [usize; 4]| ((i * 3 + j) % 7) as f64 / 4.0;
        let gradient = |leading: [usize; 2]| {
            let forward = Forward::of_shape(seed >> 4, dtype, shape, CAUSAL).with_bias(F32, leading, bias);
            Attention::of(seed >> 4, forward).run().d_bias.to_f64()
        };
        let all = gradient([b, h_q]);
        for leading in [[1, h_q], [b, 1], [1, 1]] {
            let mut sums = vec![0.0; leading[0] * leading[1] * s_q * s_k];
            let place = Broadcast { dtype: F32, b: leading[0], h_q: leading[1], s_q, columns: s_k };
            for ([batch, head, i, j], x) in every_index([b, h_q, s_q, s_k]).zip(&all) {
                sums[place.row(batch, head, i) + j] += x;
            }
            for (got, expected) in gradient(leading).iter().zip(sums) {
                prop_assert!((got - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{leading:?} {got} {expected}");
            }
        }
    }
}

#[test]
fn dropout_drops_what_the_forward_kernel_dropped() {
    // Values that are the identity give the probabilities themselves; d_v the sums of those that stay.
    let options = Options { dropout_p: 0.4, dropout_seed: 99, ..FULL };
    let mut forward = Forward::of_shape(3, F16, shape([1, 1, 64, 1, 1, 64]), options);
    for j in 0..64 {
        forward.v[j * 64..][..64].fill(0.0);
        forward.v[j * 64 + j] = 1.0;
    }
    let mut attention = Attention::of(3, forward);
    attention.d_out.fill(1.0);
    let d_v = attention.assert_agrees().d_v.to_f64();
    let mut dropped = 0;
    for (j, d_v) in d_v.chunks(64).enumerate() {
        assert_eq!(d_v[0] != 0.0, attention.out[j] != 0.0, "key {j}");
        dropped += usize::from(d_v[0] == 0.0);
    }
    assert!((10..40).contains(&dropped), "{dropped}");
}

#[test]
fn blocks_that_wait_for_one_another_agree() {
    // So many queries that blocks of the software device take turns: then the second tile of keys overtakes the first.
    let attention = Attention::without_forward(0, F16, [1, 30_000, 200, 1, 1, 64], FULL);
    let (first, second) = (attention.run(), attention.run());
    assert_eq!(first, second);
    // All keys have the same probability of exp(0 - 0) with zeros for out and lse: d_q is a plain sum.
    let mut small = attention.clone();
    small.q.fill(0.0);
    let d_q = small.run().d_q.to_f64();
    for i in (0..30_000).step_by(977) {
        let row = attention.query_row(0, i, 0);
        for c in [0, 63] {
            let d_s = |j: usize| -> f64 {
                let v = &small.v[j * 64..][..64];
                let dot: f64 = small.d_out[row.clone()].iter().zip(v).map(|(x, y)| x * y).sum();
                rounded(F16, &[dot])[0]
            };
            let expected: f64 = (0..200).map(|j| d_s(j) * small.k[j * 64 + c]).sum::<f64>() * 0.125;
            let got = d_q[row.start + c];
            assert!((got - expected).abs() <= 0.02 * (1.0 + expected.abs()), "{i} {c}: {got} {expected}");
        }
    }
}

#[test]
fn extreme_prefixes_and_rows_without_keys_agree() {
    for prefix in [i32::MIN, 0, 1, 63, 64, 65, 100, i32::MAX] {
        let forward = Forward::of_shape(0, F16, shape([1, 70, 100, 2, 1, 64]), CAUSAL).with_prefix(vec![prefix]);
        Attention::of(0, forward).assert_agrees();
        let options = Options { window_left: Some(20), window_right: Some(3), ..FULL };
        let forward = Forward::of_shape(0, BF16, shape([2, 70, 50, 1, 1, 128]), options).with_prefix(vec![prefix, 30]);
        Attention::of(0, forward).with_no_gradient_from_rows_without_keys();
    }
}

impl Attention {
    /// Rows that see nothing get exact zeros.
    #[track_caller]
    fn with_no_gradient_from_rows_without_keys(&self) {
        let d_q = self.assert_agrees().d_q.to_f64();
        let d = self.problem.shape.d;
        for row in flash_forward::reference::rows(&self.problem, &self.forward.inputs()) {
            let empty = self.forward.inputs().seen(&self.problem, row).is_empty();
            let start = row.of_query(&self.problem, &self.forward.inputs());
            assert!(!empty || d_q[start..][..d].iter().all(|&x| x == 0.0), "{row:?}");
        }
    }
}
