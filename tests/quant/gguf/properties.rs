//! What holds for any input.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_problem_agrees(
        format in prop::sample::select(Format::ALL.to_vec()),
        activations in prop::sample::select(vec![Q8, Exact]),
        m in 1_usize..14,
        n in 1_usize..70,
        blocks in 1_usize..5,
        x in prop::sample::select(vec![F16, BF16, F32]),
        y in prop::sample::select(vec![F16, BF16, F32]),
    ) {
        Product::new(format, activations, [m, n, blocks * format.block_weights()]).with_types(x, y).assert_agrees();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_problem_of_many_exact_rows_agrees(
        format in prop::sample::select(Format::ALL.to_vec()),
        m in 60_usize..75,
        n in 810_usize..900,
        blocks in 1_usize..4,
        x in prop::sample::select(vec![F16, BF16, F32]),
        y in prop::sample::select(vec![F16, BF16, F32]),
    ) {
        let product = Product::new(format, Exact, [m, n, blocks * format.block_weights()]).with_types(x, y);
        product.assert_is_for_many();
        product.assert_agrees();
    }
}

/// Activations that are integers and whose largest magnitude in each block of 32 is 127: quantised without loss.
fn integers(m: usize, k: usize) -> Vec<f64> {
    let value = |i: usize| if i.is_multiple_of(32) { 127.0 } else { ((i * 37 + i / 64) % 255) as f64 - 127.0 };
    (0..m * k).map(value).collect()
}

#[test]
fn integers_are_quantised_without_loss() {
    for format in Format::ALL {
        for m in [1, 12] {
            let mut product = Product::new(format, Q8, [m, 20, 512]);
            product.x = integers(m, 512);
            // So the product is as exact as that of exact activations.
            let mut exact = product.clone();
            exact.problem.activations = Exact;
            let ([expected, plain], _) = exact.references();
            let compared = compare(&product.run(), &expected, &plain, Tolerance::values(F32));
            assert!(compared.passed(), "{format}, {m} rows: {compared}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    // Nor on the kernel: integers are added up exactly, so that only the order of at most 16 sums differs.
    for format in Format::ALL {
        let many = Product::new(format, Q8, [12, 33, 512]);
        let together = many.run().to_f64();
        let scale = together.iter().fold(0.0, |scale: f64, y| scale.max(y.abs()));
        for row in [0, 7] {
            let mut one = Product::new(format, Q8, [1, 33, 512]);
            one.x = many.x[row * 512..][..512].to_vec();
            for (a, b) in one.run().to_f64().iter().zip(&together[row * 33..]) {
                assert!((a - b).abs() <= 4e-6 * scale, "{format}, row {row}: {a} and {b}");
            }
        }
    }
}

/// The kernels for few rows add up in f32, those for many in tf32 parts.
#[test]
fn exact_rows_do_not_depend_on_the_rows_beside_them() {
    for format in Format::ALL {
        let many = Product::new(format, Exact, [70, 733, 512]);
        many.assert_is_for_many();
        let together = many.run().to_f64();
        let scale = together.iter().fold(0.0, |scale: f64, y| scale.max(y.abs()));
        for row in [0, 69] {
            let mut one = Product::new(format, Exact, [1, 733, 512]);
            one.x = many.x[row * 512..][..512].to_vec();
            for (a, b) in one.run().to_f64().iter().zip(&together[row * 733..]) {
                assert!((a - b).abs() <= 2e-6 * scale, "{format}, row {row}: {a} and {b}");
            }
        }
    }
}

#[test]
fn runs_give_the_same_bits() {
    let cases = [(Format::Q5_0, Q8, 1), (Format::Q3K, Q8, 3), (Format::Q4K, Q8, 20), (Format::Q6K, Exact, 1040)];
    for (format, activations, m) in cases {
        let product = Product::new(format, activations, [m, 50, 768]);
        assert_eq!(product.run().bytes, product.run().bytes);
    }
}

#[test]
fn the_product_with_a_unit_vector_is_a_column_of_weights() {
    for format in Format::ALL {
        let mut product = Product::new(format, Exact, [1, 20, 512]);
        let weights = format.dequantise(&product.w);
        for column in [0, 31, 300] {
            product.x.fill(0.0);
            product.x[column] = 1.0;
            let expected: Vec<f64> = (0..20).map(|row| f64::from(weights[row * 512 + column])).collect();
            assert_eq!(product.run().to_f64(), expected, "{format}, column {column}");
        }
    }
}
