//! Properties that hold for any call.

use super::*;

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_call_agrees(
        b in 1..3_usize, s in 0..100_usize, channels in 1..14_usize, states in 1..12_usize, groups in 1..4_usize,
        dtype in 0..3_usize, gap in 0..3_usize, parts in 0..16_u8,
    ) {
        let dim = 4 * channels * groups;
        let inputs = Inputs::new(FLOATS[dtype], [b, s, dim, 4 * states, groups]).with_parts(parts);
        let (stride, width) = (dim + 4 * gap, groups * 4 * states + 8 * gap);
        let out = Layout::strided(&[b, s, dim], &[s * stride, stride, 1]).unwrap();
        let mut scan = Scan { out, ..Scan::of(inputs) };
        scan.inputs.u = scan.inputs.u.strided(&[s * stride, stride, 1]);
        scan.inputs.b = scan.inputs.b.strided(&[s * width, width, 4 * states, 1]);
        scan.assert_agrees();
    }

    #[test]
    fn two_parts_with_the_state_between_give_the_same_bits(
        s in 0..100_usize, at in 0..100_usize, states in 1..8_usize, dtype in 0..3_usize,
    ) {
        let whole = Scan::new(FLOATS[dtype], [2, s, 12, 4 * states, 1]);
        let at = at.min(s);
        let part = |range, state| Scan::of(whole.inputs.part(range, state));
        let [first, state, _] = part(0..at, whole.inputs.initial_state.clone()).run();
        let [second, last, _] = part(at..s, Some(Tensor::new(F32, &state.shape, &state.to_f64()))).run();
        let [out, expected, _] = whole.run();
        prop_assert_eq!(last.bytes, expected.bytes);
        let out = Tensor::new(FLOATS[dtype], &[2, s, 12], &out.to_f64());
        prop_assert_eq!(first.to_f64(), out.positions(0..at).values);
        prop_assert_eq!(second.to_f64(), out.positions(at..s).values);
    }

    #[test]
    fn updates_of_any_size_give_the_same_bits(steps in prop::collection::vec(0..40_usize, 1..4), states in 1..8_usize) {
        let whole = Scan::new(F16, [3, steps.iter().sum(), 12, 4 * states, 1]);
        let [out, last, _] = whole.run();
        let out = Tensor::new(F16, whole.inputs.u.layout.shape(), &out.to_f64());
        let (mut state, mut at) = (whole.inputs.initial_state.clone(), 0);
        for step in steps {
            let options = Options { update: true, ..SOFTPLUS };
            let call = Scan { options, ..Scan::of(whole.inputs.part(at..at + step, state)) };
            let [part, next, _] = call.run();
            prop_assert_eq!(part.to_f64(), out.positions(at..at + step).values);
            state = Some(Tensor::new(F32, &next.shape, &next.to_f64()));
            at += step;
        }
        prop_assert_eq!(state.unwrap().values, last.to_f64());
    }

    #[test]
    fn sequences_of_various_lengths_are_as_each_alone(
        lengths in prop::collection::vec(0..90_usize, 0..6), states in 1..8_usize, dtype in 0..3_usize,
    ) {
        let scan = Scan::of(Inputs::various(FLOATS[dtype], &lengths, [16, 4 * states, 2]));
        let [out, state, _] = scan.assert_agrees();
        let (mut at, size) = (0, 16 * 4 * states);
        for (i, &length) in lengths.iter().enumerate() {
            let [alone, last, _] = Scan::of(scan.inputs.alone(i)).run();
            prop_assert_eq!(&alone.to_f64()[..], &out.to_f64()[at * 16..(at + length) * 16]);
            prop_assert_eq!(&last.to_f64()[..], &state.to_f64()[i * size..][..size]);
            at += length;
        }
    }

    #[test]
    fn boundary_states_are_those_of_a_scan_that_ends_there(s in 1..260_usize, states in 1..24_usize) {
        let scan = Scan { boundary_states: true, ..Scan::new(F32, [2, s, 8, 4 * states, 1]) };
        let ([_, _, boundaries], size) = (scan.run(), 8 * 4 * states);
        for (batch, chunk) in (0..2).flat_map(|batch| (0..s.div_ceil(CHUNK)).map(move |chunk| (batch, chunk))) {
            let head = Scan::of(scan.inputs.part(0..chunk * CHUNK, scan.inputs.initial_state.clone()));
            let expected = &head.run()[1].to_f64()[batch * size..][..size];
            let got = &boundaries.to_f64()[(batch * s.div_ceil(CHUNK) + chunk) * size..][..size];
            prop_assert_eq!(got, expected);
        }
    }
}

