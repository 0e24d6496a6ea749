//! `scan::causal_conv1d_backward` on the shapes of named models.

use criterion::Criterion;

/// Measures each case.
pub(crate) fn bench(criterion: &mut Criterion) {
    crate::bench(criterion, "scan/causal_conv1d_backward");
}
