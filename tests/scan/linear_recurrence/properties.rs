//! What must hold for any input, tried on made-up ones.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 20, ..Config::default() }
}

/// Any problem of moderate size.
fn problems() -> impl Strategy<Value = Recurrence> {
    let decays = (0..4_usize).prop_map(|index| DECAYS[index]);
    let maps = prop_oneof![
        Just((FeatureMap::Identity, None)),
        Just((FeatureMap::Identity, None)),
        Just((FeatureMap::EluPlusOne, Some(1e-3))),
        Just((FeatureMap::Exp, Some(1e-3))),
    ];
    let sizes = (1..3_usize, 1..200_usize, 1..3_usize, 1..3_usize, 1..9_usize, 1..7_usize);
    let chunks = prop_oneof![Just(None), Just(Some(64)), Just(Some(128))];
    (any::<u64>(), any::<bool>(), decays, maps, sizes, chunks).prop_map(
        |(seed, half, decay, (feature_map, normaliser), (b, s, h_k, group, d_k, d_v), chunk)| {
            let options = Options { scale: None, feature_map, normaliser, chunk };
            let sizes = [b, s, h_k, h_k * group, d_k * 16, d_v * 16];
            let sequences = SequenceSizes::uniform(b, s);
            Recurrence::seeded(seed >> 8, if half { F16 } else { BF16 }, sequences, sizes, decay, options)
        },
    )
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn any_problem_agrees(call in problems(), state in any::<bool>()) {
        if state { call.with_state().assert_agrees() } else { call.assert_agrees() };
    }
}

#[test]
fn the_chunk_does_not_change_the_result_beyond_the_tolerance() {
    for (dtype, decay) in [F16, BF16].into_iter().flat_map(|dtype| DECAYS.map(|decay| (dtype, decay))) {
        let call = |chunk| {
            let options =
                Options { chunk: Some(chunk), feature_map: FeatureMap::Relu, normaliser: Some(1e-2), ..PLAIN };
            Recurrence::new(dtype, [2, 300, 1, 2, 48, 64], decay, options).with_state()
        };
        let (exact, plain) =
            (reference(&call(64).problem, &call(64).inputs()), plain(&call(64).problem, &call(64).inputs()));
        for chunk in [64, 128, 192, 256, 320, 1 << 20] {
            call(chunk).assert_close(&call(chunk).run(), &exact, &plain);
        }
    }
}

#[test]
fn two_halves_with_the_state_carried_are_the_whole() {
    for decay in DECAYS {
        let options = Options { feature_map: FeatureMap::EluPlusOne, normaliser: Some(1e-3), ..PLAIN };
        let whole = Recurrence::new(BF16, [2, 150, 1, 2, 64, 64], decay, options).with_state();
        for cut in [0, 1, 64, 77, 149, 150] {
            let mut second = whole.steps(cut..150);
            let first = whole.steps(0..cut).run();
            second.initial_state = first.state.to_f64();
            second.initial_normaliser = first.normaliser.unwrap().to_f64();
            let end = second.run();
            let rows = |given: &HostTensor, batch: usize, steps: usize| {
                given.to_f64()[batch * steps * 128..(batch + 1) * steps * 128].to_vec()
            };
            let outs =
                (0..2).flat_map(|batch| [rows(&first.out, batch, cut), rows(&end.out, batch, 150 - cut)].concat());
            let out = HostTensor::from_f64("out", BF16, &[2, 150, 2, 64], &outs.collect::<Vec<_>>());
            let (exact, plain) = (reference(&whole.problem, &whole.inputs()), plain(&whole.problem, &whole.inputs()));
            whole.assert_close(&Given { out, ..end }, &exact, &plain);
        }
    }
}

#[test]
fn a_decay_of_1_is_no_decay() {
    for dtype in [F16, BF16] {
        let sizes = [1, 100, 1, 2, 64, 64];
        let none = Recurrence::new(dtype, sizes, None, PLAIN).with_state();
        let (exact, plain) = (reference(&none.problem, &none.inputs()), plain(&none.problem, &none.inputs()));
        for (decay, exactly) in [(DecayKind::Heads, true), (DecayKind::Steps, true), (DecayKind::Channels, false)] {
            let mut one = Recurrence::new(dtype, sizes, Some(decay), PLAIN).with_state();
            one.decay.fill(0.0);
            let given = one.run();
            // Scores of channels are added up in another precision.
            assert!(!exactly || given == none.run(), "{decay:?}");
            none.assert_close(&given, &exact, &plain);
        }
    }
}

#[test]
fn a_decay_of_all_channels_alike_is_one_of_the_step() {
    let steps = Recurrence::new(BF16, [1, 130, 1, 2, 64, 64], Some(DecayKind::Steps), PLAIN).with_state();
    let mut channels = Recurrence::new(BF16, [1, 130, 1, 2, 64, 64], Some(DecayKind::Channels), PLAIN).with_state();
    channels.decay = steps.decay.iter().flat_map(|&decay| [decay; 64]).collect();
    let (exact, plain) = (reference(&steps.problem, &steps.inputs()), plain(&steps.problem, &steps.inputs()));
    channels.assert_close(&channels.run(), &exact, &plain);
}

