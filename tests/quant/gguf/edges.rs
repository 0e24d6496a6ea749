//! Sizes around a tile's, rows of odd numbers of blocks, strides, extreme values.

use super::*;

#[test]
fn sizes_around_a_tile_s_agree() {
    for n in [1, 15, 16, 17, 33] {
        Product::new(Format::Q4_0, Q8, [1, n, 224]).assert_agrees();
        Product::new(Format::Q6K, Q8, [2, n, 256]).assert_agrees();
    }
    for m in [9, 127, 128, 129, 255, 256, 257] {
        Product::new(Format::Q5K, Q8, [m, 63, 256]).assert_agrees();
    }
    for n in [1, 64, 65] {
        Product::new(Format::Q8_0, Q8, [16, n, 96]).assert_agrees();
    }
}

#[test]
fn rows_of_any_number_of_blocks_agree() {
    // Odd numbers put every other row at an odd multiple of 2 bytes, and units across rows.
    for blocks in [1, 2, 3, 5, 31, 33] {
        for format in [Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q8_0] {
            Product::new(format, Q8, [1, 19, 32 * blocks]).assert_agrees();
            Product::new(format, Exact, [1, 19, 32 * blocks]).assert_agrees();
            Product::new(format, Q8, [9, 19, 32 * blocks]).assert_agrees();
            Product::new(format, Q8, [130, 19, 32 * blocks]).assert_agrees();
        }
    }
    for blocks in [1, 3, 5] {
        for format in [Format::Q2K, Format::Q3K, Format::Q6K, Format::IQ4XS] {
            Product::new(format, Q8, [1, 37, 256 * blocks]).assert_agrees();
            Product::new(format, Q8, [9, 37, 256 * blocks]).assert_agrees();
            Product::new(format, Q8, [130, 37, 256 * blocks]).assert_agrees();
        }
    }
}

#[test]
fn rows_too_long_for_shared_memory_agree() {
    let long = Product::new(Format::Q4_0, Q8, [1, 3, 1 << 18]);
    assert!(plan(&long.problem, queue().device().limits()).unwrap().tile.is_none());
    long.assert_agrees();
}

#[test]
fn nothing_to_do_is_done() {
    for sizes in [[0, 30, 64], [3, 0, 64]] {
        assert!(Product::new(Format::Q8_0, Q8, sizes).run().bytes.is_empty());
    }
}

#[test]
fn without_elements_the_result_is_the_bias() {
    for activations in [Q8, Exact] {
        for m in [2, 12, 130] {
            let product = Product::new(Format::Q4K, activations, [m, 5, 0]).with_bias(F32);
            assert_eq!(product.run().to_f64(), product.bias.clone().unwrap().repeat(m));
            assert_eq!(Product::new(Format::Q4K, activations, [m, 5, 0]).run().to_f64(), vec![0.0; 5 * m]);
        }
    }
}

/// Columns 1 to 22 of 24: rows and columns in pairs, but none at a multiple of a pair's size.
#[test]
fn a_result_may_begin_at_any_element() {
    for (m, y_dtype) in [(3, F16), (12, F16), (130, F16), (130, F32)] {
        let product = Product::new(Format::Q5_1, Q8, [m, 22, 96]).with_types(F16, y_dtype);
        let expected = product.run().bytes;
        let [x, y] = [[m, 96], [m, 24]].map(|shape| Layout::contiguous(&shape).unwrap());
        let mut tensors = product.tensors([x, y]).unwrap();
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let untouched = tensors.y.download(queue(), "y").unwrap().bytes;
        let Problem { format, n, k, activations, .. } = product.problem;
        let args = Args {
            w: PackedTensor { format, n, k, bytes: tensors.w.view().unwrap() },
            x: tensors.x.view().unwrap(),
            bias: tensors.bias.as_ref().map(|bias| bias.view().unwrap()),
            y: tensors.y.view_mut().unwrap().narrow(1, 1, 22).unwrap(),
            workspace: Some(tensors.workspace.view_mut().unwrap()),
            activations,
        };
        gguf(queue(), args).unwrap();
        let found = tensors.y.download(queue(), "y").unwrap().bytes;
        let size = y_dtype.size_bytes();
        for (row, found) in found.chunks(24 * size).enumerate() {
            let beside = &untouched[row * 24 * size..][..24 * size];
            assert_eq!(found[size..23 * size], expected[row * 22 * size..][..22 * size], "{m} rows, row {row}");
            assert_eq!((&found[..size], &found[23 * size..]), (&beside[..size], &beside[23 * size..]), "row {row}");
        }
    }
}

