//! Against the reference.

use crate::queue;
use llm_kernels::verify;

#[test]
fn every_case_of_check_agrees() {
    let op = verify::select(Some("scan/linear_recurrence"))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{} {}: {error}", case.dtype, case.shape()));
        eprintln!("{} {} {}: {:.2}", case.name, case.dtype, case.shape(), row.agreement.largest_fraction());
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}