#[test]
fn sixty_four_thousand_steps_neither_overflow_nor_lose_the_state() {
    const STEPS: usize = 1 << 16;
    let sizes = [1, STEPS, 1, 1, 16, 16];
    // Near 1 and near 0, by step or channel; and those at random.
    let decays: [fn(usize) -> f64; 3] = [|_| -1e-6, |_| -30.0, |i| [-1e-6, -1e-3, -0.5, -80.0][i * 7919 % 1009 % 4]];
    for decay in [DecayKind::Steps, DecayKind::Channels] {
        for of in decays {
            let mut call = Recurrence::new(BF16, sizes, Some(decay), PLAIN).with_state();
            for (i, decay) in call.decay.iter_mut().enumerate() {
                *decay = rounded(F32, &[of(i)])[0];
            }
            let given = call.assert_agrees();
            assert!(given.out.to_f64().iter().all(|x| x.is_finite()));
        }
        // What the initial state leaves after all steps: exp(-0.065536) of it.
        let mut call = Recurrence::new(F16, sizes, Some(decay), PLAIN).with_state();
        call.decay.fill(rounded(F32, &[-1e-6])[0]);
        call.k.fill(0.0);
        let given = call.assert_agrees();
        for (end, begin) in given.state.to_f64().iter().zip(&call.initial_state) {
            let expected = begin * (-0.065536f64).exp();
            assert!((end - expected).abs() <= 2e-3 * expected.abs(), "{end} for {expected}");
        }
    }
}

#[test]
fn sums_beyond_the_range_of_f16_are_no_trouble() {
    let options = Options { scale: Some(1e-3), ..PLAIN };
    let mut call = Recurrence::new(F16, [1, 4096, 1, 1, 64, 64], None, options);
    for values in [&mut call.k, &mut call.v] {
        values.iter_mut().for_each(|x| *x = rounded(F16, &[6.0 + *x])[0]);
    }
    let given = call.assert_agrees();
    let largest = given.state.to_f64().into_iter().fold(0.0, f64::max);
    assert!(largest > 120_000.0, "{largest}: beyond 65,504, as it was meant");
}

#[test]
fn sequences_of_various_lengths_are_each_by_itself() {
    for decay in DECAYS {
        let options = Options { chunk: Some(64), ..PLAIN };
        let lengths = [70, 0, 1, 200, 64];
        let all = Recurrence::of_lengths(F16, &lengths, [1, 2, 64, 64], decay, options).with_state();
        let given = all.assert_agrees();
        for (batch, &length) in lengths.iter().enumerate() {
            let begin = all.offsets[batch] as usize;
            let part = |values: &[f64]| {
                let width = values.len() / 335;
                values[begin * width..(begin + length) * width].to_vec()
            };
            let mut one = Recurrence::new(F16, [1, length, 1, 2, 64, 64], decay, options);
            (one.q, one.k, one.v) = (part(&all.q), part(&all.k), part(&all.v));
            let of_steps = matches!(decay, Some(DecayKind::Steps | DecayKind::Channels));
            one.decay = if of_steps { part(&all.decay) } else { all.decay.clone() };
            one.initial_state = all.initial_state[batch * 8192..(batch + 1) * 8192].to_vec();
            let alone = one.run();
            assert_eq!(alone.out.to_f64(), part(&given.out.to_f64()), "sequence {batch}, {decay:?}");
            assert_eq!(
                alone.state.to_f64(),
                given.state.to_f64()[batch * 8192..(batch + 1) * 8192],
                "sequence {batch}"
            );
        }
    }
}

#[test]
fn heads_that_share_keys_are_heads_with_copies_of_them() {
    let grouped = Recurrence::new(BF16, [2, 66, 2, 6, 32, 48], Some(DecayKind::Steps), PLAIN);
    let mut copied = Recurrence::new(BF16, [2, 66, 6, 6, 32, 48], Some(DecayKind::Steps), PLAIN);
    let copies = |values: &[f64]| values.chunks(32).flat_map(|row| [row; 3].concat()).collect::<Vec<_>>();
    (copied.q, copied.k, copied.v) = (copies(&grouped.q), copies(&grouped.k), grouped.v.clone());
    assert_eq!(grouped.run(), copied.run());
}

#[test]
fn the_same_input_gives_the_same_bits() {
    let options = Options { normaliser: Some(1e-2), feature_map: FeatureMap::Exp, chunk: Some(64), ..PLAIN };
    for decay in DECAYS {
        let call = Recurrence::new(F16, [1, 150, 1, 2, 64, 96], decay, options).with_state();
        assert_eq!(call.run(), call.run());
    }
}
