//! Against the reference, against another way of writing it, and the reference against one by hand.

use super::*;
use llm_kernels::scan::linear_recurrence::{lightning_log_decays, retention_log_decays};

#[test]
fn every_case_of_check_agrees() {
    crate::assert_checks("scan/linear_recurrence");
}

#[test]
fn the_reference_is_the_recurrence_by_hand() {
    // One head, 16 channels of which the first counts, values 1, 2, 4; decay 1/2; scale 2; keys 1, queries 1, 3, 5.
    let options = Options { scale: Some(2.0), normaliser: Some(1.0), ..PLAIN };
    let mut call = Recurrence::new(BF16, [1, 3, 1, 1, 16, 16], Some(DecayKind::Heads), options);
    call.decay = vec![0.5f64.ln()];
    for values in [&mut call.q, &mut call.k, &mut call.v] {
        values.fill(0.0);
    }
    for (step, (q, v)) in [(1.0, 1.0), (3.0, 2.0), (5.0, 4.0)].into_iter().enumerate() {
        (call.q[step * 16], call.k[step * 16], call.v[step * 16 + 5]) = (q, 1.0, v);
    }
    // S: 1, 2.5, 5.25; z: 1, 1.5, 1.75.
    let expected = [2.0 / 3.0, 15.0 / 10.0, 52.5 / 18.5];
    let exact = reference(&call.problem, &call.inputs());
    for (step, expected) in expected.into_iter().enumerate() {
        assert!((exact.out[step * 16 + 5] - expected).abs() < 1e-12, "{step}: {}", exact.out[step * 16 + 5]);
    }
    assert!((exact.state[5] - 5.25).abs() < 1e-12 && (exact.normaliser[0] - 1.75).abs() < 1e-12);
    call.assert_agrees();
}

#[test]
fn it_is_attention_without_a_softmax() {
    // The quadratic form: out_i = scale sum over j <= i of exp(c_i - c_j) (q_i k_j) v_j.
    let call = Recurrence::new(F16, [1, 90, 1, 1, 32, 16], Some(DecayKind::Channels), PLAIN);
    let mut sums = call.decay.clone();
    for i in 32..sums.len() {
        sums[i] += sums[i - 32];
    }
    let exact = reference(&call.problem, &call.inputs());
    for i in 0..90 {
        for column in 0..16 {
            let mut out = 0.0;
            for j in 0..=i {
                let weights = (0..32)
                    .map(|c| call.q[i * 32 + c] * call.k[j * 32 + c] * (sums[i * 32 + c] - sums[j * 32 + c]).exp());
                out += weights.sum::<f64>() * call.v[j * 16 + column];
            }
            out *= f64::from(call.problem.scale);
            assert!((out - exact.out[i * 16 + column]).abs() < 1e-9, "step {i}, column {column}");
        }
    }
}

#[test]
fn every_decay_agrees_in_both_types_at_every_width_of_instance() {
    for decay in DECAYS {
        for dtype in [F16, BF16] {
            for (d_k, d_v) in [(64, 64), (128, 128), (256, 64), (32, 256), (144, 112)] {
                Recurrence::new(dtype, [1, 70, 1, 2, d_k, d_v], decay, PLAIN).with_state().assert_agrees();
            }
        }
    }
}

#[test]
fn every_feature_map_agrees_with_a_normaliser_and_every_decay() {
    for feature_map in [FeatureMap::EluPlusOne, FeatureMap::Relu, FeatureMap::Exp] {
        for decay in DECAYS {
            let options = Options { feature_map, normaliser: Some(1e-3), ..PLAIN };
            Recurrence::new(BF16, [1, 100, 1, 2, 64, 80], decay, options).with_state().assert_agrees();
        }
    }
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    let call = Recurrence::new(F16, [1, 40, 1, 1, 64, 64], None, PLAIN);
    let given = call.assert_agrees();
    let (exact, plain) = (reference(&call.problem, &call.inputs()), plain(&call.problem, &call.inputs()));
    for wrong in [1.0, f64::NAN, f64::INFINITY] {
        let mut out = given.out.to_f64();
        out[777] += wrong;
        let changed = HostTensor::from_f64("out", F16, &given.out.shape, &out);
        assert!(!compare(&changed, &exact.out, &plain.out, Tolerance::values(F16)).passed(), "off by {wrong}");
        let mut state = given.state.to_f64();
        state[777] += wrong;
        let changed = HostTensor::from_f64("final_state", F32, &given.state.shape, &state);
        assert!(
            !compare(&changed, &exact.state, &plain.state, Tolerance::sums_of_rounded(F16)).passed(),
            "off by {wrong}"
        );
    }
}

#[test]
fn named_decays_are_those_of_their_papers() {
    let retention = retention_log_decays(3);
    for (head, decay) in retention.iter().enumerate() {
        assert!((f64::from(*decay).exp() - (1.0 - 2f64.powi(-5 - head as i32))).abs() < 1e-7);
    }
    // ALiBi's slopes of 8 heads are 1/2, 1/4, ...; the last layer has almost none.
    let first = lightning_log_decays(8, 0, 24);
    assert!((first[0] + 0.5).abs() < 1e-4 && (first[1] + 0.25).abs() < 1e-4);
    assert!(lightning_log_decays(8, 23, 24)[0].abs() < 1e-4);
}
