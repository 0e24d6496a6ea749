//! Comparison with a reference, and the report when it fails.

use super::HostTensor;
use super::tolerance::Tolerance;
use crate::Layout;

/// How all outputs of a run agree with the reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    /// One entry for each output.
    pub outputs: Vec<OutputAgreement>,
}

/// How an output agrees with the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputAgreement {
    /// The output's name.
    pub name: String,
    /// Elements compared.
    pub elements: usize,
    /// Elements beyond the tolerance.
    pub mismatches: usize,
    /// The largest error of a finite element.
    pub largest_error: f64,
    /// The largest error as a fraction of what its row allows: above 1 where a finite element fails.
    pub largest_fraction: f64,
    /// The first element beyond the tolerance.
    pub first: Option<Mismatch>,
}

/// An element beyond the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Its index.
    pub index: Vec<usize>,
    /// What the kernel gave.
    pub got: f64,
    /// What the reference gave.
    pub expected: f64,
    /// The error that its row may have.
    pub limit: f64,
}

impl Agreement {
    /// Whether something was compared and nothing is beyond the tolerance.
    pub fn passed(&self) -> bool {
        !self.outputs.is_empty() && self.outputs.iter().all(OutputAgreement::passed)
    }

    /// The largest error, over all outputs, as a fraction of what is allowed.
    pub fn largest_fraction(&self) -> f64 {
        self.outputs.iter().map(|output| output.largest_fraction).fold(0.0, f64::max)
    }

    /// The mismatches in words, one line; empty if there are none.
    pub fn report(&self) -> String {
        let failed: Vec<_> = self.outputs.iter().filter(|output| !output.passed()).map(ToString::to_string).collect();
        failed.join("; ")
    }
}

impl OutputAgreement {
    /// Whether nothing is beyond the tolerance.
    pub fn passed(&self) -> bool {
        self.mismatches == 0
    }
}

impl std::fmt::Display for OutputAgreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, elements, mismatches, largest_error, largest_fraction, first } = self;
        match first {
            None => write!(f, "{name}: agrees, largest error {largest_error:.3e}, {largest_fraction:.2} of allowed"),
            Some(Mismatch { index, got, expected, limit }) => write!(
                f,
                "{name}{index:?} is {got}, expected {expected} within {limit:.3e}; {mismatches} of {elements} elements differ"
            ),
        }
    }
}

/// Compares an output with the reference, row by row (rows run along the last dimension).
///
/// NaN must be where the reference has it and nowhere else, and so must the infinities, where a finite reference
/// value beyond the element type's range counts as infinite.
pub fn compare(got: &HostTensor, reference: &[f64], plain: &[f64], tolerance: Tolerance) -> OutputAgreement {
    compare_rows(got, reference, plain, |_| tolerance)
}

/// The same where each row has a tolerance of its own.
pub fn compare_rows(
    got: &HostTensor,
    reference: &[f64],
    plain: &[f64],
    tolerance: impl Fn(usize) -> Tolerance,
) -> OutputAgreement {
    let values = got.to_f64();
    let rounded = HostTensor::from_f64("", got.dtype, &got.shape, reference).to_f64();
    let mut result = OutputAgreement {
        name: got.name.clone(),
        elements: values.len(),
        mismatches: 0,
        largest_error: 0.0,
        largest_fraction: 0.0,
        first: None,
    };
    if [reference.len(), plain.len()] != [values.len(); 2] {
        result.mismatches = values.len().max(1);
        return result;
    }
    let width = got.shape.last().copied().unwrap_or(1).max(1);
    for row in 0..values.len() / width {
        let at = row * width;
        let [values, reference, plain, rounded] =
            [&values, reference, plain, &rounded].map(|all: &[f64]| &all[at..at + width]);
        let finite = |x: f64| x.is_finite().then_some(x.abs());
        let plain_errors = plain.iter().zip(reference).filter_map(|(plain, exact)| finite(plain - exact));
        let scale = reference.iter().filter_map(|&exact| finite(exact)).fold(0.0, f64::max);
        let limit = tolerance(row).limit(got.dtype, plain_errors.fold(0.0, f64::max), scale);
        for column in 0..width {
            let (value, exact, rounded) = (values[column], reference[column], rounded[column]);
            let error = (value - exact).abs();
            let agrees = if exact.is_nan() {
                value.is_nan()
            } else if rounded.is_infinite() {
                value == rounded || error <= limit
            } else {
                error <= limit
            };
            if error.is_finite() {
                result.largest_error = result.largest_error.max(error);
                if error > 0.0 {
                    result.largest_fraction = result.largest_fraction.max(error / limit);
                }
            }
            if !agrees {
                result.mismatches += 1;
                let index = || index_of(&got.shape, at + column);
                result.first.get_or_insert_with(|| Mismatch { index: index(), got: value, expected: exact, limit });
            }
        }
    }
    result
}

fn index_of(shape: &[usize], element: usize) -> Vec<usize> {
    let strides = Layout::contiguous(shape).map(|layout| layout.strides().to_vec()).unwrap_or_default();
    strides.iter().zip(shape).map(|(stride, size)| element / stride % size).collect()
}
