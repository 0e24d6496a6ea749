//! What the tests of this family have in common.

#[path = "../../support/mod.rs"]
mod families;
pub(crate) mod selective;

pub(crate) use families::*;

use llm_kernels::Resources;
use llm_kernels::attention::{CuSeqlens, SequenceOperand};
use llm_kernels::verify::{self, Case, Counters, profiled};

impl Tensor {
    /// Each number changed.
    pub(crate) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let values: Vec<f64> = self.values.iter().map(|&x| change(x)).collect();
        Self { layout: self.layout, ..Self::new(self.dtype, self.layout.shape(), &values) }
    }

    /// Positions `range` of each of `outer` sequences, whose positions have `width` elements.
    pub(crate) fn positions(&self, range: std::ops::Range<usize>) -> Self {
        let shape = self.layout.shape();
        let (b, s, width) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
        let of =
            |batch: usize| self.values[(batch * s + range.start) * width..(batch * s + range.end) * width].to_vec();
        let values: Vec<f64> = (0..b).flat_map(of).collect();
        Self::new(self.dtype, &[&[b, range.len()], &shape[2..]].concat(), &values)
    }

    /// The same numbers in another shape.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Self {
        Self::new(self.dtype, shape, &self.values)
    }
}

/// The tensors' offsets on the device, and what a plan sees of them.
pub(crate) fn sequences(offsets: &[i32]) -> Option<CuSeqlens<'static>> {
    (!offsets.is_empty()).then(|| CuSeqlens::new(queue(), offsets).unwrap())
}

pub(crate) fn sequence_operand(offsets: &[i32]) -> Option<SequenceOperand> {
    let longest = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max();
    (!offsets.is_empty()).then(|| SequenceOperand {
        address: 1 << 52,
        sequences: offsets.len() - 1,
        total: *offsets.last().unwrap() as usize,
        longest: longest.unwrap_or(0),
    })
}

/// Counters of a case, device memory's too, and what the plan says of it; `None` on a GPU, which has no such figures.
pub(crate) fn profile(path: &str, case: &Case) -> Option<(Counters, Resources)> {
    let op = verify::select(Some(path))[0];
    let _alone = alone();
    let mut prepared = (op.prepare)(queue(), &op.bindings(case).unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let ((), profiled) = profiled(queue(), 0, || prepared.launch(queue())).unwrap_or_else(|error| panic!("{error}"));
    if profiled.is_none() {
        assert!(!queue().device().is_software(), "the software device counted nothing");
        eprintln!("not run: {} is a GPU, it has no counters", queue().device().name());
    }
    Some((profiled?.counters, prepared.resources(queue().device().limits()).unwrap()))
}

/// An operator's case of `bench` by its name.
pub(crate) fn bench_case(path: &str, name: &str) -> Case {
    *verify::select(Some(path))[0].bench_cases.iter().find(|case| case.name == name).unwrap()
}
