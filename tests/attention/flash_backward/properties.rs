//! What must hold for any input, tried on made-up ones.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 30, ..Config::default() }
}

fn masks() -> impl Strategy<Value = Options> {
    let window = || proptest::option::of(0..150_usize);
    (any::<bool>(), window(), window()).prop_map(|(causal, window_left, window_right)| Options {
        causal,
        window_left,
        window_right,
        ..FULL
    })
}

/// Any problem of moderate size: type, `[b, s_q, s_k, h_q, h_kv, d]`, mask.
fn problems() -> impl Strategy<Value = Attention> {
    let dtypes = prop_oneof![Just(F16), Just(BF16), Just(F32)];
    let head_dims = prop_oneof![3 => Just(64_usize), 2 => Just(128), 1 => Just(256)];
    let sizes = (1..3_usize, 1..110_usize, 1..200_usize, 1..3_usize, 1..4_usize, head_dims);
    (any::<u64>(), dtypes, sizes, masks()).prop_map(|(seed, dtype, (b, s_q, s_k, h_kv, group, d), mask)| {
        Attention::seeded(seed >> 4, dtype, [b, s_q, s_k, h_kv * group, h_kv, d], mask)
    })
}

/// A copy with other options, and their forward results.
fn with(attention: &Attention, options: Options) -> Attention {
    let problem = Problem::new(attention.problem.dtype, attention.problem.shape, &options).unwrap();
    let mut changed = attention.clone();
    (changed.problem, changed.options) = (problem, options);
    changed.set_results();
    changed
}

/// A `[outer, middle, inner]` array with `middle` reordered: index `i` of the result is `order[i]` of the input.
pub(super) fn reorder<T: Copy>(values: &[T], order: &[usize], inner: usize) -> Vec<T> {
    let middle = order.len();
    let block = |outer: usize, index: usize| &values[(outer * middle + index) * inner..][..inner];
    let outer = values.len() / (middle * inner).max(1);
    (0..outer).flat_map(|outer| order.iter().flat_map(move |&from| block(outer, from))).copied().collect()
}

