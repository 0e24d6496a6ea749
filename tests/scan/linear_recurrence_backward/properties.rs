//! What must hold for any input, tried on made-up ones.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn problems() -> impl Strategy<Value = Gradients> {
    let sizes = (1..3_usize, 1..90_usize, 1..3_usize, 1..3_usize, 1..5_usize, 1..5_usize);
    let chunks = prop_oneof![Just(None), Just(Some(64))];
    (any::<u64>(), any::<bool>(), 0..4_usize, sizes, chunks).prop_map(
        |(seed, half, decay, (b, s, h_k, group, d_k, d_v), chunk)| {
            let shape = Shape { h_k, h: h_k * group, d_k: d_k * 16, d_v: d_v * 16 };
            let (dtype, sequences) = (if half { F16 } else { BF16 }, SequenceSizes::uniform(b, s));
            Gradients::seeded(seed >> 8, dtype, sequences, shape, DECAYS[decay], Options { chunk, ..PLAIN })
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
        let call = |chunk| Gradients::new(BF16, [1, 200, 1, 2, 32, 48], decay, Options { chunk: Some(chunk), ..PLAIN });
        let one = call(64);
        let (exact, plain) = (reference(&one.problem, &one.inputs()), plain(&one.problem, &one.inputs()));
        for chunk in [64, 128, 256] {
            call(chunk).assert_close(&call(chunk).run(), &exact, &plain);
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bits() {
    let options = Options { chunk: Some(64), ..PLAIN };
    let call = Gradients::new(F16, [2, 100, 1, 3, 32, 32], Some(DecayKind::Heads), options);
    assert_eq!(call.run(), call.run());
}

#[test]
fn sequences_of_various_lengths_are_each_by_itself() {
    let (shape, options) = (Shape { h_k: 1, h: 2, d_k: 32, d_v: 48 }, Options { chunk: Some(64), ..PLAIN });
    let (lengths, offsets) = ([70, 0, 1, 30], vec![0, 70, 70, 71, 101]);
    let sequences = SequenceSizes { b: 4, s: 70, total: Some(101) };
    let all = Gradients { offsets, ..Gradients::seeded(0, BF16, sequences, shape, Some(DecayKind::Steps), options) };
    let given = all.assert_agrees();
    for (batch, length) in lengths.into_iter().enumerate() {
        let part = |values: &[f64]| {
            let width = values.len() / 101;
            values[all.offsets[batch] as usize * width..][..length * width].to_vec()
        };
        let state = |values: &[f64]| values[batch * 3072..][..3072].to_vec();
        let mut one = Gradients::new(BF16, [1, length, 1, 2, 32, 48], Some(DecayKind::Steps), options);
        (one.q, one.k, one.v, one.d_out) = (part(&all.q), part(&all.k), part(&all.v), part(&all.d_out));
        one.decay = part(&all.decay);
        (one.initial_state, one.d_final_state) = (state(&all.initial_state), state(&all.d_final_state));
        let alone = one.run();
        for output in [0, 1, 2, 4] {
            assert_eq!(alone[output].to_f64(), part(&given[output].to_f64()), "sequence {batch}, output {output}");
        }
        assert_eq!(alone[3].to_f64(), state(&given[3].to_f64()), "sequence {batch}");
    }
}
