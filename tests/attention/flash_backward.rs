//! `attention::flash_backward`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::flash_backward::reference::{Gradients, Inputs, plain, reference, terms};
use llm_kernels::attention::flash_backward::{Args, Options, Problem, Shape, flash_backward, plan};
use llm_kernels::attention::flash_forward;
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{CAUSAL, FULL, LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16, F32, U8};

/// A problem with its input, row-major; `out` and `lse` are the reference's, rounded.
#[derive(Clone)]
struct Attention {
    problem: Problem,
    options: Options,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    d_out: Vec<f64>,
    out: Vec<f64>,
    lse: Vec<f64>,
}

/// What the kernels gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    d_q: HostTensor,
    d_k: HostTensor,
    d_v: HostTensor,
}

/// Layouts of all tensors but lse.
#[derive(Clone, Copy, Debug)]
struct Layouts {
    q: Layout,
    k: Layout,
    v: Layout,
    out: Layout,
    d_out: Layout,
    d_q: Layout,
    d_k: Layout,
    d_v: Layout,
}

/// `[b, s_q, s_k, h_q, h_kv, d]`
fn shape([b, s_q, s_k, h_q, h_kv, d]: [usize; 6]) -> Shape {
    Shape { b, s_q, s_k, h_q, h_kv, d, d_v: d }
}

impl Attention {
    /// Input of the standard normal distribution; sizes are `[b, s_q, s_k, h_q, h_kv, d]`.
    fn new(dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::seeded(0, dtype, sizes, options)
    }

    fn seeded(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        let mut attention = Self::without_forward(seed, dtype, sizes, options);
        attention.forward();
        attention
    }

    /// With zeros for `out` and `lse`: where only the work counts, which does not depend on values.
    fn without_forward(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = shape(sizes);
        let values = |tensor: u64, count| rounded(dtype, &random::normal(4 * seed + tensor, count));
        Self {
            problem: Problem::new(dtype, shape(sizes), &options).unwrap(),
            options,
            q: values(0, b * s_q * h_q * d),
            k: values(1, b * s_k * h_kv * d),
            v: values(2, b * s_k * h_kv * d),
            d_out: values(3, b * s_q * h_q * d),
            out: vec![0.0; b * s_q * h_q * d],
            lse: vec![0.0; b * h_q * s_q],
        }
    }

    /// Sets `out` and `lse` to those of q, k and v.
    fn forward(&mut self) {
        let exact = flash_forward::reference::reference(&self.problem, &self.inputs().forward());
        self.out = rounded(self.problem.dtype, &exact.out);
        self.lse = rounded(F32, &exact.lse);
    }

    fn layouts(&self) -> Layouts {
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = self.problem.shape;
        let q = Layout::contiguous(&[b, s_q, h_q, d]).unwrap();
        let k = Layout::contiguous(&[b, s_k, h_kv, d]).unwrap();
        Layouts { q, k, v: k, out: q, d_out: q, d_q: q, d_k: k, d_v: k }
    }

    fn run(&self) -> Results {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs with tensors laid out as given, in memory that is NaN wherever nothing was put, the workspace too. Bytes
    /// between the elements of the outputs must stay as they are.
    fn run_in(&self, layouts: Layouts) -> Result<Results> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let mut outputs = self.launch(layouts, |work| work())?;
        queue().synchronize()?;
        let results = Results {
            d_q: outputs[0].download(queue(), "d_q")?,
            d_k: outputs[1].download(queue(), "d_k")?,
            d_v: outputs[2].download(queue(), "d_v")?,
        };
        for (tensor, result) in outputs.iter_mut().zip([&results.d_q, &results.d_k, &results.d_v]) {
            let mut untouched = DeviceTensor::poisoned(queue(), self.problem.dtype, *tensor.layout())?;
            untouched.write(queue(), &result.bytes)?;
            let same = untouched.image(queue())? == tensor.image(queue())?;
            assert!(same, "bytes between the elements of {} were written", result.name);
        }
        Ok(results)
    }

    /// Puts everything on the device and calls the operator within `around`; the outputs.
    fn launch(
        &self,
        layouts: Layouts,
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<[DeviceTensor; 3]> {
        let (dtype, Shape { b, s_q, h_q, .. }) = (self.problem.dtype, self.problem.shape);
        let q = upload(dtype, &self.q, layouts.q)?;
        let k = upload(dtype, &self.k, layouts.k)?;
        let v = upload(dtype, &self.v, layouts.v)?;
        let out = upload(dtype, &self.out, layouts.out)?;
        let d_out = upload(dtype, &self.d_out, layouts.d_out)?;
        let lse = upload(F32, &self.lse, Layout::contiguous(&[b, h_q, s_q])?)?;
        let poisoned = |layout| DeviceTensor::poisoned(queue(), dtype, layout);
        let mut outputs = [poisoned(layouts.d_q)?, poisoned(layouts.d_k)?, poisoned(layouts.d_v)?];
        let bytes = plan(&self.problem, queue().device().limits())?.workspace.bytes;
        let mut workspace = DeviceTensor::poisoned(queue(), U8, Layout::contiguous(&[bytes])?)?;
        let mut call = || {
            let [d_q, d_k, d_v] = outputs.each_mut().map(DeviceTensor::view_mut);
            let args = Args {
                q: q.view()?,
                k: k.view()?,
                v: v.view()?,
                out: out.view()?,
                lse: lse.view()?,
                d_out: d_out.view()?,
                d_q: d_q?,
                d_k: d_k?,
                d_v: d_v?,
                workspace: workspace.view_mut()?,
                options: self.options,
            };
            flash_backward(queue(), args)
        };
        around(&mut call)?;
        Ok(outputs)
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { q: &self.q, k: &self.k, v: &self.v, out: &self.out, lse: &self.lse, d_out: &self.d_out }
    }

    /// Compares results with the references.
    fn compare(&self, results: &Results) -> Agreement {
        let inputs = self.inputs();
        self.compare_with(results, &reference(&self.problem, &inputs), &plain(&self.problem, &inputs))
    }

    fn compare_with(&self, results: &Results, exact: &Gradients, plain: &Gradients) -> Agreement {
        let [q, k, v] = terms(&self.problem, &self.inputs()).map(|x| Tolerance::gradients(self.problem.dtype, x));
        Agreement {
            outputs: vec![
                compare(&results.d_q, &exact.d_q, &plain.d_q, q),
                compare(&results.d_k, &exact.d_k, &plain.d_k, k),
                compare(&results.d_v, &exact.d_v, &plain.d_v, v),
            ],
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Results {
        let results = self.run();
        let agreement = self.compare(&results);
        assert!(agreement.passed(), "{:?} {:?}: {}", self.problem, self.options, agreement.report());
        results
    }

    /// Elements of a row of q, out, d_out or d_q.
    fn query_row(&self, batch: usize, i: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { s_q, h_q, d, .. } = self.problem.shape;
        let start = ((batch * s_q + i) * h_q + head) * d;
        start..start + d
    }

    /// Elements of a row of k, v, d_k or d_v.
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
    fn gradients(&self) -> Gradients {
        Gradients { d_q: self.d_q.to_f64(), d_k: self.d_k.to_f64(), d_v: self.d_v.to_f64() }
    }
}
