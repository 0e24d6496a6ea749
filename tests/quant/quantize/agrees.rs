//! Every target agrees with its definition, bit for bit.

use super::*;

#[test]
fn every_kind_of_codes_group_and_type_is_exact() {
    for x in [F32, F16, BF16] {
        for scales in [F16, BF16] {
            for group in [32, 64, 128, 384] {
                Numbers::groups(Int4, [40, 384, group]).with_types(x, scales).assert_exact();
                Numbers::groups(Int4, [40, 384, group]).with_zeros().with_types(x, scales).assert_exact();
                Numbers::groups(Int8, [40, 384, group]).with_types(x, scales).assert_exact();
                Numbers::groups(Int8, [40, 384, group]).with_zeros().with_types(x, scales).assert_exact();
                Numbers::groups(Nf4, [40, 384, group]).with_types(x, scales).assert_exact();
            }
        }
    }
}

#[test]
fn rows_of_every_type_are_exact() {
    for x in [F32, F16, BF16] {
        for q in [I8, E4M3] {
            Numbers::rows(q, 5, 1032).with_types(x, F32).assert_exact();
        }
    }
}

/// Codes written down by hand, so that not only kernel and reference agree.
#[test]
fn a_group_has_the_codes_that_it_should() {
    let codes = |codes, has_zeros| {
        let mut numbers = Numbers::groups(codes, [1, 32, 32]);
        numbers.problem.has_zeros = has_zeros;
        numbers.x = (0..32).map(|i| f64::from(i % 16) * 0.5 - 3.75).collect();
        let Target::Groups(format) = numbers.problem.target else { unreachable!() };
        GroupedMatrix::unpack(format, &numbers.run(), F16)
    };
    // -3.75 to 3.75 in steps of 0.5: a scale of 0.5, zero 7.5, to the even.
    let matrix = codes(Int4, true);
    assert_eq!((matrix.scales[0], matrix.zeros.unwrap()[0]), (0.5, 8));
    assert_eq!(matrix.codes[..16], [0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14, 15]);
    let matrix = codes(Nf4, false);
    assert_eq!((matrix.scales[0], matrix.codes[0], matrix.codes[15]), (3.75, 0, 15));
}
