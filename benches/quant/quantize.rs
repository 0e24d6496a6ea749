//! `quant::quantize` on the shapes of named models.

use criterion::Criterion;

/// Measures each case.
pub(crate) fn bench(criterion: &mut Criterion) {
    crate::bench(criterion, "quant/quantize");
}
