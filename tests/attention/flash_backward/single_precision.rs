//! Tensors of f32, multiplied by tensor cores in tf32 parts: that the error is that of f32, and what the parts may not
//! change.

use super::*;

/// One head dimension of each instance, and some that fill none.
const HEAD_DIMS: [usize; 6] = [64, 128, 256, 24, 96, 136];

/// Root mean square of the errors of d_q, d_k and d_v against the exact gradients: of the kernel, and of a plain loop.
fn errors(attention: &Attention) -> [[f64; 2]; 3] {
    let exact = reference(&attention.problem, &attention.inputs());
    let plain = plain(&attention.problem, &attention.inputs());
    let got = attention.run().gradients();
    let root_mean_square = |values: &[f64], exact: &[f64]| {
        let sum: f64 = values.iter().zip(exact).map(|(value, exact)| (value - exact).powi(2)).sum();
        (sum / values.len() as f64).sqrt()
    };
    [(exact.d_q, plain.d_q, got.d_q), (exact.d_k, plain.d_k, got.d_k), (exact.d_v, plain.d_v, got.d_v)]
        .map(|(exact, plain, got)| [root_mean_square(&got, &exact), root_mean_square(&plain, &exact)])
}

#[test]
fn errors_are_no_larger_than_those_of_a_plain_loop_in_f32() {
    // Of short sums (24 products) and large scores the parts' own error shows: up to 2 % more was seen.
    let factor = |d: usize| if d < 64 { 1.05 } else { 1.0 };
    for d in HEAD_DIMS {
        for options in [FULL, CAUSAL, Options { scale: Some(1.0), ..FULL }] {
            let errors = errors(&Attention::new(F32, [1, 96, 300, 2, 1, d], options));
            println!("d {d} {options:?}: {:?}", errors.map(|errors| errors.map(|error| format!("{error:.2e}"))));
            for ([kernel, plain], name) in errors.into_iter().zip(["d_q", "d_k", "d_v"]) {
                assert!(kernel <= factor(d) * plain, "d {d} {options:?} {name}: {kernel:e}, plain {plain:e}");
            }
        }
    }
}

#[test]
fn numbers_rounded_to_tf32_do_not_agree() {
    // What one tensor-core product without the small parts would give at best.
    let exact = Attention::new(F32, [1, 64, 100, 2, 1, 64], FULL);
    let tf32 = |values: &[f64]| -> Vec<f64> {
        values.iter().map(|&x| f64::from(f32::from_bits((x as f32).to_bits() + 0x1000 & 0xffff_e000))).collect()
    };
    let forward = Forward { q: tf32(&exact.q), k: tf32(&exact.k), v: tf32(&exact.v), ..exact.forward.clone() };
    let rounded = Attention { forward, d_out: tf32(&exact.d_out), ..exact.clone() };
    assert!(!exact.compare(&rounded.run()).passed());
    exact.assert_agrees();
}

