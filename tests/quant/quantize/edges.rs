//! Sizes around a tile's, strides, zeros, and numbers that are none.

use super::*;

#[test]
fn sizes_around_a_tile_s_are_exact() {
    for n in [1, 8, 9, 15, 16, 17, 33] {
        for k in [32, 64, 96, 128, 160] {
            Numbers::groups(Int4, [n, k, 32]).with_zeros().assert_exact();
            Numbers::groups(Int8, [n, k, k]).assert_exact();
        }
    }
    for k in [8, 504, 512, 520] {
        Numbers::rows(I8, 3, k).assert_exact();
    }
}

#[test]
fn nothing_becomes_nothing() {
    assert!(Numbers::groups(Nf4, [0, 64, 64]).run().codes.is_empty());
    assert!(Numbers::blocks([0, 64, 64], false).run().codes.is_empty());
    assert!(Numbers::rows(I8, 0, 64).run().codes.is_empty());
}

#[test]
fn rows_may_lie_apart() {
    for numbers in [Numbers::groups(Int4, [5, 64, 32]), Numbers::rows(E4M3, 5, 64)] {
        let apart = Layout::strided(&[5, 64], &[1 << 16, 1]).unwrap();
        assert_eq!(numbers.run_in(apart).unwrap(), numbers.run());
    }
}

#[test]
fn zeros_tiny_and_huge_numbers_and_such_that_are_none_are_as_defined() {
    for value in [0.0, 1e-30, 1e-7, 6e4, 1e30, f32::INFINITY, f32::NAN] {
        for codes in Codes::ALL {
            for has_zeros in [false, codes.has_zeros()] {
                let mut numbers = Numbers::groups(codes, [3, 128, 64]);
                numbers.problem.has_zeros = has_zeros;
                numbers.x[64..128].fill(0.0);
                numbers.x[70] = value.into();
                numbers.x[71] = (value / -3.0).into();
                let (got, expected) = (numbers.run(), numbers.expected());
                assert!(got.codes == expected.codes && got.zeros == expected.zeros, "{codes} of {value}");
                // Any NaN will do for a NaN.
                let halves = |bytes: &[u8]| {
                    let (name, shape) = (String::new(), vec![bytes.len() / 2]);
                    HostTensor { name, dtype: F16, shape, bytes: bytes.to_vec() }.to_f64()
                };
                for (got, expected) in halves(&got.scales).into_iter().zip(halves(&expected.scales)) {
                    let same = got == expected || got.is_nan() && expected.is_nan();
                    assert!(same, "{codes} of {value}: {got}, {expected}");
                }
            }
        }
    }
}
