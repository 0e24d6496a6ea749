//! What must hold for any input, tried on made-up ones.

use super::*;
use agrees::forward_of;
use llm_kernels::scan::linear_recurrence_backward::reference::sum_over_steps;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn problems() -> impl Strategy<Value = Gradients> {
    let sizes = (1..3_usize, 1..90_usize, 1..3_usize, 1..3_usize, 1..5_usize, 1..5_usize);
    let chunks = prop_oneof![Just(None), Just(Some(64))];
    let normalisers = prop_oneof![Just(None), Just(Some(1e-2))];
    (any::<u64>(), any::<bool>(), 0..4_usize, sizes, chunks, 0..4_usize, normalisers).prop_map(
        |(seed, half, decay, (b, s, h_k, group, d_k, d_v), chunk, map, normaliser)| {
            let options = Options { chunk, feature_map: MAPS[map], normaliser, ..PLAIN };
            let shape = Shape { h_k, h: h_k * group, d_k: d_k * 16, d_v: d_v * 16 };
            let (dtype, sequences) = (if half { F16 } else { BF16 }, SequenceSizes::uniform(b, s));
            Gradients::seeded(seed >> 8, dtype, sequences, shape, DECAYS[decay], options).positive()
        },
    )
}

proptest! {
    #![proptest_config(Config { cases: 12, failure_persistence: None, max_shrink_iters: 10, ..Config::default() })]

    #[test]
    fn any_problem_agrees(call in problems()) {
        call.assert_agrees();
    }
}

#[test]
fn the_chunk_does_not_change_the_result_beyond_the_tolerance() {
    for decay in DECAYS {
        for (chunk, options) in [64, 128, 256].into_iter().flat_map(|chunk| [(chunk, PLAIN), (chunk, LINEAR)]) {
            let options = Options { chunk: Some(chunk), ..options };
            Gradients::new(BF16, [1, 200, 1, 2, 32, 48], decay, options).assert_agrees();
        }
    }
}

/// The largest error of the gradients of decays.
fn error_of_decays(call: &Gradients) -> f64 {
    let exact = reference(&call.problem, &call.inputs());
    let heads = call.problem.forward.decay == Some(DecayKind::Heads);
    let exact = if heads { sum_over_steps(&call.problem, &exact) } else { exact.d_decay };
    call.run()[4].to_f64().iter().zip(&exact).map(|(got, exact)| (got - exact).abs()).fold(0.0, f64::max)
}

#[test]
fn errors_of_decays_gradients_do_not_add_up_beyond_a_chunk() {
    for decay in [DecayKind::Heads, DecayKind::Steps] {
        let of_chunk = |chunk| {
            let mut call =
                Gradients::new(BF16, [1, 1500, 1, 1, 32, 32], Some(decay), Options { chunk: Some(chunk), ..PLAIN });
            call.decay.fill(rounded(F32, &[-0.03])[0]);
            error_of_decays(&call)
        };
        let (chunks, whole) = (of_chunk(64), of_chunk(2048));
        eprintln!("{decay:?}: {chunks:.3} for {whole:.3} in one chunk");
        assert!(2.5 * chunks <= whole, "{decay:?}: {chunks} for {whole}");
    }
}

