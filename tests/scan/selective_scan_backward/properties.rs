//! Properties that hold for any call.

use super::*;

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn any_call_agrees(
        b in 1..3_usize, s in 0..100_usize, channels in 1..14_usize, states in 1..12_usize, groups in 1..4_usize,
        dtype in 0..3_usize, gap in 0..3_usize, parts in 0..16_u8,
    ) {
        let dim = 4 * channels * groups;
        let inputs = Inputs::new(FLOATS[dtype], [b, s, dim, 4 * states, groups]).with_parts(parts);
        let stride = dim + 4 * gap;
        let gradients = Layout::strided(&[b, s, dim], &[s * stride, stride, 1]).unwrap();
        let mut call = Backward { gradients, ..Backward::of(inputs) };
        call.d_out = call.d_out.strided(&[s * stride, stride, 1]);
        call.assert_agrees();
    }

    #[test]
    fn sequences_of_various_lengths_are_as_each_alone(
        lengths in prop::collection::vec(0..90_usize, 0..5), states in 1..8_usize, dtype in 0..3_usize,
    ) {
        let call = Backward::of(Inputs::various(FLOATS[dtype], &lengths, [16, 4 * states, 2]));
        let together = call.assert_agrees();
        let (mut at, size) = (0, 16 * 4 * states);
        for (i, &length) in lengths.iter().enumerate() {
            let inputs = call.inputs.alone(i);
            let d_out = Tensor::new(FLOATS[dtype], &[1, length, 16], &call.d_out.values[at * 16..(at + length) * 16]);
            let states_of = &call.d_final_state.as_ref().unwrap().values[i * size..][..size];
            let d_final_state = Some(Tensor::new(F32, inputs.states().shape(), states_of));
            let alone = Backward { d_out, d_final_state, ..Backward::of(inputs) }.run();
            for (which, width) in [(0, 16), (1, 16), (3, 8 * states), (4, 8 * states), (6, 16)] {
                let expected = &together[which].to_f64()[at * width..(at + length) * width];
                prop_assert_eq!(&alone[which].to_f64()[..], expected, "{}", NAMES[which]);
            }
            prop_assert_eq!(&alone[8].to_f64()[..], &together[8].to_f64()[i * size..][..size]);
            at += length;
        }
    }

    #[test]
    fn two_parts_hand_the_gradient_of_the_state_back(s in 1..80_usize, at in 1..80_usize, states in 1..5_usize) {
        // The second part's gradient of its initial state is the first part's of its final state.
        let at = at.min(s);
        let whole = Backward::new(F32, [1, s, 12, 4 * states, 1]);
        let shape = whole.inputs.shape();
        let forward = selective_scan::Problem::new(
            F32, selective_scan::Shape { sequences: llm_kernels::scan::SequenceSizes::uniform(1, at), ..shape },
            Default::default(), selective_scan::Options { softplus: true, update: false },
        ).unwrap();
        let head = whole.inputs.part(0..at, whole.inputs.initial_state.clone());
        let between =
            selective_scan::reference::reference(&forward, &head.input(), &head.all_channels()).final_state;
        let tail = whole.inputs.part(at..s, Some(Tensor::new(F32, &[1, 12, 4 * states], &between)));
        let second = Backward { d_out: whole.d_out.positions(at..s), ..Backward::of(tail) };
        let d_between = Some(Tensor::new(F32, &[1, 12, 4 * states], &second.run()[8].to_f64()));
        let first = Backward { d_out: whole.d_out.positions(0..at), d_final_state: d_between, ..Backward::of(head) };
        let (got, exact) = (first.run(), whole.expected());
        let terms = terms(&whole.problem(), &whole.inputs.input(), &whole.upstream());
        let tolerance = Tolerance::recurrent_gradients(F32, terms[8], whole.age());
        assert_within(&got[8], &exact[0].d_initial_state, &exact[1].d_initial_state, tolerance, &(s, at));
        let d_u = Tensor::new(F32, &[1, s, 12], &exact[0].d_u).positions(0..at);
        let tolerance = Tolerance::recurrent_gradients(F32, terms[0], whole.age());
        assert_within(&got[0], &d_u.values, &d_u.values, tolerance, &(s, at));
    }
}

#[test]
fn gradients_are_differences_of_the_scan() {
    for softplus in [true, false] {
        let mut inputs = Inputs::new(F32, [2, 6, 8, 4, 2]);
        if !softplus {
            inputs = inputs.with_plain_steps();
        }
        let call = Backward { softplus, ..Backward::of(inputs) };
        let problem = call.problem();
        let options = selective_scan::Options { softplus, update: false };
        let forward = selective_scan::Problem::new(F32, problem.shape, Default::default(), options).unwrap();
        // What the gradients are of: results and final states, weighed by their gradients.
        let loss = |inputs: &Inputs| -> f64 {
            let output = selective_scan::reference::reference(&forward, &inputs.input(), &inputs.all_channels());
            let weighed = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            weighed(&output.out, &call.d_out.values)
                + weighed(&output.final_state, &call.d_final_state.as_ref().unwrap().values)
        };
        let [exact, _] = call.expected();
        let got = call.run();
        for (which, name) in NAMES.iter().enumerate() {
            for (at, &exact) in exact.parts()[which].iter().enumerate() {
                let moved = |step: f64| {
                    let mut inputs = call.inputs.clone();
                    let tensor = match which {
                        0 => &mut inputs.u,
                        1 => &mut inputs.delta,
                        2 => &mut inputs.a,
                        3 => &mut inputs.b,
                        4 => &mut inputs.c,
                        5 => inputs.d.as_mut().unwrap(),
                        6 => inputs.z.as_mut().unwrap(),
                        7 => inputs.delta_bias.as_mut().unwrap(),
                        _ => inputs.initial_state.as_mut().unwrap(),
                    };
                    tensor.values[at] += step;
                    loss(&inputs)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((exact - expected).abs() < 1e-6, "{name} {at}: {exact} {expected}");
                let got = got[which].to_f64()[at];
                assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{name} {at}: {got} {expected}");
            }
        }
    }
}

#[test]
fn every_run_gives_the_same_bits() {
    let call = Backward::new(BF16, [2, 150, 72, 16, 1]);
    let first = call.run();
    assert!((0..3).all(|_| call.run() == first));
}
