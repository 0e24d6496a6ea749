//! With the reference, and with a merge by hand.

use super::*;
use llm_kernels::verify;

#[test]
fn every_case_of_check_agrees() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let op = verify::select(Some("attention/merge"))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

#[test]
fn parts_in_f32_agree_as_any_type() {
    for dtype in [F16, BF16, F32] {
        Parts::new(F32, dtype, [5, 2, 37, 3, 64]).assert_agrees();
    }
}

#[test]
fn the_reference_is_a_weighted_mean() {
    // Sums of exponentials 1 and 3: weights 1/4 and 3/4.
    let problem = Problem::new(F16, F16, shape([2, 1, 1, 1, 8])).unwrap();
    let out = [vec![4.0; 8], vec![8.0; 8]].concat();
    let lse = [0.0, 3f64.ln()];
    for (merged, error) in [(reference(&problem, &out, &lse), 1e-15), (plain(&problem, &out, &lse), 1e-3)] {
        assert!(merged.out.iter().all(|x| (x - 7.0).abs() <= 7.0 * error), "{merged:?}");
        assert!((merged.lse[0] - 4f64.ln()).abs() <= error, "{merged:?}");
    }
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    let parts = Parts::new(F32, F32, [2, 1, 16, 2, 64]);
    let merged = parts.assert_agrees();
    for wrong in [1e-4, f64::NAN, f64::INFINITY] {
        let (mut out, mut lse) = (merged.out(), merged.lse());
        out[77] += wrong;
        let changed = HostTensor::from_f64("out", F32, &merged.out.shape, &out);
        assert!(!parts.compare(&Merged { out: changed, ..merged.clone() }).passed(), "out off by {wrong}");
        lse[7] += wrong;
        let changed = HostTensor::from_f64("lse", F32, &merged.lse.shape, &lse);
        assert!(!parts.compare(&Merged { lse: changed, ..merged.clone() }).passed(), "lse off by {wrong}");
    }
}