#[test]
fn boundary_states_of_various_lengths_lie_where_the_shape_says() {
    let lengths = [70, 0, 64, 1, 130];
    let scan = Scan { boundary_states: true, ..Scan::of(Inputs::various(BF16, &lengths, [8, 8, 1])) };
    let [_, _, boundaries] = scan.run();
    for (i, &length) in lengths.iter().enumerate() {
        let alone = Scan { boundary_states: true, ..Scan::of(scan.inputs.alone(i)) };
        let first = scan.inputs.offsets[i] as usize / CHUNK + i;
        let count = length.div_ceil(CHUNK) * 64;
        assert_eq!(alone.run()[2].to_f64()[..count], boundaries.to_f64()[first * 64..][..count], "{i}");
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn segments_agree_and_give_the_same_bits_in_every_run(
        b in 1..3_usize, s in 257..800_usize, channels in 1..12_usize, states in 1..24_usize, dtype in 0..3_usize,
        parts in 0..16_u8,
    ) {
        let inputs = Inputs::new(FLOATS[dtype], [b, s, 4 * channels, 4 * states, 1]).with_parts(parts);
        let mut scan = Scan { workspace: true, boundary_states: true, ..Scan::of(inputs) };
        let segments = scan.plan().segments;
        prop_assert!(segments.is_some_and(|segments| segments.count == s.div_ceil(segments.positions)));
        let cut = scan.assert_agrees();
        prop_assert_eq!(&scan.run(), &cut);
        // The first two begin with the very states of a scan without segments; those before chunks are as near as results.
        scan.workspace = false;
        let whole = scan.run();
        let width = 4 * channels;
        for batch in 0..b {
            let of = |which: usize, from: usize, count: usize| {
                [&cut, &whole].map(|run| run[which].to_f64()[from..from + count].to_vec())
            };
            let [got, expected] = of(0, batch * s * width, 256 * width);
            prop_assert_eq!(got, expected);
            let (chunks, size) = (s.div_ceil(CHUNK), width * 4 * states);
            let [got, expected] = of(2, batch * chunks * size, chunks * size);
            prop_assert_eq!(&got[..8 * size], &expected[..8 * size]);
            for (got, expected) in got.iter().zip(expected) {
                prop_assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{} {}", got, expected);
            }
        }
    }

    #[test]
    fn segments_of_various_lengths_are_as_each_alone(
        lengths in prop::collection::vec(0..600_usize, 1..3), states in 1..20_usize, dtype in 0..3_usize,
    ) {
        let lengths = [&lengths[..], &[700]].concat();
        let scan = Scan { workspace: true, ..Scan::of(Inputs::various(FLOATS[dtype], &lengths, [16, 4 * states, 2])) };
        let positions = scan.plan().segments.map(|segments| segments.positions);
        prop_assert!(positions.is_some());
        let [out, state, _] = scan.assert_agrees();
        let (mut at, size) = (0, 16 * 4 * states);
        for (i, &length) in lengths.iter().enumerate() {
            let alone = Scan { workspace: true, ..Scan::of(scan.inputs.alone(i)) };
            let same = length <= 256 || alone.plan().segments.map(|segments| segments.positions) == positions;
            let [alone, last, _] = alone.run();
            if same {
                prop_assert_eq!(&alone.to_f64()[..], &out.to_f64()[at * 16..(at + length) * 16]);
                prop_assert_eq!(&last.to_f64()[..], &state.to_f64()[i * size..][..size]);
            }
            at += length;
        }
    }
}
