//! What must hold for any input, tried on made-up ones.

use super::*;
use llm_kernels::attention::flash_forward::plan;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Cases of a property: each runs the kernel a few times.
fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

fn element_types() -> impl Strategy<Value = DType> {
    prop_oneof![Just(F16), Just(BF16), Just(F32)]
}

fn head_dims() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(64_usize), 2 => Just(128), 1 => Just(256)]
}

fn masks() -> impl Strategy<Value = Options> {
    let window = || proptest::option::of(0..180_usize);
    (any::<bool>(), window(), window()).prop_map(|(causal, window_left, window_right)| Options {
        causal,
        window_left,
        window_right,
        ..FULL
    })
}

/// Any problem of moderate size: type, `[b, s_q, s_k, h_q, h_kv, d]`, mask.
fn problems() -> impl Strategy<Value = Attention> {
    let sizes = (1..3_usize, 1..160_usize, 1..200_usize, 1..3_usize, 1..4_usize, head_dims());
    (any::<u64>(), element_types(), sizes, masks()).prop_map(|(seed, dtype, (b, s_q, s_k, h_kv, group, d), mask)| {
        Attention::seeded(seed >> 4, dtype, [b, s_q, s_k, h_kv * group, h_kv, d], mask)
    })
}

/// A copy with other options.
fn with(attention: &Attention, options: Options) -> Attention {
    let problem = Problem::new(attention.problem.dtype, attention.problem.shape, &options).unwrap();
    Attention { problem, options, ..attention.clone() }
}

/// A `[outer, middle, inner]` array with `middle` reordered: index `i` of the result is `order[i]` of the input.
fn reorder<T: Copy>(values: &[T], order: &[usize], inner: usize) -> Vec<T> {
    let middle = order.len();
    let outer = values.len() / (middle * inner);
    let block = |outer: usize, middle_index: usize| &values[(outer * middle + middle_index) * inner..][..inner];
    (0..outer).flat_map(|outer| order.iter().flat_map(move |&from| block(outer, from))).copied().collect()
}

