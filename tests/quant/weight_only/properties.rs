//! What holds for any input.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_problem_agrees(
        codes in prop::sample::select(Codes::ALL.to_vec()),
        (group, groups) in prop::sample::select(vec![(32, 7), (64, 5), (128, 3), (0, 9)]),
        m in 1_usize..80,
        n in 1_usize..140,
        has_zeros in any::<bool>(),
        x in prop::sample::select(vec![F16, BF16]),
        y in prop::sample::select(vec![F16, BF16, F32]),
    ) {
        let k = if group == 0 { 32 * groups } else { group * groups };
        let product = Product::new(codes, if group == 0 { k } else { group }, [m, n, k]).with_types(x, y);
        if has_zeros { product.with_zeros() } else { product }.assert_agrees();
    }
}

#[test]
fn the_product_with_a_unit_vector_is_a_column_of_weights() {
    for codes in Codes::ALL {
        for (m, k) in [(1, 256), (20, 320)] {
            let mut product = Product::new(codes, 64, [m, 40, k]).with_types(F16, F32);
            // Scales that are powers of two: weights are exact in f16.
            product.w.scales.iter_mut().for_each(|scale| *scale = scale.log2().round().exp2());
            let weights = product.w.dequantised();
            for column in [0, 31, 100, 255] {
                product.x.fill(0.0);
                product.x[column] = 1.0;
                let rounds = |row: usize| rounded(F16, &[weights[row * k + column]])[0];
                let expected: Vec<f64> = (0..40).map(rounds).collect();
                assert_eq!(product.run().to_f64()[..40], expected, "{codes}, {m} rows, column {column}");
            }
        }
    }
}

#[test]
fn the_order_of_columns_changes_nothing_but_the_order_of_sums() {
    for codes in Codes::ALL {
        for m in [1, 20] {
            let product = Product::new(codes, 32, [m, 33, 256]).with_types(F16, F32).with_act_order();
            // The same matrix and activations, their columns sorted.
            let mut sorted = product.clone();
            let order = llm_kernels::quant::order_of_groups(product.w.g_idx.as_ref().unwrap(), 32).unwrap();
            let of = |row: usize, column: i32| row * 256 + column as usize;
            sorted.w.codes =
                (0..33).flat_map(|row| order.iter().map(move |&c| of(row, c))).map(|at| product.w.codes[at]).collect();
            sorted.x = (0..m).flat_map(|row| order.iter().map(move |&c| of(row, c))).map(|at| product.x[at]).collect();
            sorted.w.g_idx = None;
            sorted.problem.permuted = false;
            assert_eq!(product.run().bytes, sorted.run().bytes, "{codes}, {m} rows");
        }
    }
}

#[test]
fn a_scale_for_each_column_is_a_scale_for_each_group_where_those_are_equal() {
    for codes in Codes::ALL {
        for m in [1, 20] {
            let whole = Product::new(codes, 256, [m, 33, 256]).with_types(BF16, F32);
            let mut groups = Product::new(codes, 32, [m, 33, 256]).with_types(BF16, F32);
            groups.w.codes = whole.w.codes.clone();
            groups.w.scales = whole.w.scales.iter().flat_map(|&scale| [scale; 8]).collect();
            let (whole, groups) = (whole.run().to_f64(), groups.run().to_f64());
            let largest = whole.iter().fold(0.0, |largest: f64, y| largest.max(y.abs()));
            for (a, b) in whole.iter().zip(&groups) {
                assert!((a - b).abs() <= 2e-5 * largest, "{codes}, {m} rows: {a} and {b}");
            }
        }
    }
}

#[test]
fn zero_points_in_the_middle_are_none() {
    for codes in Codes::ALL.into_iter().filter(|codes| codes.has_zeros()) {
        for m in [1, 20] {
            let without = Product::new(codes, 64, [m, 33, 256]);
            let mut with = without.clone().with_zeros();
            with.w.zeros.as_mut().unwrap().fill(codes.middle());
            assert_eq!(with.run().bytes, without.run().bytes, "{codes}, {m} rows");
        }
    }
}

#[test]
fn runs_give_the_same_bits() {
    for (m, k) in [(1, 4096), (7, 640), (30, 2048), (200, 256)] {
        let product = Product::new(Int4, 128, [m, 50, k]);
        assert_eq!(product.run().bytes, product.run().bytes);
    }
}

#[test]
fn packing_loses_nothing() {
    for codes in Codes::ALL {
        for (n, k, group) in [(1, 32, 32), (33, 160, 32), (16, 320, 64), (40, 96, 96)] {
            let matrix = sample::grouped(GroupedFormat { codes, n, k, group }, codes.has_zeros(), 9);
            for dtype in [F16, BF16] {
                assert_eq!(GroupedMatrix::unpack(matrix.format, &matrix.pack(dtype, None), dtype), matrix);
            }
        }
    }
}