#[test]
fn rows_of_x_and_y_may_lie_apart() {
    for (activations, m) in [(Q8, 3), (Exact, 3), (Q8, 12), (Q8, 130), (Exact, 2500)] {
        let product = Product::new(Format::Q5_1, activations, [m, 21, 96]).with_types(F16, F16);
        let layouts = [Layout::strided(&[m, 96], &[136, 1]).unwrap(), Layout::strided(&[m, 21], &[29, 1]).unwrap()];
        assert_eq!(product.run_in(layouts).unwrap().bytes, product.run().bytes);
    }
}

#[test]
fn activations_of_zero_give_the_bias() {
    for m in [1, 12] {
        let mut product = Product::new(Format::Q4_1, Q8, [m, 20, 128]).with_bias(F32);
        product.x.fill(0.0);
        assert_eq!(product.run().to_f64(), product.bias.clone().unwrap().repeat(m));
    }
}

#[test]
fn huge_and_tiny_activations_stay_finite_and_agree() {
    // As large as f32 holds without the result overflowing, and down to subnormal numbers; but that the smaller of two tf32 parts is
    // not to be one.
    for scale in [1e36, 1e-20, 1e-33, 1e-37] {
        for (format, activations, m) in [
            (Format::Q4K, Q8, 1),
            (Format::Q6K, Q8, 1),
            (Format::Q5_0, Q8, 1),
            (Format::Q4K, Q8, 12),
            (Format::Q6K, Q8, 12),
            (Format::Q4K, Exact, 2160),
            (Format::Q6K, Exact, 2160),
        ] {
            if activations == Exact && scale < 1e-33 {
                continue;
            }
            let mut product = Product::new(format, activations, [m, 24, 256]);
            product.x = rounded(F32, &product.x.iter().map(|x| x * scale).collect::<Vec<_>>());
            let y = product.assert_agrees();
            assert!(y.to_f64().iter().all(|y| y.is_finite()), "{format} at {scale}");
        }
    }
}

#[test]
fn blocks_of_very_different_ranges_keep_their_own_scales() {
    for m in [1, 12] {
        let mut product = Product::new(Format::Q8_0, Q8, [m, 20, 256]);
        for (i, x) in product.x.iter_mut().enumerate() {
            *x = f64::from((*x * 10_f64.powi((i / 32 % 8) as i32 - 4)) as f32);
        }
        product.assert_agrees();
    }
}

#[test]
fn a_non_finite_activation_reaches_its_row_alone() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (activations, m) in [(Q8, 3), (Q8, 12), (Q8, 130), (Exact, 2600)] {
            let clean = Product::new(Format::Q4K, activations, [m, 20, 512]);
            let mut product = clean.clone();
            product.x[512 + 300] = bad;
            let (got, expected) = (product.run().to_f64(), clean.run().to_f64());
            assert!(got[20..40].iter().all(|y| y.is_nan()), "{bad} in a row");
            assert!(got[..20] == expected[..20] && got[40..] == expected[40..], "{bad} in another row");
        }
    }
}

#[test]
fn a_result_beyond_the_type_is_infinite_and_no_other() {
    let mut product = Product::new(Format::Q8_0, Q8, [1, 16, 64]).with_types(F32, F16);
    product.x.iter_mut().for_each(|x| *x *= 1e5);
    product.assert_agrees();
}
