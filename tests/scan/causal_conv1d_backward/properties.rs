//! Properties that hold for any call.

use super::*;
use llm_kernels::scan::causal_conv1d;

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_call_agrees(
        b in 1..4_usize, s in 0..150_usize, dim in 1..70_usize, width in 2..5_usize, types in 0..9_usize,
        gap in 0..9_usize, parts in 0..16_u8,
    ) {
        let mut call = Backward::new(FLOATS[types % 3], [b, s, dim, width]);
        call.weight = Tensor::normal(2, FLOATS[types / 3], &[dim, width]);
        call.bias = call.bias.filter(|_| parts & 1 != 0);
        call.initial_state = call.initial_state.filter(|_| parts & 2 != 0);
        call.options.silu = parts & 4 != 0;
        call.d_final_state = call.d_final_state.filter(|_| parts & 8 != 0);
        call.d_x = Layout::strided(&[b, s, dim], &[s * (dim + gap), dim + gap, 1]).unwrap();
        call.assert_agrees();
    }

    #[test]
    fn sequences_of_various_lengths_are_as_each_alone(
        lengths in prop::collection::vec(0..90_usize, 0..6), width in 2..5_usize, types in 0..3_usize,
    ) {
        let call = Backward::various(FLOATS[types], &lengths, [24, width]);
        let together = call.assert_agrees();
        let (mut at, size) = (0, 24 * (width - 1));
        for (i, &length) in lengths.iter().enumerate() {
            let of = |tensor: &Tensor| {
                Tensor::new(FLOATS[types], &[1, length, 24], &tensor.values[at * 24..(at + length) * 24])
            };
            let state = |tensor: &Option<Tensor>| {
                let values = &tensor.as_ref().unwrap().values[i * size..][..size];
                Some(Tensor::new(FLOATS[types], &[1, 24, width - 1], values))
            };
            let alone = Backward {
                x: of(&call.x),
                d_out: of(&call.d_out),
                initial_state: state(&call.initial_state),
                d_final_state: state(&call.d_final_state),
                d_x: Layout::contiguous(&[1, length, 24]).unwrap(),
                offsets: Vec::new(),
                ..call.clone()
            };
            let alone = alone.run();
            prop_assert_eq!(&alone[0].to_f64()[..], &together[0].to_f64()[at * 24..(at + length) * 24]);
            prop_assert_eq!(&alone[2].to_f64()[..], &together[2].to_f64()[i * size..][..size]);
            at += length;
        }
    }
}

#[test]
fn gradients_are_differences_of_the_convolution() {
    for silu in [false, true] {
        let call = Backward { options: Options { silu }, ..Backward::new(F32, [2, 7, 8, 3]) };
        let problem = call.problem();
        let options = causal_conv1d::Options { silu, update: false };
        let forward = causal_conv1d::Problem::new(problem.types, problem.shape, [true; 2], options).unwrap();
        // What the gradients are of: results and final states, weighed by their gradients.
        let loss = |inputs: &[Vec<f64>; 4]| -> f64 {
            let [x, weight, initial_state, bias] = inputs;
            let input = causal_conv1d::reference::Input {
                x,
                weight,
                bias: Some(bias),
                initial_state: Some(initial_state),
                cu_seqlens: &[],
            };
            let output = causal_conv1d::reference::reference(&forward, &input);
            let weighed = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            weighed(&output.out, &call.d_out.values)
                + weighed(&output.final_state, &call.d_final_state.as_ref().unwrap().values)
        };
        let tensors = [Some(&call.x), Some(&call.weight), call.initial_state.as_ref(), call.bias.as_ref()];
        let values = tensors.map(|tensor| tensor.unwrap().values.clone());
        let (exact, got) = (reference(&problem, &call.input()), call.run());
        for (which, exact) in [exact.d_x, exact.d_weight, exact.d_initial_state, exact.d_bias].iter().enumerate() {
            for (at, (&exact, got)) in exact.iter().zip(got[which].to_f64()).enumerate() {
                let moved = |step: f64| {
                    let mut values = values.clone();
                    values[which][at] += step;
                    loss(&values)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((exact - expected).abs() < 1e-7, "{which} {at}: {exact} {expected}");
                assert!((got - expected).abs() < 2e-5, "{which} {at}: {got} {expected}");
            }
        }
    }
}

#[test]
fn every_run_gives_the_same_bits() {
    let call = Backward::new(F16, [3, 700, 136, 4]);
    let first = call.run();
    assert!((0..3).all(|_| call.run() == first));
}
