//! Every format is dequantised as it is defined, bit for bit.

use super::*;

#[test]
fn every_format_is_exact_for_random_bytes() {
    for format in Format::ALL {
        // Several thousand blocks: every pattern of a scale's exponent and of each byte.
        let k = 4 * format.block_weights().max(64);
        Rows::all(format, 300, k).assert_exact();
    }
}

#[test]
fn every_type_of_result_is_rounded_from_the_exact_weight() {
    for dtype in [F16, BF16, F32] {
        for format in [Format::Q4_1, Format::Q6K] {
            Rows::all(format, 20, 512).with_type(dtype).assert_exact();
        }
    }
}

#[test]
fn ids_choose_rows_in_any_order_and_number() {
    for (format, k) in [(Format::Q8_0, 640), (Format::Q3K, 768), (Format::Q4_0, 96), (Format::Q5K, 8448)] {
        Rows::all(format, 9, k).gathered(&[8, 0, 3, 3, 7, 8, 1]).assert_exact();
    }
}
