//! `attention::flash_forward`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::flash_forward::reference::{Output, plain, reference};
use llm_kernels::attention::flash_forward::{Args, Options, Problem, Shape, flash_forward};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue, rounded};

use DType::{BF16, F16};

const CAUSAL: Options = Options { causal: true, scale: None, window_left: None, window_right: None };
const FULL: Options = Options { causal: false, ..CAUSAL };

/// A problem with its input, row-major.
#[derive(Clone)]
struct Attention {
    problem: Problem,
    options: Options,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    out: HostTensor,
    lse: HostTensor,
}

/// Layouts of all tensors.
#[derive(Clone, Copy, Debug)]
struct Layouts {
    q: Layout,
    k: Layout,
    v: Layout,
    out: Layout,
}

/// `[b, s_q, s_k, h_q, h_kv, d]`
fn shape([b, s_q, s_k, h_q, h_kv, d]: [usize; 6]) -> Shape {
    Shape { b, s_q, s_k, h_q, h_kv, d }
}

impl Attention {
    /// Input of the standard normal distribution; sizes are `[b, s_q, s_k, h_q, h_kv, d]`.
    fn new(dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::seeded(0, dtype, sizes, options)
    }

    fn seeded(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        let Shape { b, s_q, s_k, h_q, h_kv, d } = shape(sizes);
        let values = |tensor: u64, count| rounded(dtype, &random::normal(3 * seed + tensor, count));
        Self {
            problem: Problem::new(dtype, shape(sizes), &options).unwrap(),
            options,
            q: values(0, b * s_q * h_q * d),
            k: values(1, b * s_k * h_kv * d),
            v: values(2, b * s_k * h_kv * d),
        }
    }

    fn layouts(&self) -> Layouts {
        let Shape { b, s_q, s_k, h_q, h_kv, d } = self.problem.shape;
        let queries = Layout::contiguous(&[b, s_q, h_q, d]).unwrap();
        let keys = Layout::contiguous(&[b, s_k, h_kv, d]).unwrap();
        Layouts { q: queries, k: keys, v: keys, out: queries }
    }

    fn run(&self) -> Results {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs with tensors laid out as given, in memory that is NaN wherever nothing was put. Bytes between the
    /// elements of the output must stay as they are.
    fn run_in(&self, layouts: Layouts) -> Result<Results> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue();
        let (dtype, Shape { b, s_q, h_q, .. }) = (self.problem.dtype, self.problem.shape);
        let upload = |values: &[f64], layout: Layout| -> Result<DeviceTensor> {
            let mut tensor = DeviceTensor::poisoned(queue, dtype, layout)?;
            tensor.write(queue, &HostTensor::from_f64("", dtype, layout.shape(), values).bytes)?;
            Ok(tensor)
        };
        let q = upload(&self.q, layouts.q)?;
        let k = upload(&self.k, layouts.k)?;
        let v = upload(&self.v, layouts.v)?;
        let mut out = DeviceTensor::poisoned(queue, dtype, layouts.out)?;
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, Layout::contiguous(&[b, h_q, s_q])?)?;
        let args = Args {
            q: q.view()?,
            k: k.view()?,
            v: v.view()?,
            out: out.view_mut()?,
            lse: Some(lse.view_mut()?),
            options: self.options,
        };
        flash_forward(queue, args)?;
        queue.synchronize()?;
        let results = Results { out: out.download(queue, "out")?, lse: lse.download(queue, "lse")? };
        let mut untouched = DeviceTensor::poisoned(queue, dtype, layouts.out)?;
        untouched.write(queue, &results.out.bytes)?;
        assert!(untouched.image(queue)? == out.image(queue)?, "bytes between the output's elements were written");
        Ok(results)
    }

    /// Compares results with the references.
    fn compare(&self, results: &Results) -> Agreement {
        let exact = reference(&self.problem, &self.q, &self.k, &self.v);
        let plain = plain(&self.problem, &self.q, &self.k, &self.v);
        self.compare_with(results, &exact, &plain)
    }

    fn compare_with(&self, Results { out, lse }: &Results, exact: &Output, plain: &Output) -> Agreement {
        Agreement {
            outputs: vec![
                compare(out, &exact.out, &plain.out, Tolerance::values(self.problem.dtype)),
                compare(lse, &exact.lse, &plain.lse, Tolerance::logarithms(self.problem.shape.d)),
            ],
        }
    }

    fn assert_agrees(&self) -> Results {
        let results = self.run();
        self.assert_is(&results);
        results
    }

    #[track_caller]
    fn assert_is(&self, results: &Results) {
        let agreement = self.compare(results);
        assert!(agreement.passed(), "{:?} {:?}: {}", self.problem, self.options, agreement.report());
    }

    /// Elements of a row of q or out.
    fn query_row(&self, batch: usize, i: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { s_q, h_q, d, .. } = self.problem.shape;
        let start = ((batch * s_q + i) * h_q + head) * d;
        start..start + d
    }

    /// Elements of a row of k or v.
    fn key_row(&self, batch: usize, j: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { s_k, h_kv, d, .. } = self.problem.shape;
        let start = ((batch * s_k + j) * h_kv + head) * d;
        start..start + d
    }
}

impl std::fmt::Debug for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.problem, self.options)
    }
}

impl Results {
    fn out(&self) -> Vec<f64> {
        self.out.to_f64()
    }

    fn lse(&self) -> Vec<f64> {
        self.lse.to_f64()
    }
}
