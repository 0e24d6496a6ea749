//! Sizes around a block's, strides, ids that name nothing.

use super::*;

#[test]
fn rows_of_any_number_of_blocks_are_exact() {
    for (format, blocks) in [(Format::Q4_0, 1), (Format::Q5_0, 3), (Format::Q8_0, 127), (Format::Q8_0, 129)] {
        Rows::all(format, 5, 32 * blocks).assert_exact();
    }
    for (format, blocks) in [(Format::Q6K, 1), (Format::Q2K, 15), (Format::Q6K, 17), (Format::IQ4XS, 33)] {
        Rows::all(format, 3, 256 * blocks).assert_exact();
    }
}

#[test]
fn nothing_to_do_is_done() {
    assert!(Rows::all(Format::Q4K, 0, 256).run().bytes.is_empty());
    assert!(Rows::all(Format::Q4K, 3, 0).run().bytes.is_empty());
    assert!(Rows::all(Format::Q4K, 3, 256).gathered(&[]).run().bytes.is_empty());
}

#[test]
fn an_id_that_names_no_row_gives_nan_and_reads_nothing() {
    let rows = Rows::all(Format::Q6K, 4, 512).gathered(&[-1, 2, 4, i32::MIN, i32::MAX, 0]);
    rows.assert_exact();
    let out = rows.run().to_f64();
    for row in [0, 2, 3, 4] {
        assert!(out[row * 512..][..512].iter().all(|x| x.is_nan()), "row {row}");
    }
}

#[test]
fn ids_into_an_empty_matrix_give_nan() {
    let out = Rows::all(Format::Q8_0, 0, 64).gathered(&[0, 1]).run().to_f64();
    assert!(out.len() == 128 && out.iter().all(|x| x.is_nan()));
}

#[test]
fn rows_of_the_result_may_lie_apart() {
    let rows = Rows::all(Format::Q5_1, 6, 96).with_type(F16);
    let apart = rows.run_in(Layout::strided(&[6, 96], &[101, 1]).unwrap()).unwrap();
    assert_eq!(apart.bytes, rows.run().bytes);
}