#[test]
fn gradients_are_the_slope_of_the_forward_reference() {
    for (sizes, options) in [
        ([1, 40, 50, 2, 1, 64], CAUSAL),
        ([1, 35, 20, 1, 1, 128], Options { softcap: Some(2.0), ..FULL }),
        ([1, 20, 40, 1, 1, 256], Options { dropout_p: 0.2, dropout_seed: 3, ..FULL }),
    ] {
        let attention = Attention::new(F32, sizes, options);
        let gradients = attention.run().gradients();
        let loss = |forward: &Forward| -> f64 {
            let out = flash_forward::reference::reference(&forward.problem, &forward.inputs()).out;
            out.iter().zip(&attention.d_out).map(|(out, d_out)| out * d_out).sum()
        };
        let tensors: [fn(&mut Forward) -> &mut Vec<f64>; 3] = [|t| &mut t.q, |t| &mut t.k, |t| &mut t.v];
        for (tensor, gradient) in [&gradients.d_q, &gradients.d_k, &gradients.d_v].into_iter().enumerate() {
            for index in (5..gradient.len()).step_by(gradient.len() / 6) {
                let at = |x: f64| {
                    let mut forward = attention.forward.clone();
                    tensors[tensor](&mut forward)[index] += x;
                    loss(&forward)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                let error = (gradient[index] - slope).abs();
                assert!(error <= 3e-6 * (1.0 + slope.abs()), "{sizes:?} {tensor} {index}: {error:e} of {slope}");
            }
        }
    }
}

#[test]
fn long_sums_of_numbers_of_one_sign_do_not_drift() {
    // Tensor cores cut off: summed up in them, thousands of terms would be thousands of units short.
    for [s_q, s_k] in [[2048, 64], [32, 2048]] {
        let mut attention = Attention::new(F32, [1, s_q, s_k, 1, 1, 64], FULL);
        let near_1: Vec<f64> = attention.d_out.iter().map(|x| 1.0 + 0.1 * x.abs()).collect();
        attention.d_out = rounded(F32, &near_1);
        attention.set_results();
        attention.assert_agrees();
        let exact = reference(&attention.problem, &attention.inputs()).d_v;
        let got = attention.run().gradients().d_v;
        let relative: f64 = got.iter().zip(&exact).map(|(got, exact)| got / exact - 1.0).sum();
        let mean = relative / exact.len() as f64;
        assert!(mean.abs() <= 2.0 * f64::from(f32::EPSILON), "{s_q} queries: mean relative error {mean:e}");
    }
}

#[test]
fn numbers_of_any_size_agree() {
    for (q, k, v, d_out) in [(-60, 60, 0, 0), (30, -30, 60, -60), (0, -30, -40, -40), (-20, 20, -60, 100)] {
        let mut attention = Attention::new(F32, [1, 40, 50, 2, 1, 64], CAUSAL);
        let Attention { forward, d_out: gradient, .. } = &mut attention;
        for (values, exponent) in [(&mut forward.q, q), (&mut forward.k, k), (&mut forward.v, v), (gradient, d_out)] {
            values.iter_mut().for_each(|x| *x *= 2f64.powi(exponent));
        }
        attention.set_results();
        attention.assert_agrees();
    }
}

#[test]
fn sizes_around_the_tile_s_agree() {
    for (d, d_v, block_n) in [(64, 64, 64), (128, 72, 32), (256, 256, 16), (8, 136, 16)] {
        let shape = |s_q, s_k| Shape { b: 1, s_q, s_k, h_q: 1, h_kv: 1, d, d_v };
        let problem = Problem::new(F32, shape(1, 1), &FULL).unwrap();
        assert_eq!(plain_plan(&problem, queue().device().limits()).unwrap().block_n, block_n);
        for s_q in [0, 1, 31, 33] {
            for s_k in [0, 1, block_n - 1, block_n, block_n + 1] {
                let forward = Forward::of_shape(s_k as u64, F32, shape(s_q, s_k), CAUSAL).with_sinks(vec![0.25]);
                let forward = forward.with_bias(F32, [1, 1], |[_, _, i, j]| (i * 3 + j) as f64 % 4.0);
                Attention::of(1, forward.with_mask([1, 1], |[_, _, i, j]| (i + j) % 5 != 0)).assert_agrees();
            }
        }
    }
}

#[test]
fn any_strides_give_the_same_bits() {
    let attention = Attention::new(F32, [2, 40, 50, 4, 2, 72], CAUSAL);
    let row_major = attention.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    // [b, h, s, d], and gaps of 4 elements after each row.
    let heads_first = |s: usize, h: usize| strided(&[2, s, h, 72], &[h * s * 72, 72, s * 72, 1]);
    let gaps = |s: usize, h: usize| strided(&[2, s, h, 72], &[s * h * 76, h * 76, 76, 1]);
    for [q, k] in [[heads_first(40, 4), heads_first(50, 2)], [gaps(40, 4), gaps(50, 2)]] {
        let layouts = Layouts { q, k, v: k, out: q, d_out: q, d_q: q, d_k: k, d_v: k };
        assert_eq!(attention.run_in(layouts).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn a_nan_or_an_infinity_is_seen_in_the_gradients_of_its_query() {
    // The parts of an infinity are inf and inf - inf, so that NaN comes of it, never a finite number.
    for wrong in [f64::NAN, f64::INFINITY] {
        let clean = Attention::new(F32, [1, 60, 60, 2, 1, 64], CAUSAL);
        let before = clean.run().gradients();
        let mut attention = clean.clone();
        let row = attention.query_row(0, 37, 1);
        attention.d_out[row.start + 5] = wrong;
        let after = attention.run().gradients();
        assert!(after.d_q[row.clone()].iter().all(|x| x.is_nan()), "{wrong}");
        for (i, head) in (0..60).flat_map(|i| [(i, 0), (i, 1)]).filter(|&at| at != (37, 1)) {
            let row = clean.query_row(0, i, head);
            assert_eq!(before.d_q[row.clone()], after.d_q[row], "{wrong}: query {i} of head {head}");
        }
        assert!((0..=37).all(|j| after.d_k[clean.key_row(0, j, 0)].iter().all(|x| x.is_nan())), "{wrong}");
    }
}
