//! With any features: reordering batches or heads reorders gradients, and what nobody sees has none.

use super::features::problems;
use super::properties::reorder;
use super::*;
use crate::flash_forward::every_index;
use llm_kernels::attention::flash_backward::reference::{Group, key_row, rows};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

type Outcome<T> = std::result::Result<T, TestCaseError>;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

/// Without dropout, whose random numbers depend on the places of batches and heads.
fn without_dropout(mut attention: Attention) -> Attention {
    attention.options.dropout_p = 0.0;
    attention.problem.dropout = None;
    attention.set_results();
    attention
}

/// How near sums in another order are.
fn near(a: &[f64], b: &[f64]) -> bool {
    let scale = b.iter().fold(1f64, |scale, x| scale.max(x.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * scale)
}

/// Gradients of sinks, slopes and bias that all heads or batches share are sums in another order, then.
fn same(permuted: &Gradients, expected: &Gradients, sinks: bool, bias: bool) -> Outcome<()> {
    prop_assert!(permuted.d_q == expected.d_q && permuted.d_k == expected.d_k && permuted.d_v == expected.d_v);
    prop_assert!(near(&permuted.d_sinks, &expected.d_sinks) && near(&permuted.d_bias, &expected.d_bias));
    prop_assert!(!sinks || permuted.d_sinks == expected.d_sinks);
    prop_assert!(!bias || permuted.d_bias == expected.d_bias);
    Ok(())
}

/// Keys of a batch and key-value head, and pairs of the bias, that no query sees have gradients of exactly 0.
fn nothing_comes_of_what_nobody_sees(attention: &Attention) -> Outcome<usize> {
    let (problem, inputs, gradients) = (&attention.problem, attention.inputs(), attention.run().gradients());
    let Shape { b, h_kv, d, d_v, .. } = problem.shape;
    let mut seen_pairs = vec![false; gradients.d_bias.len()];
    let mut unseen_keys = 0;
    for (batch, kv_head) in (0..b).flat_map(|batch| (0..h_kv).map(move |head| (batch, head))) {
        let group = Group { batch, kv_head };
        let mut seen = vec![false; inputs.forward.keys(problem, batch).length];
        for row in rows(problem, &inputs, group) {
            for j in inputs.forward.seen(problem, row) {
                seen[j] = true;
                if let Some(bias) = problem.bias {
                    seen_pairs[bias.row(row.batch, row.head, row.i) + j] = true;
                }
            }
        }
        for j in (0..seen.len()).filter(|&j| !seen[j]) {
            let key = key_row(problem, &inputs, group, j);
            let (d_k, d_v) = (&gradients.d_k[key * d..][..d], &gradients.d_v[key * d_v..][..d_v]);
            prop_assert!(d_k.iter().chain(d_v).all(|&x| x == 0.0), "key {j} of {group:?}");
            unseen_keys += 1;
        }
    }
    let unseen_pairs = gradients.d_bias.iter().zip(seen_pairs).filter(|(_, seen)| !seen);
    prop_assert!(unseen_pairs.into_iter().all(|(&x, _)| x == 0.0));
    Ok(unseen_keys)
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn permuting_batches_permutes_gradients_with_any_features(attention in problems()) {
        let attention = without_dropout(attention);
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = attention.problem.shape;
        let order: Vec<usize> = (0..b).rev().collect();
        let (bias, mask) = (attention.problem.bias, attention.problem.mask_bits);
        let own_bias = bias.is_none_or(|bias| bias.b == b);
        let bias_inner = bias.map_or(1, |bias| bias.h_q * s_q * s_k);
        let mut permuted = Attention {
            forward: Forward {
                q: reorder(&attention.q, &order, s_q * h_q * d),
                k: reorder(&attention.k, &order, s_k * h_kv * d),
                v: reorder(&attention.v, &order, s_k * h_kv * d_v),
                ..attention.forward.clone()
            },
            d_out: reorder(&attention.d_out, &order, s_q * h_q * d_v),
            out: reorder(&attention.out, &order, s_q * h_q * d_v),
            lse: reorder(&attention.lse, &order, h_q * s_q),
        };
        if attention.problem.prefix {
            permuted.extras.prefix = reorder(&attention.extras.prefix, &order, 1);
        }
        if own_bias && bias.is_some() {
            permuted.extras.bias = reorder(&attention.extras.bias, &order, bias_inner);
        }
        if let Some(mask) = mask.filter(|mask| mask.b == b) {
            permuted.extras.mask_bits = reorder(&attention.extras.mask_bits, &order, mask.h_q * s_q * mask.columns);
        }
        let results = attention.run().gradients();
        let expected = Gradients {
            d_q: reorder(&results.d_q, &order, s_q * h_q * d),
            d_k: reorder(&results.d_k, &order, s_k * h_kv * d),
            d_v: reorder(&results.d_v, &order, s_k * h_kv * d_v),
            d_sinks: results.d_sinks.clone(),
            d_bias: if own_bias { reorder(&results.d_bias, &order, bias_inner) } else { results.d_bias.clone() },
        };
        same(&permuted.run().gradients(), &expected, b == 1, own_bias)?;
    }

    #[test]
    fn permuting_heads_permutes_gradients_with_any_features(attention in problems()) {
        let attention = without_dropout(attention);
        let Shape { s_q, s_k, h_q, h_kv, d, d_v, .. } = attention.problem.shape;
        let kv_order: Vec<usize> = (0..h_kv).rev().collect();
        let group = h_q / h_kv;
        let q_order: Vec<usize> = kv_order.iter().flat_map(|&head| head * group..(head + 1) * group).collect();
        let (bias, mask) = (attention.problem.bias, attention.problem.mask_bits);
        let own_bias = bias.is_none_or(|bias| bias.h_q == h_q);
        let of_heads = |values: &[f64]| if values.is_empty() { Vec::new() } else { reorder(values, &q_order, 1) };
        let mut permuted = Attention {
            forward: Forward {
                q: reorder(&attention.q, &q_order, d),
                k: reorder(&attention.k, &kv_order, d),
                v: reorder(&attention.v, &kv_order, d_v),
                ..attention.forward.clone()
            },
            d_out: reorder(&attention.d_out, &q_order, d_v),
            out: reorder(&attention.out, &q_order, d_v),
            lse: reorder(&attention.lse, &q_order, s_q),
        };
        permuted.extras.sinks = of_heads(&attention.extras.sinks);
        permuted.extras.alibi_slopes = of_heads(&attention.extras.alibi_slopes);
        if own_bias && bias.is_some() {
            permuted.extras.bias = reorder(&attention.extras.bias, &q_order, s_q * s_k);
        }
        if let Some(mask) = mask.filter(|mask| mask.h_q == h_q) {
            permuted.extras.mask_bits = reorder(&attention.extras.mask_bits, &q_order, s_q * mask.columns);
        }
        let results = attention.run().gradients();
        let expected = Gradients {
            d_q: reorder(&results.d_q, &q_order, d),
            d_k: reorder(&results.d_k, &kv_order, d),
            d_v: reorder(&results.d_v, &kv_order, d_v),
            d_sinks: of_heads(&results.d_sinks),
            d_bias: if own_bias { reorder(&results.d_bias, &q_order, s_q * s_k) } else { results.d_bias.clone() },
        };
        same(&permuted.run().gradients(), &expected, true, own_bias)?;
    }

    #[test]
    fn whatever_hides_a_key_its_gradients_are_exactly_0(
        attention in problems(), every in 2..9_usize, leading in any::<[bool; 2]>(),
    ) {
        // A custom mask that hides whole columns, over whatever windows and prefixes there are.
        let Shape { b, h_q, .. } = attention.problem.shape;
        let leading = [if leading[0] { b } else { 1 }, if leading[1] { h_q } else { 1 }];
        let forward = attention.forward.clone().with_mask(leading, |[batch, head, _, j]| (batch + head + j) % every != 0);
        nothing_comes_of_what_nobody_sees(&Attention::of(1, forward))?;
        nothing_comes_of_what_nobody_sees(&attention)?;
    }

    #[test]
    fn whatever_hides_a_key_of_sequences_of_various_lengths_its_gradients_are_exactly_0(
        seed in any::<u64>(),
        lengths in proptest::collection::vec((0..60_usize, 0..100_usize), 1..4),
        dtype in prop_oneof![Just(F16), Just(F32)],
        window_left in proptest::option::of(0..40_usize),
        window_right in proptest::option::of(0..40_usize),
        prefix in proptest::option::of(0..50_i32),
    ) {
        let lengths: Vec<_> = lengths.into_iter().map(|(queries, keys)| [queries, keys]).collect();
        let options = Options { window_left, window_right, ..FULL };
        let forward = Forward::of_lengths(seed >> 4, dtype, &lengths, [2, 1, 72, 64], options);
        let forward = match prefix {
            Some(prefix) => forward.with_prefix(vec![prefix; lengths.len()]),
            None => forward,
        };
        nothing_comes_of_what_nobody_sees(&Attention::of(seed >> 4, forward))?;
    }
}

#[test]
fn every_kind_of_mask_hides_keys_whose_gradients_are_exactly_0() {
    let shape = |s_q, s_k| Shape { b: 2, s_q, s_k, h_q: 2, h_kv: 1, d: 64, d_v: 64 };
    let of = |s_q, s_k, options| Forward::of_shape(2, F16, shape(s_q, s_k), options);
    let left = Options { window_left: Some(9), ..FULL };
    for (what, forward) in [
        ("window to the left", of(20, 90, left)),
        ("window on both sides", of(20, 90, Options { window_right: Some(3), ..left })),
        ("window with a prefix", of(20, 90, Options { window_right: Some(0), ..left }).with_prefix(vec![5, 85])),
        ("custom mask", of(40, 90, FULL).with_mask([2, 1], |[batch, _, _, j]| j % 3 != batch)),
        ("lengths", Forward::of_lengths(2, F16, &[[0, 50], [40, 70]], [2, 1, 64, 64], left)),
    ] {
        let unseen = nothing_comes_of_what_nobody_sees(&Attention::of(1, forward)).unwrap();
        assert!(unseen > 0, "{what} hides no key");
    }
    // Scores of minus infinity: probabilities of exactly 0.
    let forward = of(40, 90, FULL).with_bias(
        F32,
        [1, 1],
        |[_, _, i, j]| if j % 4 == 1 { f64::NEG_INFINITY } else { i as f64 / 9.0 },
    );
    let gradients = Attention::of(1, forward).run().gradients();
    for [batch, j, _, c] in every_index([2, 90, 1, 64]).filter(|&[_, j, _, _]| j % 4 == 1) {
        let at = (batch * 90 + j) * 64 + c;
        assert!(gradients.d_k[at] == 0.0 && gradients.d_v[at] == 0.0, "key {j}");
    }
}
