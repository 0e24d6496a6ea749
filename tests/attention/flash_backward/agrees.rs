//! With the reference, which agrees with finite differences of the forward pass.

use super::*;
use llm_kernels::verify::{self, Bindings, Op};

fn op() -> &'static Op {
    verify::select(Some("attention/flash_backward"))[0]
}

#[test]
fn every_case_of_check_agrees() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    for case in op().check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op().check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

/// With the exact results of the forward pass, not rounded.
fn exact(mut attention: Attention) -> (Attention, Gradients) {
    let forward = flash_forward::reference::reference(&attention.problem, &attention.inputs().forward());
    (attention.out, attention.lse) = (forward.out, forward.lse);
    let gradients = reference(&attention.problem, &attention.inputs());
    (attention, gradients)
}

#[test]
fn the_reference_is_the_slope_of_the_forward_reference() {
    let both = Options { window_left: Some(3), window_right: Some(2), scale: Some(-0.3), ..FULL };
    for (options, sizes) in [
        (FULL, [1, 4, 5, 2, 1, 64]),
        (CAUSAL, [2, 5, 7, 2, 2, 64]),
        (CAUSAL, [1, 7, 4, 2, 1, 64]),
        (both, [1, 9, 8, 4, 2, 64]),
    ] {
        let (attention, gradients) = exact(Attention::new(F16, sizes, options));
        // The loss whose gradient with respect to out is d_out.
        let loss = |q: &[f64], k: &[f64], v: &[f64]| -> f64 {
            let inputs = flash_forward::reference::Inputs { q, k, v, ..Default::default() };
            let out = flash_forward::reference::reference(&attention.problem, &inputs).out;
            out.iter().zip(&attention.d_out).map(|(x, y)| x * y).sum()
        };
        let step = 1e-5;
        let slope = |tensor: usize, index: usize| {
            let at = |x: f64| {
                let mut inputs = [attention.q.clone(), attention.k.clone(), attention.v.clone()];
                inputs[tensor][index] += x;
                loss(&inputs[0], &inputs[1], &inputs[2])
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        for (tensor, gradient) in [&gradients.d_q, &gradients.d_k, &gradients.d_v].into_iter().enumerate() {
            for index in (0..gradient.len()).step_by(29) {
                let (expected, got) = (slope(tensor, index), gradient[index]);
                assert!((got - expected).abs() <= 1e-8 * (1.0 + expected.abs()), "{tensor} {index}: {got} {expected}");
            }
        }
    }
}

#[test]
fn the_plain_gradients_are_near_the_reference() {
    for dtype in [F16, BF16] {
        let attention = Attention::new(dtype, [1, 40, 50, 4, 2, 64], CAUSAL);
        let (exact, plain) =
            (reference(&attention.problem, &attention.inputs()), plain(&attention.problem, &attention.inputs()));
        for (exact, plain) in [(exact.d_q, plain.d_q), (exact.d_k, plain.d_k), (exact.d_v, plain.d_v)] {
            let scale = exact.iter().fold(0f64, |a, b| a.max(b.abs()));
            let error = exact.iter().zip(&plain).fold(0f64, |a, (x, y)| a.max((x - y).abs()));
            assert!(error > 0.0 && error <= 2.0 * dtype.epsilon().unwrap() * scale, "{error} {scale}");
        }
    }
}

#[test]
fn gradients_of_the_forward_kernel_s_results_are_near_the_exact_ones() {
    // Rounding `out` adds to delta's error: of the whole tensor, three times the plain implementation's again.
    let attention = Attention::new(F16, [1, 150, 150, 4, 2, 64], CAUSAL);
    let results = attention.run().gradients();
    let (_, gradients) = exact(attention.clone());
    let plain = plain(&attention.problem, &attention.inputs());
    for (got, (exact, plain)) in [results.d_q, results.d_k, results.d_v].iter().zip([
        (gradients.d_q, plain.d_q),
        (gradients.d_k, plain.d_k),
        (gradients.d_v, plain.d_v),
    ]) {
        let error = |values: &[f64]| exact.iter().zip(values).fold(0f64, |a, (x, y)| a.max((x - y).abs()));
        assert!(error(got) <= 3.0 * error(&plain), "{} {}", error(got), error(&plain));
    }
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    let attention = Attention::new(F16, [1, 16, 32, 2, 1, 64], CAUSAL);
    let exact = reference(&attention.problem, &attention.inputs());
    let plain = plain(&attention.problem, &attention.inputs());
    let results = |gradients: &Gradients| Results {
        d_q: HostTensor::from_f64("d_q", F16, &[1, 16, 2, 64], &gradients.d_q),
        d_k: HostTensor::from_f64("d_k", F16, &[1, 32, 1, 64], &gradients.d_k),
        d_v: HostTensor::from_f64("d_v", F16, &[1, 32, 1, 64], &gradients.d_v),
    };
    assert!(attention.compare_with(&results(&exact), &exact, &plain).passed());
    for wrong in [0.03, f64::NAN, f64::INFINITY] {
        for tensor in 0..3 {
            let mut changed = exact.clone();
            [&mut changed.d_q, &mut changed.d_k, &mut changed.d_v][tensor][777] += wrong;
            let agreement = attention.compare_with(&results(&changed), &exact, &plain);
            assert!(!agreement.passed(), "gradient {tensor} off by {wrong}");
        }
    }
}

#[test]
fn by_name_out_and_lse_may_be_given_or_left_out() {
    let attention = Attention::new(F16, [1, 40, 40, 2, 1, 64], CAUSAL);
    let expected = attention.run();
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let tensor = |name, dtype, shape: &[usize], values: &[f64]| HostTensor::from_f64(name, dtype, shape, values);
    let inputs = [
        tensor("q", F16, &[1, 40, 2, 64], &attention.q),
        tensor("k", F16, &[1, 40, 1, 64], &attention.k),
        tensor("v", F16, &[1, 40, 1, 64], &attention.v),
        tensor("d_out", F16, &[1, 40, 2, 64], &attention.d_out),
    ];
    let out = tensor("out", F16, &[1, 40, 2, 64], &attention.out);
    let lse = tensor("lse", F32, &[1, 2, 40], &attention.lse);
    let bindings = |more: &[&HostTensor]| {
        let tensors = inputs.iter().chain(more.iter().copied()).cloned().collect();
        Bindings::new(op(), tensors, &[("causal", "true")]).unwrap()
    };
    let given = op().run(queue(), &bindings(&[&out, &lse])).unwrap();
    assert_eq!(given, [expected.d_q, expected.d_k, expected.d_v]);
    assert!(op().run_and_compare(queue(), &bindings(&[])).unwrap().agreement.passed());
    let error = op().run(queue(), &bindings(&[&lse])).unwrap_err().to_string();
    assert_eq!(error, "attention/flash_backward: out and lse come together, or not at all");
}
