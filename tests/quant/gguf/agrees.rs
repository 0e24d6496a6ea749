//! Every format, type and number of rows agrees with the reference.

use super::*;

#[test]
fn every_format_agrees_with_quantised_activations() {
    for format in Format::ALL {
        for sizes in [[1, 67, 512], [3, 33, 1280], [8, 16, 768]] {
            Product::new(format, Q8, sizes).assert_agrees();
        }
    }
}

#[test]
fn every_format_agrees_with_exact_activations() {
    for format in Format::ALL {
        for sizes in [[1, 67, 512], [5, 33, 1280]] {
            Product::new(format, Exact, sizes).assert_agrees();
        }
    }
}

#[test]
fn every_format_agrees_with_many_rows() {
    for format in Format::ALL {
        for (m, x) in [(20, F32), (140, F32), (259, BF16)] {
            Product::new(format, Q8, [m, 150, 768]).with_types(x, F32).assert_agrees();
        }
    }
}

#[test]
fn every_type_of_activations_bias_and_result_agrees() {
    for activations in [Q8, Exact] {
        for x in [F16, BF16, F32] {
            for y in [F16, BF16, F32] {
                Product::new(Format::Q4K, activations, [2, 40, 512]).with_types(x, y).with_bias(y).assert_agrees();
            }
        }
    }
}

#[test]
fn more_rows_than_a_block_takes_agree() {
    for (activations, m) in [(Q8, 9), (Q8, 21), (Q8, 140), (Exact, 8), (Exact, 20)] {
        Product::new(Format::Q5_0, activations, [m, 40, 640]).with_types(F16, F16).assert_agrees();
    }
}
