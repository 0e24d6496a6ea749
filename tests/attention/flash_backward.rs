//! `attention::flash_backward`.

mod agrees;
mod counters;
mod edges;
mod features;
mod plan;
mod properties;
mod rejects;
mod single_precision;
mod symmetry;

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use llm_kernels::attention::CuSeqlens;
use llm_kernels::attention::flash_backward::reference::{Gradients, Inputs, plain, reference, terms};
use llm_kernels::attention::flash_backward::{
    Args, Extras, Options, Plan, Problem, Shape, Wanted, flash_backward, plan,
};
use llm_kernels::attention::flash_forward::{self, Broadcast};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Limits, Result, TensorView};

use crate::flash_forward::Attention as Forward;
use crate::{CAUSAL, FULL, LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16, F32, I32, U8, U32};

/// A problem with its input, row-major; `out` and `lse` are the reference's, rounded.
#[derive(Clone)]
struct Attention {
    forward: Forward,
    d_out: Vec<f64>,
    out: Vec<f64>,
    lse: Vec<f64>,
}

impl Deref for Attention {
    type Target = Forward;
    fn deref(&self) -> &Forward {
        &self.forward
    }
}

impl DerefMut for Attention {
    fn deref_mut(&mut self) -> &mut Forward {
        &mut self.forward
    }
}

/// What the kernels gave; the gradients of sinks and bias are empty where there are none.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    d_q: HostTensor,
    d_k: HostTensor,
    d_v: HostTensor,
    d_sinks: HostTensor,
    d_bias: HostTensor,
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

/// A plan without the gradients that may be left out.
fn plain_plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    plan(problem, Wanted::default(), limits)
}

impl Attention {
    /// Input of the standard normal distribution; sizes are `[b, s_q, s_k, h_q, h_kv, d]`.
    fn new(dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::seeded(0, dtype, sizes, options)
    }

    fn seeded(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::of(seed, Forward::of_shape(4 * seed, dtype, shape(sizes), options))
    }

    /// Likewise for a forward pass.
    fn of(seed: u64, forward: Forward) -> Self {
        let mut attention = Self::without_results(seed, forward);
        attention.set_results();
        attention
    }

    /// With zeros for `out` and `lse`: where only the work counts, which does not depend on values.
    fn without_forward(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::without_results(seed, Forward::of_shape(4 * seed, dtype, shape(sizes), options))
    }

    fn without_results(seed: u64, forward: Forward) -> Self {
        let Shape { b, s_q, h_q, d_v, .. } = forward.problem.shape;
        let queries = forward.problem.totals.map_or(b * s_q, |[total_q, _]| total_q);
        let values = random::normal(4 * seed + 3, queries * h_q * d_v);
        let d_out = rounded(forward.problem.dtype, &values);
        Self { out: vec![0.0; d_out.len()], lse: vec![0.0; queries * h_q], d_out, forward }
    }

    /// Sets `out` and `lse` to those of the input.
    fn set_results(&mut self) {
        let exact = flash_forward::reference::reference(&self.problem, &self.forward.inputs());
        self.out = rounded(self.problem.dtype, &exact.out);
        self.lse = rounded(F32, &exact.lse);
    }

    fn layouts(&self) -> Layouts {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = self.problem.shape;
        let totals = self.problem.totals;
        let of = |which: usize, [b, s]: [usize; 2], row: [usize; 2]| match totals {
            Some(totals) => Layout::contiguous(&[totals[which], row[0], row[1]]).unwrap(),
            None => Layout::contiguous(&[b, s, row[0], row[1]]).unwrap(),
        };
        let (q, out) = (of(0, [b, s_q], [h_q, d]), of(0, [b, s_q], [h_q, d_v]));
        let (k, v) = (of(1, [b, s_k], [h_kv, d]), of(1, [b, s_k], [h_kv, d_v]));
        Layouts { q, k, v, out, d_out: out, d_q: q, d_k: k, d_v: v }
    }

    fn lse_layout(&self) -> Layout {
        let Shape { b, s_q, h_q, .. } = self.problem.shape;
        match self.problem.totals {
            Some([total_q, _]) => Layout::contiguous(&[h_q, total_q]).unwrap(),
            None => Layout::contiguous(&[b, h_q, s_q]).unwrap(),
        }
    }

    /// Sinks and bias get their gradients wherever there are some.
    fn wanted(&self) -> Wanted {
        Wanted { d_sinks: self.problem.sinks, d_bias: self.problem.bias.is_some() }
    }

    fn plan(&self) -> Plan {
        plan(&self.problem, self.wanted(), queue().device().limits()).unwrap()
    }

