//! With the reference, within the tolerance.

use super::*;

#[test]
fn every_check_case_agrees_with_the_reference() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let [op] = verify::select(Some("sparse/block_sparse"))[..] else { panic!("one operator") };
    for case in op.check_cases {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{} {}: {error}", case.name, case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.name, case.shape(), row.agreement.report());
    }
}
