//! Comparison: what passes, what does not, and what the report says.

use llm_kernels::DType;
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, HostTensor, OutputAgreement, compare};

fn judged(got: &[f64], exact: &[f64], plain: &[f64]) -> OutputAgreement {
    let got = HostTensor::from_f64("x", DType::F32, &[got.len() / 2, 2], got);
    compare(&got, exact, plain, Tolerance::values(DType::F32))
}

const NAN: f64 = f64::NAN;
const INFINITY: f64 = f64::INFINITY;

#[test]
fn nan_and_infinities_must_be_where_the_reference_has_them() {
    let same = [NAN, 1.0, INFINITY, -INFINITY];
    assert!(judged(&same, &same, &same).passed());
    for (got, exact) in [
        ([NAN, 1.0], [1.0, 1.0]),
        ([1.0, 1.0], [NAN, 1.0]),
        ([INFINITY, 1.0], [1.0, 1.0]),
        ([1e30, 1.0], [INFINITY, 1.0]),
        ([NAN, 1.0], [INFINITY, 1.0]),
        ([INFINITY, 1.0], [-INFINITY, 1.0]),
    ] {
        for plain in [[1.0, 1.0], [NAN, 1.0], exact] {
            assert!(!judged(&got, &exact, &plain).passed(), "{got:?} for {exact:?}, plain {plain:?}");
        }
    }
}

#[test]
fn each_row_may_err_twice_as_much_as_its_own_plain_result() {
    let exact = [100.0, 1.0, 100.0, 1.0];
    // The first row's plain result is off by 0.5, the second's is exact.
    let plain = [100.5, 1.0, 100.0, 1.0];
    assert!(judged(&[100.9, 0.1, 100.0, 1.0], &exact, &plain).passed());
    assert!(!judged(&[101.1, 1.0, 100.0, 1.0], &exact, &plain).passed());
    assert!(!judged(&[100.0, 1.0, 100.1, 1.0], &exact, &plain).passed());
}

#[test]
fn a_value_that_rounds_to_infinity_may_be_infinite() {
    let got = HostTensor::from_f64("x", DType::F16, &[1, 2], &[INFINITY, 1.0]);
    let tolerance = Tolerance::values(DType::F16);
    assert!(compare(&got, &[70_000.0, 1.0], &[INFINITY, 1.0], tolerance).passed());
    assert!(!compare(&got, &[60_000.0, 1.0], &[60_000.0, 1.0], tolerance).passed());
}

#[test]
fn the_report_says_where_what_and_how_many() {
    let result = judged(&[1.0, 2.0, 3.0, 9.0], &[1.0, 2.5, 3.0, 4.0], &[1.0, 2.5, 3.0, 4.0]);
    let text = Agreement { outputs: vec![result] }.report();
    assert!(text.starts_with("x[0, 1] is 2, expected 2.5 within"), "{text}");
    assert!(text.ends_with("2 of 4 elements differ"), "{text}");
}

#[test]
fn nothing_compared_is_no_agreement_and_a_wrong_size_a_mismatch() {
    assert!(!Agreement::default().passed());
    assert!(!judged(&[1.0, 2.0], &[1.0], &[1.0]).passed());
    assert!(!judged(&[1.0, 2.0], &[1.0, 2.0], &[1.0]).passed());
}
