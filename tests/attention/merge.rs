//! `attention::merge`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::merge::reference::{plain, reference};
use llm_kernels::attention::merge::{Args, Problem, Shape, merge};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16, F32};

/// A problem with its input, row-major.
#[derive(Clone, Debug)]
struct Parts {
    problem: Problem,
    out: Vec<f64>,
    lse: Vec<f64>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Merged {
    out: HostTensor,
    lse: HostTensor,
}

/// `[n, b, s_q, h_q, d]`
fn shape([n, b, s_q, h_q, d]: [usize; 5]) -> Shape {
    Shape { n, b, s_q, h_q, d }
}

impl Parts {
    /// Input of the standard normal distribution; sizes are `[n, b, s_q, h_q, d]`.
    fn new(part_dtype: DType, dtype: DType, sizes: [usize; 5]) -> Self {
        Self::seeded(0, part_dtype, dtype, sizes)
    }

    fn seeded(seed: u64, part_dtype: DType, dtype: DType, sizes: [usize; 5]) -> Self {
        let [n, b, s_q, h_q, d] = sizes;
        let rows = n * b * s_q * h_q;
        Self {
            problem: Problem::new(part_dtype, dtype, shape(sizes)).unwrap(),
            out: rounded(part_dtype, &random::normal(2 * seed, rows * d)),
            lse: rounded(F32, &random::normal(2 * seed + 1, rows)),
        }
    }

    fn layouts(&self) -> [Layout; 2] {
        let Shape { n, b, s_q, h_q, d } = self.problem.shape;
        [&[n, b, s_q, h_q, d][..], &[b, s_q, h_q, d]].map(|shape| Layout::contiguous(shape).unwrap())
    }

    fn run(&self) -> Merged {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs with parts and result laid out as given. Bytes between the result's elements must stay as they are.
    fn run_in(&self, [parts, out]: [Layout; 2]) -> Result<Merged> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let Shape { n, b, s_q, h_q, .. } = self.problem.shape;
        let parts_out = upload(self.problem.part_dtype, &self.out, parts)?;
        let parts_lse = upload(F32, &self.lse, Layout::contiguous(&[n, b, h_q, s_q])?)?;
        let mut result = DeviceTensor::poisoned(queue(), self.problem.dtype, out)?;
        let mut lse = DeviceTensor::poisoned(queue(), F32, Layout::contiguous(&[b, h_q, s_q])?)?;
        let args = Args {
            parts_out: parts_out.view()?,
            parts_lse: parts_lse.view()?,
            out: result.view_mut()?,
            lse: Some(lse.view_mut()?),
        };
        merge(queue(), args)?;
        queue().synchronize()?;
        let merged = Merged { out: result.download(queue(), "out")?, lse: lse.download(queue(), "lse")? };
        let mut untouched = DeviceTensor::poisoned(queue(), self.problem.dtype, out)?;
        untouched.write(queue(), &merged.out.bytes)?;
        assert!(
            untouched.image(queue())? == result.image(queue())?,
            "bytes between the result's elements were written"
        );
        Ok(merged)
    }

    fn compare(&self, merged: &Merged) -> Agreement {
        let exact = reference(&self.problem, &self.out, &self.lse);
        let plain = plain(&self.problem, &self.out, &self.lse);
        Agreement {
            outputs: vec![
                compare(&merged.out, &exact.out, &plain.out, Tolerance::values(self.problem.dtype)),
                compare(&merged.lse, &exact.lse, &plain.lse, Tolerance::logarithms(0)),
            ],
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Merged {
        let merged = self.run();
        let agreement = self.compare(&merged);
        assert!(agreement.passed(), "{:?}: {}", self.problem, agreement.report());
        merged
    }

    /// Where the logarithm of a part's row lies.
    fn lse_index(&self, part: usize, batch: usize, head: usize, i: usize) -> usize {
        let Shape { b, s_q, h_q, .. } = self.problem.shape;
        ((part * b + batch) * h_q + head) * s_q + i
    }

    /// Where a part's row lies.
    fn row(&self, part: usize, batch: usize, i: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { b, s_q, h_q, d, .. } = self.problem.shape;
        let start = (((part * b + batch) * s_q + i) * h_q + head) * d;
        start..start + d
    }
}

impl Merged {
    fn out(&self) -> Vec<f64> {
        self.out.to_f64()
    }

    fn lse(&self) -> Vec<f64> {
        self.lse.to_f64()
    }
}