proptest! {
    #![proptest_config(cases(25))]

    #[test]
    fn any_problem_agrees_with_the_reference(attention in problems()) {
        let agreement = attention.compare(&attention.run());
        prop_assert!(agreement.passed(), "{:?}: {}", attention, agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(5))]

    #[test]
    fn the_same_input_gives_the_same_bits(attention in problems()) {
        prop_assert_eq!(attention.run(), attention.run());
    }

    #[test]
    fn permuting_batches_permutes_gradients(attention in problems()) {
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = attention.problem.shape;
        let order: Vec<usize> = (0..b).rev().collect();
        let (queries, keys, rows) = (s_q * h_q * d, s_k * h_kv * d, h_q * s_q);
        let permuted = Attention {
            forward: Forward {
                q: reorder(&attention.q, &order, queries),
                k: reorder(&attention.k, &order, keys),
                v: reorder(&attention.v, &order, keys),
                ..attention.forward.clone()
            },
            d_out: reorder(&attention.d_out, &order, queries),
            out: reorder(&attention.out, &order, queries),
            lse: reorder(&attention.lse, &order, rows),
        };
        let (results, permuted) = (attention.run().gradients(), permuted.run().gradients());
        prop_assert!(permuted.d_q == reorder(&results.d_q, &order, queries));
        prop_assert!(permuted.d_k == reorder(&results.d_k, &order, keys));
        prop_assert!(permuted.d_v == reorder(&results.d_v, &order, keys));
    }

    #[test]
    fn permuting_heads_permutes_gradients(attention in problems()) {
        let Shape { s_q, h_q, h_kv, d, .. } = attention.problem.shape;
        let kv_order: Vec<usize> = (0..h_kv).rev().collect();
        let group = h_q / h_kv;
        let q_order: Vec<usize> = kv_order.iter().flat_map(|&head| head * group..(head + 1) * group).collect();
        let permuted = Attention {
            forward: Forward {
                q: reorder(&attention.q, &q_order, d),
                k: reorder(&attention.k, &kv_order, d),
                v: reorder(&attention.v, &kv_order, d),
                ..attention.forward.clone()
            },
            d_out: reorder(&attention.d_out, &q_order, d),
            out: reorder(&attention.out, &q_order, d),
            lse: reorder(&attention.lse, &q_order, s_q),
        };
        let (results, permuted) = (attention.run().gradients(), permuted.run().gradients());
        prop_assert!(permuted.d_q == reorder(&results.d_q, &q_order, d));
        prop_assert!(permuted.d_k == reorder(&results.d_k, &kv_order, d));
        prop_assert!(permuted.d_v == reorder(&results.d_v, &kv_order, d));
    }

    #[test]
    fn grouped_heads_equal_the_sum_over_repeated_key_value_heads(attention in problems()) {
        let Shape { b, s_k, h_q, h_kv, d, .. } = attention.problem.shape;
        let group = h_q / h_kv;
        let repeat = |values: &[f64]| -> Vec<f64> {
            values.chunks(d).flat_map(|row| std::iter::repeat_n(row, group)).flatten().copied().collect()
        };
        let shape = Shape { h_kv: h_q, ..attention.problem.shape };
        let problem = Problem { shape, ..attention.problem };
        let (k, v) = (repeat(&attention.k), repeat(&attention.v));
        let forward = Forward { problem, k, v, ..attention.forward.clone() };
        let repeated = Attention { forward, ..attention.clone() };
        let mut gradients = repeated.run().gradients();
        let sum = |values: &[f64]| -> Vec<f64> {
            let one = |row: usize, c: usize| (0..group).map(|head| values[(row * group + head) * d + c]).sum();
            (0..b * s_k * h_kv).flat_map(|row| (0..d).map(move |c| one(row, c)).collect::<Vec<f64>>()).collect()
        };
        gradients.d_k = sum(&gradients.d_k);
        gradients.d_v = sum(&gradients.d_v);
        let layouts = attention.layouts();
        let tensor = |name, layout: Layout, values: &[f64]| {
            HostTensor::from_f64(name, attention.problem.dtype, layout.shape(), values)
        };
        let summed = Results::plain(
            tensor("d_q", layouts.d_q, &gradients.d_q),
            tensor("d_k", layouts.d_k, &gradients.d_k),
            tensor("d_v", layouts.d_v, &gradients.d_v),
        );
        // Each head's gradient was rounded before the sum: half a unit of the largest of them more, each time.
        let inputs = attention.inputs();
        let (exact, plain) = (reference(&attention.problem, &inputs), plain(&attention.problem, &inputs));
        let largest = |values: &[f64]| values.iter().fold(0f64, |a, b| a.max(b.abs()));
        let scales = [largest(&exact.d_q), largest(&gradients.d_k), largest(&gradients.d_v)];
        let dtype = attention.problem.dtype;
        let terms = terms(&attention.problem, &inputs);
        let tolerance = |which: usize| {
            let one = Tolerance::weighed_gradients(dtype, terms[which], attention.score_sizes().into_iter());
            Tolerance { ulps: one.ulps + group as f64, least_scale: one.least_scale.max(scales[which]), ..one }
        };
        for (agreement, name) in [
            (compare(&summed.d_q, &exact.d_q, &plain.d_q, tolerance(0)), "d_q"),
            (compare(&summed.d_k, &exact.d_k, &plain.d_k, tolerance(1)), "d_k"),
            (compare(&summed.d_v, &exact.d_v, &plain.d_v, tolerance(2)), "d_v"),
        ] {
            prop_assert!(agreement.passed(), "{dtype} {name} {:?}: {agreement}", attention.problem);
        }
    }

    #[test]
    fn a_window_over_everything_equals_none(attention in problems()) {
        let Shape { s_q, s_k, .. } = attention.problem.shape;
        let windows = Options { window_left: Some(s_k - 1), window_right: Some(s_q - 1), ..FULL };
        prop_assert_eq!(with(&attention, FULL).run(), with(&attention, windows).run());
    }

    #[test]
    fn gradients_of_masked_keys_are_exactly_0(attention in problems()) {
        let Shape { b, s_q, s_k, h_kv, .. } = attention.problem.shape;
        let gradients = attention.run().gradients();
        let seen = |j| (0..s_q).any(|i| attention.problem.visible_keys(i).contains(&j));
        for j in (0..s_k).filter(|&j| !seen(j)) {
            for (batch, head) in (0..b).flat_map(|batch| (0..h_kv).map(move |head| (batch, head))) {
                let row = attention.key_row(batch, j, head);
                prop_assert!(gradients.d_k[row.clone()].iter().chain(&gradients.d_v[row]).all(|&x| x == 0.0));
            }
        }
    }

    #[test]
    fn any_scale_agrees_with_the_reference(attention in problems(), scale in -1.0..1.0_f32) {
        for scale in [scale, 0.0] {
            let scaled = with(&attention, Options { scale: Some(scale), ..attention.options });
            let agreement = scaled.compare(&scaled.run());
            prop_assert!(agreement.passed(), "scale {} {:?}: {}", scale, scaled, agreement.report());
        }
    }

    #[test]
    fn gradients_are_linear_in_d_out(attention in problems()) {
        // Twice as large exactly, but for what rounds to subnormal numbers or to infinity.
        let mut doubled = attention.clone();
        doubled.d_out.iter_mut().for_each(|x| *x *= 2.0);
        let results = attention.run();
        let twice = |tensor: &HostTensor| {
            let values: Vec<f64> = tensor.to_f64().iter().map(|x| 2.0 * x).collect();
            HostTensor::from_f64(&tensor.name, tensor.dtype, &tensor.shape, &values)
        };
        let expected = Results::plain(twice(&results.d_q), twice(&results.d_k), twice(&results.d_v));
        let agreement = doubled.compare(&expected);
        prop_assert!(agreement.passed(), "{:?}: {}", attention, agreement.report());
    }
}
