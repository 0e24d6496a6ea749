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
        for (m, n, x) in [(65, 715, F16), (9, 3250, BF16), (140, 360, F32)] {
            let product = Product::new(format, Exact, [m, n, 256]).with_types(x, F32);
            product.assert_is_for_many();
            product.assert_agrees();
        }
    }
}

/// Where blocks share tiles: an end of one, a beginning of another, or a middle.
#[test]
fn tiles_that_blocks_share_agree() {
    for (format, sizes) in
        [(Format::Q4_0, [300, 200, 1312]), (Format::Q6K, [300, 200, 1536]), (Format::Q2K, [130, 60, 9216])]
    {
        let product = Product::new(format, Q8, sizes).with_types(BF16, BF16).with_bias(F32);
        let plan = plan(&product.problem, queue().device().limits()).unwrap();
        if plan.elements == BF16 {
            assert!(plan.shares.shared_tiles > 0 && plan.add.is_some(), "{:?}", plan.shares);
        }
        assert_eq!(product.assert_agrees(), product.run(), "{format}: another run has other bits");
    }
}

/// 217 tiles, two waves of them whole, and one of four units for 108 blocks: rows of the first, of others, and of the last.
#[test]
fn whole_tiles_and_shared_ones_behind_them_agree() {
    let product = Product::new(Format::Q8_0, Q8, [1700, 3940, 1024]).with_types(BF16, F32);
    let y = product.run();
    let limits = queue().device().limits();
    let plan = plan(&product.problem, limits).unwrap();
    if limits.multiprocessors == 108 {
        assert_eq!((plan.shares.whole_tiles, plan.shares.shared_tiles), (216, 1));
    }
    let w = product.problem.format.dequantise(&product.w);
    let inputs = Inputs { w: &w, x: &product.x, bias: None };
    let (rows, n) = ([0, 255, 256, 900, 1535, 1536, 1699], product.problem.n);
    let values = y.to_f64();
    let found: Vec<f64> = rows.iter().flat_map(|row| &values[row * n..][..n]).copied().collect();
    let found = HostTensor::from_f64("y", F32, &[rows.len(), n], &found);
    let exact = reference(&product.problem, &inputs, rows.into_iter());
    let plain = plain(&product.problem, plan.elements, &inputs, rows.into_iter());
    let agreement = compare(&found, &exact, &plain, Tolerance::values(F32));
    assert!(agreement.passed(), "{agreement}");
}

#[test]
fn every_type_of_activations_bias_and_result_agrees() {
    for activations in [Q8, Exact] {
        for x in [F16, BF16, F32] {
            for y in [F16, BF16, F32] {
                for (m, n) in [(2, 40), (70, 720)] {
                    Product::new(Format::Q4K, activations, [m, n, 256]).with_types(x, y).with_bias(y).assert_agrees();
                }
            }
        }
    }
}

#[test]
fn more_rows_than_a_block_takes_agree() {
    for (activations, m) in [(Q8, 9), (Q8, 21), (Q8, 140), (Exact, 8), (Exact, 20), (Exact, 130)] {
        Product::new(Format::Q5_0, activations, [m, 40, 640]).with_types(F16, F16).assert_agrees();
    }
}
