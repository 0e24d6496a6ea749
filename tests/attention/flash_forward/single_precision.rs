//! Tensors of f32, multiplied by tensor cores in tf32 parts: that the error is that of f32, and what the parts may not
//! change.

use super::*;
use llm_kernels::attention::flash_forward::plan;

/// One head dimension of each instance, and some that fill none.
const HEAD_DIMS: [usize; 5] = [64, 128, 256, 24, 136];

/// Errors of the kernel and of a plain implementation, both against the exact result: root of the mean square, and mean.
#[derive(Debug)]
struct Errors {
    kernel: [f64; 2],
    plain: [f64; 2],
}

fn errors(attention: &Attention) -> Errors {
    let exact = reference(&attention.problem, &attention.inputs()).out;
    let plain = plain(&attention.problem, &attention.inputs()).out;
    let of = |values: &[f64]| {
        let errors: Vec<_> = values.iter().zip(&exact).map(|(value, exact)| value - exact).collect();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        [mean(errors.iter().map(|error| error * error).collect()).sqrt(), mean(errors)]
    };
    Errors { kernel: of(&attention.run().out()), plain: of(&plain) }
}

#[test]
fn errors_are_no_larger_than_those_of_a_plain_loop_in_f32() {
    for d in HEAD_DIMS {
        // At scale 1 scores reach tens, and their own rounding is most of the error.
        for options in [FULL, CAUSAL, Options { scale: Some(1.0), ..FULL }] {
            let errors = errors(&Attention::new(F32, [1, 96, 500, 2, 1, d], options));
            println!("d {d} {options:?}: {errors:?}");
            assert!(errors.kernel[0] <= errors.plain[0], "d {d} {options:?}: {errors:?}");
        }
    }
}

#[test]
fn numbers_rounded_to_tf32_do_not_agree() {
    // What one tensor-core product without the small parts would give at best.
    let exact = Attention::new(F32, [1, 64, 200, 2, 1, 64], FULL);
    let tf32 = |values: &[f64]| -> Vec<f64> {
        values.iter().map(|&x| f64::from(f32::from_bits((x as f32).to_bits() + 0x1000 & 0xffff_e000))).collect()
    };
    let rounded = Attention { q: tf32(&exact.q), k: tf32(&exact.k), v: tf32(&exact.v), ..exact.clone() };
    let results = rounded.assert_agrees();
    assert!(!exact.compare(&results).passed());
}

#[test]
fn long_sums_of_numbers_of_one_sign_do_not_drift() {
    // Tensor cores cut off: summed up in them, 4096 keys would be thousands of units short.
    let mut attention = Attention::new(F32, [1, 64, 4096, 1, 1, 64], FULL);
    attention.q.iter_mut().for_each(|x| *x = x.abs());
    attention.k.iter_mut().for_each(|x| *x = x.abs());
    attention.v = rounded(F32, &attention.v.iter().map(|x| 1.0 + 0.1 * x.abs()).collect::<Vec<_>>());
    attention.assert_agrees();
    let Errors { kernel, .. } = errors(&attention);
    let unit = f64::from(f32::EPSILON);
    assert!(kernel[1].abs() <= 2.0 * unit, "mean error {:e}", kernel[1]);
}

#[test]
fn numbers_of_any_size_from_2_to_the_minus_112_on_agree() {
    for (q, k, v) in [(-60, 60, 0), (60, -60, 90), (0, -30, -100), (-100, 100, -60), (1, -1, 120)] {
        let mut attention = Attention::new(F32, [1, 40, 100, 2, 1, 64], CAUSAL);
        for (values, exponent) in [(&mut attention.q, q), (&mut attention.k, k), (&mut attention.v, v)] {
            values.iter_mut().for_each(|x| *x *= 2f64.powi(exponent));
        }
        attention.assert_agrees();
    }
}

