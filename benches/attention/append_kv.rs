//! `attention::append_kv` on the shapes of named models.

use criterion::Criterion;

/// Measures each case.
pub(crate) fn bench(criterion: &mut Criterion) {
    crate::bench(criterion, "attention/append_kv");
}
