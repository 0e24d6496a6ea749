//! Against the reference, and the reference against differences of the forward pass.

use super::*;
use llm_kernels::scan::linear_recurrence_backward::reference::sum_over_steps;

#[test]
fn every_case_of_check_agrees() {
    crate::assert_checks("scan/linear_recurrence_backward");
}

#[test]
fn every_decay_agrees_in_both_types_at_every_width_of_instance() {
    for decay in DECAYS {
        for dtype in [F16, BF16] {
            for (d_k, d_v) in [(64, 64), (128, 32), (16, 144)] {
                Gradients::new(dtype, [1, 40, 1, 2, d_k, d_v], decay, PLAIN).assert_agrees();
            }
        }
    }
}

#[test]
fn every_feature_map_and_the_normaliser_agree_with_every_decay_in_both_types() {
    for decay in DECAYS {
        for (i, (feature_map, normaliser)) in
            MAPS.into_iter().flat_map(|map| [(map, None), (map, Some(1e-2))]).enumerate().skip(1)
        {
            let (dtype, (d_k, d_v)) = ([F16, BF16][i % 2], [(32, 48), (64, 64), (128, 32), (16, 144)][i % 4]);
            let options = Options { feature_map, normaliser, ..PLAIN };
            Gradients::new(dtype, [1, 70, 1, 2, d_k, d_v], decay, options).positive().assert_agrees();
        }
    }
}

/// The loss that the gradients are of: `sum out d_out + sum S_T d_final_state + sum z_T d_final_normaliser`.
fn loss(call: &Gradients) -> f64 {
    let output = forward_of(call);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let sums = if call.d_final_normaliser.is_empty() { 0.0 } else { dot(&output.normaliser, &call.d_final_normaliser) };
    dot(&output.out, &call.d_out) + dot(&output.state, &call.d_final_state) + sums
}

/// What the forward pass gives, in double precision.
pub(super) fn forward_of(call: &Gradients) -> forward::Output {
    let inputs = forward::Inputs {
        q: &call.q,
        k: &call.k,
        v: &call.v,
        decay: &call.decay,
        initial_state: &call.initial_state,
        initial_normaliser: &call.initial_normaliser,
        cu_seqlens: &[],
    };
    forward::reference(&call.problem.forward, &inputs)
}

#[test]
fn the_reference_is_the_slope_of_the_forward_reference() {
    const STEP: f64 = 1e-5;
    let options = MAPS
        .into_iter()
        .flat_map(|feature_map| [None, Some(0.5)].map(|normaliser| Options { feature_map, normaliser, ..PLAIN }));
    for (decay, options) in DECAYS.into_iter().flat_map(|decay| options.clone().map(move |options| (decay, options))) {
        let call = Gradients::new(F16, [1, 12, 1, 2, 16, 16], decay, options).positive();
        let exact = reference(&call.problem, &call.inputs());
        let d_decay = match decay {
            Some(DecayKind::Heads) => sum_over_steps(&call.problem, &exact),
            _ => exact.d_decay.clone(),
        };
        let slope = |change: &dyn Fn(&mut Gradients, f64)| {
            let at = |distance| {
                let mut changed = call.clone();
                change(&mut changed, distance);
                loss(&changed)
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        };
        let close = |name: &str, i: usize, slope: f64, gradient: f64| {
            assert!((slope - gradient).abs() <= 1e-6 * (1.0 + gradient.abs()), "{name}[{i}]: {slope}, {gradient}");
        };
        for i in (0..call.q.len()).step_by(13) {
            close("d_q", i, slope(&|call, by| call.q[i] += by), exact.d_q[i]);
            close("d_k", i, slope(&|call, by| call.k[i] += by), exact.d_k[i]);
        }
        for i in (0..call.v.len()).step_by(17) {
            close("d_v", i, slope(&|call, by| call.v[i] += by), exact.d_v[i]);
        }
        for i in (0..call.initial_state.len()).step_by(37) {
            close("d_initial_state", i, slope(&|call, by| call.initial_state[i] += by), exact.d_initial_state[i]);
        }
        for i in (0..call.decay.len()).step_by(if call.decay.len() > 24 { 11 } else { 1 }) {
            close("d_decay", i, slope(&|call, by| call.decay[i] += by), d_decay[i]);
        }
        for i in 0..call.initial_normaliser.len() {
            let slope = slope(&|call, by| call.initial_normaliser[i] += by);
            close("d_initial_normaliser", i, slope, exact.d_initial_normaliser[i]);
        }
    }
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    let call = Gradients::new(F16, [1, 40, 1, 1, 32, 32], Some(DecayKind::Steps), PLAIN);
    let (exact, plain) = (reference(&call.problem, &call.inputs()), plain(&call.problem, &call.inputs()));
    let given = call.assert_agrees();
    for output in 0..given.len() {
        for wrong in [20.0, f64::NAN] {
            let mut changed = given.clone();
            let mut values = given[output].to_f64();
            values[7] += wrong;
            changed[output] =
                HostTensor::from_f64(&given[output].name, given[output].dtype, &given[output].shape, &values);
            let seen = std::panic::catch_unwind(|| call.assert_close(&changed, &exact, &plain)).is_err();
            assert!(seen, "output {output} off by {wrong}");
        }
    }
}
