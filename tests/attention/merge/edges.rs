//! Empty parts, sizes around a block's, strides, extreme values, NaN and infinities.

use super::*;

const EMPTY: f64 = f64::NEG_INFINITY;

#[test]
fn an_empty_part_never_reaches_the_result() {
    for dtype in [F16, BF16, F32] {
        let mut parts = Parts::new(dtype, dtype, [3, 1, 40, 2, 64]);
        for i in 0..40 {
            // Poison where there is no key: for every row in one part or two, for some in all.
            for part in [i % 3, (i / 3) % 3, 2].into_iter().take(if i == 17 { 3 } else { 2 }) {
                let at = parts.lse_index(part, 0, 1, i);
                parts.lse[at] = EMPTY;
                let row = parts.row(part, 0, i, 1);
                parts.out[row].fill(if i % 2 == 0 { f64::NAN } else { f64::INFINITY });
            }
        }
        let merged = parts.assert_agrees();
        assert!(merged.out().iter().all(|x| x.is_finite()));
    }
}

#[test]
fn with_all_parts_empty_a_row_is_0_with_an_lse_of_minus_infinity() {
    let mut parts = Parts::new(F16, F16, [4, 2, 3, 2, 128]);
    parts.lse.fill(EMPTY);
    parts.out.fill(f64::NAN);
    for merged in [parts.run(), Parts::new(F16, F16, [0, 2, 3, 2, 128]).run()] {
        assert!(merged.out().iter().all(|&x| x == 0.0));
        assert!(merged.lse().iter().all(|&x| x == EMPTY));
    }
}

#[test]
fn one_part_is_itself() {
    for dtype in [F16, BF16, F32] {
        let mut parts = Parts::new(dtype, dtype, [1, 2, 33, 3, 72]);
        // Query 5 of batch 0, head 0.
        parts.lse[5] = EMPTY;
        let merged = parts.run();
        for (i, (got, part)) in merged.out().iter().zip(&parts.out).enumerate() {
            let expected = if i / 72 == 5 * 3 { 0.0 } else { *part };
            assert!((got - expected).abs() <= 2e-7 * expected.abs(), "{dtype} element {i}: {got}, {expected}");
        }
        let limit = |lse: f64| 2e-7 * lse.abs().max(1.0);
        assert!(merged.lse().iter().zip(&parts.lse).all(|(a, b)| a == b || (a - b).abs() <= limit(*b)));
    }
}

#[test]
fn sizes_around_a_block_s_agree() {
    for s_q in [0, 1, 31, 32, 33, 65] {
        for (n, h_q) in [(1, 1), (3, 1), (4, 3), (5, 2)] {
            Parts::new(F16, F16, [n, 1, s_q, h_q, 64]).assert_agrees();
        }
    }
    for sizes in [[2, 0, 5, 2, 64], [2, 1, 5, 0, 64]] {
        assert!(Parts::new(BF16, BF16, sizes).run().out.bytes.is_empty());
    }
}

#[test]
fn every_head_dimension_agrees() {
    for d in (8..=256).step_by(8) {
        Parts::new(F32, F16, [3, 1, 9, 2, d]).assert_agrees();
        Parts::new(BF16, BF16, [2, 1, 9, 2, d]).assert_agrees();
    }
}

#[test]
fn as_many_parts_as_there_may_be_agree() {
    Parts::new(F32, F32, [256, 1, 33, 1, 16]).assert_agrees();
}

#[test]
fn any_strides_give_the_same_bits() {
    let parts = Parts::new(F16, F16, [3, 2, 35, 2, 64]);
    let row_major = parts.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    let (all, one) = ([3, 2, 35, 2, 64], [2, 35, 2, 64]);
    // [b, h, s, n, d], and gaps of 8 elements after each row.
    let transposed = strided(&all, &[64, 2 * 35 * 3 * 64, 3 * 64, 35 * 3 * 64, 1]);
    let gaps = strided(&one, &[72, 2 * 2 * 72, 2 * 72, 1]);
    for layouts in [[transposed, parts.layouts()[1]], [parts.layouts()[0], gaps], [transposed, gaps]] {
        assert_eq!(parts.run_in(layouts).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn an_lse_that_is_not_wanted_changes_nothing() {
    let parts = Parts::new(BF16, BF16, [2, 1, 40, 2, 64]);
    let with = parts.run();
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let [all, one] = parts.layouts();
    let parts_out = upload(BF16, &parts.out, all).unwrap();
    let parts_lse = upload(F32, &parts.lse, Layout::contiguous(&[2, 1, 2, 40]).unwrap()).unwrap();
    let mut out = DeviceTensor::poisoned(queue(), BF16, one).unwrap();
    let (parts_out, parts_lse) = (parts_out.view().unwrap(), parts_lse.view().unwrap());
    merge(queue(), Args { parts_out, parts_lse, out: out.view_mut().unwrap(), lse: None }).unwrap();
    assert_eq!(out.download(queue(), "out").unwrap(), with.out);
}

#[test]
fn logarithms_far_apart_agree() {
    let mut parts = Parts::new(F32, F32, [4, 1, 64, 1, 64]);
    for (i, lse) in parts.lse.iter_mut().enumerate() {
        *lse = rounded(F32, &[*lse * 10f64.powi((i % 7) as i32 - 2)])[0];
    }
    parts.assert_agrees();
}

#[test]
fn a_nan_among_the_logarithms_reaches_its_row_alone() {
    let clean = Parts::new(F16, F16, [3, 1, 40, 2, 64]);
    let before = clean.run();
    for bad in [f64::NAN, f64::INFINITY] {
        for others_empty in [false, true] {
            let mut parts = clean.clone();
            let at = parts.lse_index(1, 0, 1, 20);
            parts.lse[at] = bad;
            if others_empty {
                for part in [0, 2] {
                    let at = parts.lse_index(part, 0, 1, 20);
                    parts.lse[at] = EMPTY;
                }
            }
            let after = parts.assert_agrees();
            let row = clean.row(0, 0, 20, 1);
            for (i, (after, before)) in after.out().iter().zip(before.out()).enumerate() {
                assert!(if row.contains(&i) { after.is_nan() } else { *after == before }, "element {i}");
            }
            assert_eq!(after.lse().iter().filter(|lse| lse.is_nan()).count(), 1);
        }
    }
}

#[test]
fn a_nan_in_a_part_reaches_its_element_however_little_it_weighs() {
    let mut parts = Parts::new(F32, F32, [2, 1, 8, 1, 64]);
    let (at, row) = (parts.lse_index(1, 0, 0, 3), parts.row(1, 0, 3, 0));
    parts.lse[at] = -1000.0;
    parts.out[row.start + 9] = f64::NAN;
    let out = parts.run().out();
    let nan: Vec<_> = (0..out.len()).filter(|&i| out[i].is_nan()).collect();
    assert_eq!(nan, [3 * 64 + 9]);
}
