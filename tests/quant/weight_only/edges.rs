//! Sizes around a tile's, strides, and numbers that are none.

use super::*;

#[test]
fn sizes_around_a_tile_s_agree() {
    for n in [1, 15, 16, 17, 31, 33, 127, 129] {
        for (m, k) in [(1, 64), (9, 192), (130, 96)] {
            Product::new(Int4, 32, [m, n, k]).assert_agrees();
        }
    }
    for m in [8, 9, 16, 17, 32, 33, 64, 65, 127, 128, 129] {
        Product::new(Int8, 64, [m, 20, 320]).with_zeros().assert_agrees();
    }
    for k in [32, 64, 96, 128, 160, 224, 288, 2080] {
        for m in [1, 3, 10] {
            Product::new(Int4, 32, [m, 20, k]).with_zeros().assert_agrees();
            Product::new(Int8, k, [m, 20, k]).with_zeros().assert_agrees();
        }
    }
}

#[test]
fn without_elements_the_result_is_the_bias() {
    for m in [1, 20] {
        let product = Product::new(Int4, 0, [m, 30, 0]).with_types(F16, F32).with_bias(F32);
        let bias = product.bias.clone().unwrap();
        for row in product.run().to_f64().chunks(30) {
            assert_eq!(row, bias);
        }
    }
}

#[test]
fn empty_problems_do_nothing() {
    assert!(Product::new(Int4, 32, [0, 30, 64]).run().bytes.is_empty());
    assert!(Product::new(Int8, 32, [3, 0, 64]).run().bytes.is_empty());
}

#[test]
fn rows_of_x_and_y_may_lie_apart() {
    for m in [3, 21] {
        let product = Product::new(Int4, 64, [m, 33, 256]);
        let layouts =
            [Layout::strided(&[m, 256], &[1 << 16, 1]).unwrap(), Layout::strided(&[m, 33], &[70_001, 1]).unwrap()];
        assert_eq!(product.run_in(layouts).unwrap().to_f64(), product.run().to_f64());
    }
}

#[test]
fn a_row_with_a_nan_or_an_infinity_spoils_itself_alone() {
    for m in [4, 20] {
        for bad in [f64::NAN, f64::INFINITY] {
            let clean = Product::new(Int4, 64, [m, 33, 256]);
            let mut product = clean.clone();
            product.x[2 * 256 + 77] = bad;
            let (got, expected) = (product.run().to_f64(), clean.run().to_f64());
            for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let spoilt = at / 33 == 2;
                assert!(if spoilt { !got.is_finite() } else { got == expected }, "{m} rows, element {at}: {got}");
            }
        }
    }
}

#[test]
fn large_activations_and_scales_neither_overflow_nor_vanish_before_the_end() {
    for m in [1, 9] {
        for factor in [3e4, 1e-5] {
            let mut product = Product::new(Int4, 64, [m, 20, 128]).with_types(F16, F32);
            product.x = rounded(F16, &product.x.iter().map(|x| (x * factor).clamp(-6e4, 6e4)).collect::<Vec<_>>());
            product.assert_agrees();
        }
    }
}
