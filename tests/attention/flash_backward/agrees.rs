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
    let forward = flash_forward::reference::reference(&attention.problem, &attention.forward.inputs());
    (attention.out, attention.lse) = (forward.out, forward.lse);
    let gradients = reference(&attention.problem, &attention.inputs());
    (attention, gradients)
}

/// Every feature at once, or none.
fn small(options: Options, sizes: [usize; 6], features: bool) -> Attention {
    let forward = Forward::of_shape(0, F16, Shape { d_v: 16, ..shape(sizes) }, options);
    let (b, h_q) = (sizes[0], sizes[3]);
    if !features {
        return Attention::of(0, forward);
    }
    let forward = forward
        .with_sinks(random::normal(7, h_q))
        .with_alibi((0..h_q).map(|head| 0.3 / (head + 1) as f64).collect())
        .with_bias(F32, [1, h_q], |[_, head, i, j]| ((head * 5 + i * 3 + j * 7) % 11) as f64 / 4.0 - 1.0)
        .with_mask([b, 1], |[batch, _, i, j]| (batch + 2 * i + j) % 5 != 0)
        .with_prefix(vec![2; b]);
    Attention::of(0, forward)
}

#[test]
fn the_reference_is_the_slope_of_the_forward_reference() {
    let both = Options { window_left: Some(3), window_right: Some(2), scale: Some(-0.3), ..FULL };
    let all = Options { softcap: Some(1.5), dropout_p: 0.3, dropout_seed: 5, ..both };
    for (options, sizes, features) in [
        (FULL, [1, 4, 5, 2, 1, 24], false),
        (CAUSAL, [2, 5, 7, 2, 2, 24], false),
        (CAUSAL, [1, 7, 4, 2, 1, 24], true),
        (both, [1, 9, 8, 4, 2, 24], false),
        (all, [2, 9, 8, 4, 2, 24], true),
        (Options { causal: true, ..all }, [2, 6, 9, 2, 2, 24], true),
    ] {
        let (attention, gradients) = exact(small(options, sizes, features));
        // The loss whose gradient with respect to out is d_out.
        let loss = |forward: &Forward| -> f64 {
            let out = flash_forward::reference::reference(&forward.problem, &forward.inputs()).out;
            out.iter().zip(&attention.d_out).map(|(x, y)| x * y).sum()
        };
        let step = 1e-5;
        let tensors: [fn(&mut Forward) -> &mut Vec<f64>; 5] =
            [|t| &mut t.q, |t| &mut t.k, |t| &mut t.v, |t| &mut t.extras.sinks, |t| &mut t.extras.bias];
        let slope = |tensor: usize, index: usize| {
            let at = |x: f64| {
                let mut forward = attention.forward.clone();
                tensors[tensor](&mut forward)[index] += x;
                loss(&forward)
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        let Gradients { d_q, d_k, d_v, d_sinks, d_bias } = &gradients;
        for (tensor, gradient) in [d_q, d_k, d_v, d_sinks, d_bias].into_iter().enumerate() {
            for index in (0..gradient.len()).step_by(if tensor < 3 { 13 } else { 1 }) {
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
    let tensor = |name, [s, h]: [usize; 2], values: &[f64]| HostTensor::from_f64(name, F16, &[1, s, h, 64], values);
    let results = |gradients: &Gradients| {
        let Gradients { d_q, d_k, d_v, .. } = gradients;
        Results::plain(tensor("d_q", [16, 2], d_q), tensor("d_k", [32, 1], d_k), tensor("d_v", [32, 1], d_v))
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

#[test]
fn every_instance_agrees() {
    let mut instances = std::collections::BTreeSet::new();
    for dtype in [F16, BF16, F32] {
        for d in [64, 128, 256] {
            for features in [false, true] {
                let forward = Forward::of_shape(d as u64, dtype, shape([1, 50, 70, 2, 1, d]), CAUSAL);
                let forward = if features { forward.with_alibi(vec![0.5, 0.1]) } else { forward };
                let attention = Attention::of(1, forward);
                instances.insert(attention.plan().main.unwrap().instance);
                attention.assert_agrees();
            }
        }
    }
    assert_eq!(instances.len(), 15, "{instances:?}");
}

#[test]
fn every_instance_agrees_on_chips_with_99_and_with_227_kb_of_shared_memory() {
    if !queue().device().is_software() {
        eprintln!("not run: {} is a GPU, the chips are those of softcuda", queue().device().name());
        return;
    }
    for (chip, bytes) in [("sm_89", 99 * 1024), ("sm_90", 227 * 1024)] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact", "flash_backward::agrees::every_instance_agrees"])
            .arg("flash_backward::agrees::the_shared_memory_of_a_block_is_that_of_the_chip")
            .env("LLM_KERNELS_DEVICE", format!("software:{chip}"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("2 passed"), "{chip}: {text}");
        assert!(text.contains(&format!("{bytes} bytes a block")), "{chip}: {text}");
    }
}

#[test]
fn the_shared_memory_of_a_block_is_that_of_the_chip() {
    let limits = queue().device().limits();
    println!("{} bytes a block", limits.shared_bytes_per_block);
    assert!(limits.shared_bytes_per_block >= 99 * 1024);
}