#[test]
fn two_halves_with_the_gradients_of_the_state_between_are_the_whole() {
    for (decay, options) in DECAYS.into_iter().flat_map(|decay| [(decay, PLAIN), (decay, LINEAR)]) {
        let whole = Gradients::new(F16, [1, 100, 1, 2, 32, 48], decay, options);
        let part = |begin: usize, end: usize| {
            let rows = |values: &[f64]| {
                let width = values.len() / 100;
                values[begin * width..end * width].to_vec()
            };
            let mut part = Gradients::new(F16, [1, end - begin, 1, 2, 32, 48], decay, options);
            (part.q, part.k, part.v, part.d_out) = (rows(&whole.q), rows(&whole.k), rows(&whole.v), rows(&whole.d_out));
            part.decay = if decay == Some(DecayKind::Heads) { whole.decay.clone() } else { rows(&whole.decay) };
            (part.initial_state, part.d_final_state) = (whole.initial_state.clone(), whole.d_final_state.clone());
            (part.initial_normaliser, part.d_final_normaliser) =
                (whole.initial_normaliser.clone(), whole.d_final_normaliser.clone());
            part
        };
        let (mut first, mut second) = (part(0, 37), part(37, 100));
        let between = forward_of(&first);
        second.initial_state = rounded(F32, &between.state);
        if options.normaliser.is_some() {
            second.initial_normaliser = rounded(F32, &between.normaliser);
        }
        let end = second.run();
        first.d_final_state = end[3].to_f64();
        if options.normaliser.is_some() {
            first.d_final_normaliser = end[end.len() - 1].to_f64();
        }
        let begin = first.run();
        let joined = begin.iter().zip(&end).map(|(begin, end)| {
            let values = match begin.name.as_str() {
                "d_initial_state" | "d_initial_normaliser" => return begin.clone(),
                "d_decay" if decay == Some(DecayKind::Heads) => {
                    begin.to_f64().iter().zip(end.to_f64()).map(|(a, b)| a + b).collect()
                }
                _ => [begin.to_f64(), end.to_f64()].concat(),
            };
            let mut shape = begin.shape.clone();
            if shape.len() > 1 {
                shape[1] = 100;
            }
            HostTensor::from_f64(&begin.name, begin.dtype, &shape, &values)
        });
        let (exact, plain) = (reference(&whole.problem, &whole.inputs()), plain(&whole.problem, &whole.inputs()));
        whole.assert_close(&joined.collect(), &exact, &plain);
    }
}

#[test]
fn the_same_input_gives_the_same_bits() {
    for options in [PLAIN, LINEAR] {
        let options = Options { chunk: Some(64), ..options };
        let call = Gradients::new(F16, [2, 100, 1, 3, 32, 32], Some(DecayKind::Heads), options);
        assert_eq!(call.run(), call.run());
    }
}

#[test]
fn sequences_of_various_lengths_are_each_by_itself() {
    let shape = Shape { h_k: 1, h: 2, d_k: 32, d_v: 48 };
    let (lengths, offsets) = ([70, 0, 1, 30], vec![0, 70, 70, 71, 101]);
    let sequences = SequenceSizes { b: 4, s: 70, total: Some(101) };
    for options in [PLAIN, LINEAR].map(|options| Options { chunk: Some(64), ..options }) {
        let all = Gradients::seeded(0, BF16, sequences, shape, Some(DecayKind::Steps), options);
        let all = Gradients { offsets: offsets.clone(), ..all };
        let given = all.assert_agrees();
        for (batch, length) in lengths.into_iter().enumerate() {
            let part = |values: &[f64]| {
                let width = values.len() / 101;
                values[all.offsets[batch] as usize * width..][..length * width].to_vec()
            };
            let state = |values: &[f64]| values[batch * values.len() / 4..][..values.len() / 4].to_vec();
            let mut one = Gradients::new(BF16, [1, length, 1, 2, 32, 48], Some(DecayKind::Steps), options);
            (one.q, one.k, one.v, one.d_out) = (part(&all.q), part(&all.k), part(&all.v), part(&all.d_out));
            one.decay = part(&all.decay);
            (one.initial_state, one.d_final_state) = (state(&all.initial_state), state(&all.d_final_state));
            (one.initial_normaliser, one.d_final_normaliser) =
                (state(&all.initial_normaliser), state(&all.d_final_normaliser));
            for (alone, given) in one.run().into_iter().zip(&given) {
                let given = given.to_f64();
                let own = if alone.name.starts_with("d_initial") { state(&given) } else { part(&given) };
                assert_eq!(alone.to_f64(), own, "sequence {batch}, {}", alone.name);
            }
        }
    }
}
