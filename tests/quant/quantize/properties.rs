//! What holds for any input.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_matrix_is_exact(
        codes in prop::sample::select(Codes::ALL.to_vec()),
        n in 1_usize..40,
        (group, groups) in prop::sample::select(vec![(32, 5), (64, 3), (128, 2)]),
        x in prop::sample::select(vec![F16, BF16, F32]),
        scales in prop::sample::select(vec![F16, BF16]),
        has_zeros in any::<bool>(),
    ) {
        let numbers = Numbers::groups(codes, [n, group * groups, group]).with_types(x, scales);
        if has_zeros && codes.has_zeros() { numbers.with_zeros() } else { numbers }.assert_exact();
    }
}

#[test]
fn what_was_dequantised_is_quantised_to_the_same_codes() {
    for codes in Codes::ALL {
        for dtype in [F16, BF16] {
            let mut numbers = Numbers::groups(codes, [20, 128, 32]).with_types(F32, dtype);
            if codes.has_zeros() {
                numbers = numbers.with_zeros();
            }
            let mut exact = numbers.matrix();
            // A power of two as scale, and the extreme codes present, so that the scale is found again.
            exact.scales.fill(0.25);
            for group in exact.codes.chunks_mut(32) {
                (group[0], group[1]) = (0, ((1_u32 << codes.bits()) - 1) as u8);
            }
            numbers.x = exact.dequantised();
            let got = GroupedMatrix::unpack(exact.format, &numbers.run(), dtype);
            assert_eq!((got.codes, got.scales), (exact.codes, exact.scales), "{codes} {dtype}");
        }
    }
}

#[test]
fn a_weight_is_off_by_one_step_at_most() {
    for (codes, steps) in [(Int4, 15.0), (Int8, 255.0)] {
        for has_zeros in [false, true] {
            let mut numbers = Numbers::groups(codes, [9, 256, 64]);
            numbers.problem.has_zeros = has_zeros;
            let Target::Groups(format) = numbers.problem.target else { unreachable!() };
            let matrix = GroupedMatrix::unpack(format, &numbers.run(), F16);
            for (at, (w, x)) in matrix.dequantised().iter().zip(&numbers.x).enumerate() {
                // Half a step by rounding, as much where a code is cut off, and what the scale's rounding makes of it all.
                let most = f64::from(matrix.scales[at / 64]) * (1.0 + steps / 2048.0);
                assert!((w - x).abs() <= most, "{codes}: {x} became {w}, at most {most} off");
            }
        }
    }
}