#[test]
fn sizes_around_the_tile_s_agree() {
    for (d, d_v) in [(64, 64), (128, 72), (256, 256), (8, 136)] {
        let plan =
            plan(&Problem::new(F32, shape([1, 1, 1, 1, 1, d.max(d_v)]), &FULL).unwrap(), queue().device().limits());
        let block_n = plan.unwrap().block_n;
        for s_q in [1, 63, 65] {
            for s_k in [0, 1, block_n - 1, block_n, block_n + 1, 3 * block_n + 1] {
                let shape = Shape { b: 1, s_q, s_k, h_q: 1, h_kv: 1, d, d_v };
                let attention = Attention::of_shape(s_k as u64, F32, shape, CAUSAL).with_sinks(vec![0.25]);
                let attention = attention.with_bias(F32, [1, 1], |[_, _, i, j]| (i * 3 + j) as f64 % 4.0);
                attention.with_mask([1, 1], |[_, _, i, j]| (i + j) % 5 != 0).assert_agrees();
            }
        }
    }
}

#[test]
fn any_strides_give_the_same_bits() {
    let attention = Attention::new(F32, [2, 70, 90, 4, 2, 72], CAUSAL);
    let row_major = attention.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    // [b, h, s, d], and gaps of 4 elements after each row.
    let heads_first = |s: usize, h: usize| strided(&[2, s, h, 72], &[h * s * 72, 72, s * 72, 1]);
    let gaps = |s: usize, h: usize| strided(&[2, s, h, 72], &[s * h * 76, h * 76, 76, 1]);
    for [queries, keys] in [[heads_first(70, 4), heads_first(90, 2)], [gaps(70, 4), gaps(90, 2)]] {
        let layouts = Layouts { q: queries, k: keys, v: keys, out: queries };
        assert_eq!(attention.run_in(layouts).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn a_nan_reaches_what_it_reaches_in_16_bits() {
    let clean = Attention::new(F32, [1, 100, 100, 2, 1, 64], CAUSAL);
    let before = clean.run().out();
    let rows_of_nan = |attention: &Attention| -> Vec<(usize, usize)> {
        let after = attention.run().out();
        let every = (0..100).flat_map(|i| [(i, 0), (i, 1)]);
        let changed = every.filter(|&(i, head)| {
            let row = clean.query_row(0, i, head);
            let same = row.clone().all(|at| after[at].to_bits() == before[at].to_bits());
            assert!(same || after[row].iter().all(|x| x.is_nan()), "row {i} of head {head}");
            !same
        });
        changed.collect()
    };
    let mut query = clean.clone();
    query.q[clean.query_row(0, 77, 1).start + 5] = f64::NAN;
    assert_eq!(rows_of_nan(&query), [(77, 1)]);
    let mut key = clean.clone();
    key.k[clean.key_row(0, 90, 0).start + 63] = f64::NAN;
    assert_eq!(rows_of_nan(&key), (90..100).flat_map(|i| [(i, 0), (i, 1)]).collect::<Vec<_>>());
}

#[test]
fn an_infinite_number_is_seen_in_the_result() {
    // The parts of an infinity are inf and inf - inf, so that NaN comes of it, never a finite number.
    let mut attention = Attention::new(F32, [1, 20, 40, 1, 1, 64], FULL);
    let element = attention.key_row(0, 7, 0).start + 9;
    attention.v[element] = f64::INFINITY;
    for (at, x) in attention.run().out().iter().enumerate() {
        assert_eq!(x.is_finite(), at % 64 != 9, "element {at} is {x}");
    }
    let mut attention = Attention::new(F32, [1, 20, 40, 1, 1, 64], FULL);
    attention.k[element] = f64::INFINITY;
    assert!(attention.run().out().iter().all(|x| x.is_nan()));
    // A score of minus infinity that the bias makes weighs nothing.
    let attention = Attention::new(F32, [1, 20, 40, 1, 1, 64], FULL);
    attention
        .with_bias(F32, [1, 1], |[_, _, i, j]| if (i + j) % 3 == 0 { f64::NEG_INFINITY } else { 0.5 })
        .assert_agrees();
}