    fn run(&self) -> Results {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
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
            d_sinks: outputs[3].download(queue(), "d_sinks")?,
            d_bias: outputs[4].download(queue(), "d_bias")?,
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
    ) -> Result<[DeviceTensor; 5]> {
        let (problem, extras) = (&self.problem, &self.extras);
        let (dtype, Shape { b, h_q, .. }) = (problem.dtype, problem.shape);
        let q = upload(dtype, &self.q, layouts.q)?;
        let k = upload(dtype, &self.k, layouts.k)?;
        let v = upload(dtype, &self.v, layouts.v)?;
        let out = upload(dtype, &self.out, layouts.out)?;
        let d_out = upload(dtype, &self.d_out, layouts.d_out)?;
        let lse = upload(F32, &self.lse, self.lse_layout())?;
        let given = |given: bool, dtype, values: &[f64], shape: &[usize]| {
            given.then(|| upload(dtype, values, Layout::contiguous(shape)?)).transpose()
        };
        let rows = |broadcast: Option<Broadcast>| {
            broadcast.map_or([0; 4], |Broadcast { b, h_q, s_q, columns, .. }| [b, h_q, s_q, columns])
        };
        let numbers = |values: &[i32]| values.iter().map(|&value| value.into()).collect::<Vec<f64>>();
        let words: Vec<f64> = extras.mask_bits.iter().map(|&word| word.into()).collect();
        let sinks = given(problem.sinks, F32, &extras.sinks, &[h_q])?;
        let alibi_slopes = given(problem.alibi, F32, &extras.alibi_slopes, &[h_q])?;
        let bias_dtype = problem.bias.map_or(F32, |bias| bias.dtype);
        let bias = given(problem.bias.is_some(), bias_dtype, &extras.bias, &rows(problem.bias))?;
        let mask_bits = given(problem.mask_bits.is_some(), U32, &words, &rows(problem.mask_bits))?;
        let prefix = given(problem.prefix, I32, &numbers(&extras.prefix), &[b])?;
        let sequences = |offsets: &[i32]| problem.totals.map(|_| CuSeqlens::new(queue(), offsets)).transpose();
        let (cu_seqlens_q, cu_seqlens_k) = (sequences(&extras.cu_seqlens_q)?, sequences(&extras.cu_seqlens_k)?);
        let poisoned = |dtype, layout| DeviceTensor::poisoned(queue(), dtype, layout);
        let mut outputs = [
            poisoned(dtype, layouts.d_q)?,
            poisoned(dtype, layouts.d_k)?,
            poisoned(dtype, layouts.d_v)?,
            poisoned(F32, Layout::contiguous(&[if problem.sinks { h_q } else { 0 }])?)?,
            poisoned(F32, Layout::contiguous(&rows(problem.bias))?)?,
        ];
        let mut workspace = poisoned(U8, Layout::contiguous(&[self.plan().workspace.bytes])?)?;
        fn view(tensor: &Option<DeviceTensor>) -> Option<TensorView<'_>> {
            tensor.as_ref().map(|tensor| tensor.view().unwrap())
        }
        let mut call = || {
            let [d_q, d_k, d_v, d_sinks, d_bias] = outputs.each_mut().map(|tensor| tensor.view_mut().unwrap());
            let args = Args {
                q: q.view()?,
                k: k.view()?,
                v: v.view()?,
                out: out.view()?,
                lse: lse.view()?,
                d_out: d_out.view()?,
                d_q,
                d_k,
                d_v,
                workspace: workspace.view_mut()?,
                extras: Extras {
                    sinks: view(&sinks),
                    alibi_slopes: view(&alibi_slopes),
                    bias: view(&bias),
                    mask_bits: view(&mask_bits),
                    prefix: view(&prefix),
                    cu_seqlens_q: cu_seqlens_q.as_ref(),
                    cu_seqlens_k: cu_seqlens_k.as_ref(),
                    d_sinks: problem.sinks.then_some(d_sinks),
                    d_bias: problem.bias.map(|_| d_bias),
                },
                options: self.options,
            };
            flash_backward(queue(), args)
        };
        around(&mut call)?;
        Ok(outputs)
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { forward: self.forward.inputs(), out: &self.out, lse: &self.lse, d_out: &self.d_out }
    }

    /// Compares results with the references.
    fn compare(&self, results: &Results) -> Agreement {
        let inputs = self.inputs();
        self.compare_with(results, &reference(&self.problem, &inputs), &plain(&self.problem, &inputs))
    }

    fn compare_with(&self, results: &Results, exact: &Gradients, plain: &Gradients) -> Agreement {
        let terms = terms(&self.problem, &self.inputs());
        let sizes = self.score_sizes();
        let tolerance = |dtype, which: usize| Tolerance::weighed_gradients(dtype, terms[which], sizes.iter().copied());
        let [q, k, v] = [0, 1, 2].map(|which| tolerance(self.problem.dtype, which));
        let [sinks, bias] = [3, 4].map(|which| tolerance(F32, which));
        Agreement {
            outputs: vec![
                compare(&results.d_q, &exact.d_q, &plain.d_q, q),
                compare(&results.d_k, &exact.d_k, &plain.d_k, k),
                compare(&results.d_v, &exact.d_v, &plain.d_v, v),
                compare(&results.d_sinks, &exact.d_sinks, &plain.d_sinks, sinks),
                compare(&results.d_bias, &exact.d_bias, &plain.d_bias, bias),
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
}

impl std::fmt::Debug for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.problem, self.options)
    }
}

impl Results {
    /// Without gradients of sinks and bias.
    fn plain(d_q: HostTensor, d_k: HostTensor, d_v: HostTensor) -> Self {
        let none = |name, shape: &[usize]| HostTensor::from_f64(name, F32, shape, &[]);
        Self { d_q, d_k, d_v, d_sinks: none("d_sinks", &[0]), d_bias: none("d_bias", &[0; 4]) }
    }

    fn gradients(&self) -> Gradients {
        Gradients {
            d_q: self.d_q.to_f64(),
            d_k: self.d_k.to_f64(),
            d_v: self.d_v.to_f64(),
            d_sinks: self.d_sinks.to_f64(),
            d_bias: self.d_bias.to_f64(),
        }
    }
}
