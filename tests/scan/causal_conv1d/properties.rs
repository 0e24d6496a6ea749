//! Properties that hold for any call.

use super::*;

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_call_agrees(
        b in 1..4_usize, s in 0..150_usize, dim in 1..70_usize, width in 2..5_usize, types in 0..9_usize,
        gap in 0..9_usize, parts in 0..8_u8,
    ) {
        let mut call = Conv::new(FLOATS[types % 3], [b, s, dim, width]);
        call.weight = Tensor::normal(2, FLOATS[types / 3], &[dim, width]);
        call.bias = call.bias.filter(|_| parts & 1 != 0);
        call.initial_state = call.initial_state.filter(|_| parts & 2 != 0);
        call.options.silu = parts & 4 != 0;
        call.out = Layout::strided(&[b, s, dim], &[s * (dim + gap), dim + gap, 1]).unwrap();
        call.assert_agrees();
    }

    #[test]
    fn two_parts_with_the_state_between_give_the_same_bits(
        s in 0..140_usize, at in 0..140_usize, width in 2..5_usize, types in 0..3_usize,
    ) {
        let whole = Conv::new(FLOATS[types], [2, s, 24, width]);
        let at = at.min(s);
        let part = |range: std::ops::Range<usize>, state| {
            let out = Layout::contiguous(&[2, range.len(), 24]).unwrap();
            Conv { x: whole.x.positions(range), initial_state: state, out, ..whole.clone() }
        };
        let [first, state] = part(0..at, whole.initial_state.clone()).run();
        let between = Tensor::new(FLOATS[types], &[2, 24, width - 1], &state.to_f64());
        let [second, last] = part(at..s, Some(between)).run();
        let [out, expected] = whole.run();
        prop_assert_eq!(last.bytes, expected.bytes);
        let out = Tensor::new(FLOATS[types], &[2, s, 24], &out.to_f64());
        prop_assert_eq!(first.to_f64(), out.positions(0..at).values);
        prop_assert_eq!(second.to_f64(), out.positions(at..s).values);
    }

    #[test]
    fn updates_of_any_size_give_the_same_bits(
        steps in prop::collection::vec(0..65_usize, 1..4), width in 2..5_usize, types in 0..3_usize,
    ) {
        let whole = Conv::new(FLOATS[types], [3, steps.iter().sum(), 40, width]);
        let [out, last] = whole.run();
        let out = Tensor::new(FLOATS[types], whole.x.layout.shape(), &out.to_f64());
        let (mut state, mut at) = (whole.initial_state.clone(), 0);
        for step in steps {
            let call = Conv {
                x: whole.x.positions(at..at + step),
                initial_state: state,
                out: Layout::contiguous(&[3, step, 40]).unwrap(),
                options: Options { update: true, ..whole.options },
                ..whole.clone()
            };
            let [part, next] = call.run();
            prop_assert_eq!(part.to_f64(), out.positions(at..at + step).values);
            state = Some(Tensor::new(FLOATS[types], &next.shape, &next.to_f64()));
            at += step;
        }
        prop_assert_eq!(state.unwrap().values, last.to_f64());
    }

    #[test]
    fn sequences_of_various_lengths_are_as_each_alone(
        lengths in prop::collection::vec(0..90_usize, 0..6), width in 2..5_usize, types in 0..3_usize,
    ) {
        let call = Conv::various(FLOATS[types], &lengths, [24, width]);
        let [out, state] = call.assert_agrees();
        let (mut at, state_size) = (0, 24 * (width - 1));
        for (i, &length) in lengths.iter().enumerate() {
            let alone = Conv {
                x: Tensor::new(FLOATS[types], &[1, length, 24], &call.x.values[at * 24..(at + length) * 24]),
                initial_state: call.initial_state.as_ref().map(|state| {
                    Tensor::new(FLOATS[types], &[1, 24, width - 1], &state.values[i * state_size..][..state_size])
                }),
                out: Layout::contiguous(&[1, length, 24]).unwrap(),
                offsets: Vec::new(),
                ..call.clone()
            };
            let [alone, last] = alone.run();
            prop_assert_eq!(&alone.to_f64()[..], &out.to_f64()[at * 24..(at + length) * 24]);
            prop_assert_eq!(&last.to_f64()[..], &state.to_f64()[i * state_size..][..state_size]);
            at += length;
        }
    }
}