/// Keys `range` of k or v.
fn keys_of(attention: &Attention, values: &[f64], range: std::ops::Range<usize>) -> Vec<f64> {
    let Shape { s_k, h_kv, d, .. } = attention.problem.shape;
    values
        .chunks(s_k * h_kv * d)
        .flat_map(|batch| &batch[range.start * h_kv * d..range.end * h_kv * d])
        .copied()
        .collect()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_problem_agrees_with_the_reference(attention in problems()) {
        let agreement = attention.compare(&attention.run());
        prop_assert!(agreement.passed(), "{:?}: {}", attention.problem, agreement.report());
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn the_same_input_gives_the_same_bits(attention in problems()) {
        prop_assert_eq!(attention.run(), attention.run());
    }

    #[test]
    fn permuting_batches_permutes_results(attention in problems()) {
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = attention.problem.shape;
        let order: Vec<usize> = (0..b).rev().collect();
        let permuted = Attention {
            q: reorder(&attention.q, &order, s_q * h_q * d),
            k: reorder(&attention.k, &order, s_k * h_kv * d),
            v: reorder(&attention.v, &order, s_k * h_kv * d),
            ..attention.clone()
        };
        let (results, permuted) = (attention.run(), permuted.run());
        prop_assert!(bits(&permuted.out()) == bits(&reorder(&results.out(), &order, s_q * h_q * d)));
        prop_assert!(bits(&permuted.lse()) == bits(&reorder(&results.lse(), &order, h_q * s_q)));
    }

    #[test]
    fn permuting_heads_permutes_results(attention in problems()) {
        let Shape { s_q, h_q, h_kv, d, .. } = attention.problem.shape;
        let kv_order: Vec<usize> = (0..h_kv).rev().collect();
        let group = h_q / h_kv;
        let q_order: Vec<usize> = kv_order.iter().flat_map(|&head| head * group..(head + 1) * group).collect();
        let permuted = Attention {
            q: reorder(&attention.q, &q_order, d),
            k: reorder(&attention.k, &kv_order, d),
            v: reorder(&attention.v, &kv_order, d),
            ..attention.clone()
        };
        let (results, permuted) = (attention.run(), permuted.run());
        prop_assert!(bits(&permuted.out()) == bits(&reorder(&results.out(), &q_order, d)));
        prop_assert!(bits(&permuted.lse()) == bits(&reorder(&results.lse(), &q_order, s_q)));
    }

    #[test]
    fn grouped_heads_equal_repeated_key_value_heads(attention in problems()) {
        let Shape { h_q, h_kv, d, .. } = attention.problem.shape;
        let repeat = |values: &[f64]| -> Vec<f64> {
            values.chunks(d).flat_map(|row| std::iter::repeat_n(row, h_q / h_kv)).flatten().copied().collect()
        };
        let shape = Shape { h_kv: h_q, ..attention.problem.shape };
        let problem = Problem { shape, ..attention.problem };
        let repeated = Attention { problem, k: repeat(&attention.k), v: repeat(&attention.v), ..attention.clone() };
        // Rows that are packed go through another instance.
        let limits = queue().device().limits();
        if plan(&attention.problem, limits).unwrap().pack == 1 {
            prop_assert_eq!(attention.run(), repeated.run());
        } else {
            let agreement = attention.compare(&repeated.run());
            prop_assert!(agreement.passed(), "{}", agreement.report());
        }
    }

    #[test]
    fn a_window_over_everything_equals_none(attention in problems()) {
        let Shape { s_q, s_k, .. } = attention.problem.shape;
        let open = with(&attention, FULL);
        let windows = Options { window_left: Some(s_k - 1), window_right: Some(s_q - 1), ..FULL };
        prop_assert_eq!(open.run(), with(&attention, windows).run());
        let endless = Options { window_left: Some(usize::MAX), window_right: Some(usize::MAX), ..FULL };
        prop_assert_eq!(open.run(), with(&attention, endless).run());
    }

    #[test]
    fn causal_equals_a_right_window_of_0_and_wins_over_another(attention in problems()) {
        let left = attention.options.window_left;
        let causal = Options { window_left: left, ..CAUSAL };
        let results = with(&attention, causal).run();
        prop_assert_eq!(&results, &with(&attention, Options { window_right: Some(7), ..causal }).run());
        let window = Options { causal: false, window_right: Some(0), ..causal };
        prop_assert_eq!(&results, &with(&attention, window).run());
    }

    #[test]
    fn splitting_keys_and_merging_by_lse_equals_one_pass(attention in problems(), cut in 0.0..1.0_f64) {
        let attention = with(&attention, FULL);
        let Shape { s_k, d, .. } = attention.problem.shape;
        let cut = (s_k as f64 * cut) as usize;
        let part = |range: std::ops::Range<usize>| {
            let shape = Shape { s_k: range.len(), ..attention.problem.shape };
            let problem = Problem { shape, ..attention.problem };
            let k = keys_of(&attention, &attention.k, range.clone());
            let v = keys_of(&attention, &attention.v, range);
            Attention { problem, k, v, ..attention.clone() }.run()
        };
        let (left, right) = (part(0..cut), part(cut..s_k));
        let (left_out, right_out, left_lse, right_lse) = (left.out(), right.out(), left.lse(), right.lse());
        let mut merged = attention.run();
        let (mut out, mut lse) = (merged.out(), merged.lse());
        let Shape { b, s_q, h_q, .. } = attention.problem.shape;
        for batch in 0..b {
            for head in 0..h_q {
                for i in 0..s_q {
                    let at = (batch * h_q + head) * s_q + i;
                    let (l, r) = (left_lse[at], right_lse[at]);
                    lse[at] = l.max(r) + ((l - l.max(r)).exp() + (r - l.max(r)).exp()).ln();
                    for element in attention.query_row(batch, i, head) {
                        let weighed = |lse_part: f64, part: f64| (lse_part - lse[at]).exp() * part;
                        out[element] = weighed(l, left_out[element]) + weighed(r, right_out[element]);
                    }
                }
            }
        }
        prop_assert_eq!(out.len(), b * s_q * h_q * d);
        merged.out = HostTensor::from_f64("out", attention.problem.dtype, &merged.out.shape, &out);
        merged.lse = HostTensor::from_f64("lse", DType::F32, &merged.lse.shape, &lse);
        let agreement = attention.compare(&merged);
        prop_assert!(agreement.passed(), "{:?} cut {}: {}", attention.problem, cut, agreement.report());
    }

    #[test]
    fn any_scale_agrees_with_the_reference(attention in problems(), scale in -2.0..2.0_f32) {
        for scale in [scale, 0.0, -0.125] {
            let scaled = with(&attention, Options { scale: Some(scale), ..attention.options });
            let agreement = scaled.compare(&scaled.run());
            prop_assert!(agreement.passed(), "scale {} {:?}: {}", scale, scaled.problem, agreement.report());
        }
    }

    #[test]
    fn doubling_q_equals_doubling_the_scale(attention in problems()) {
        let scale = attention.problem.scale;
        let mut doubled = with(&attention, Options { scale: Some(scale), ..attention.options });
        doubled.q.iter_mut().for_each(|x| *x *= 2.0);
        let scaled = with(&attention, Options { scale: Some(2.0 * scale), ..attention.options });
        // A power of two: no rounding differs but that of the exponent's sum.
        let agreement = scaled.compare(&doubled.run());
        prop_assert!(agreement.passed(), "{:?}: {}", scaled.problem, agreement.report());
    }

    #[test]
    fn results_lie_within_the_values_seen(attention in problems()) {
        let bound = attention.v.iter().fold(0f64, |bound, v| bound.max(v.abs()));
        let results = attention.run();
        // Of f32 the weights' sum is rounded a few times, as fine as the result itself.
        let units = if attention.problem.dtype == F32 { 8.0 } else { 1.0 };
        let limit = bound * (1.0 + units * attention.problem.dtype.epsilon().unwrap());
        prop_assert!(results.out().iter().all(|x| x.abs() <= limit));
    }
}

/// Bits, so that equal means equal for NaN and zeros too.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}
