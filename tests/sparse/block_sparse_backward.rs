//! `sparse::block_sparse_backward`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::flash_backward::{self, Wanted, flash_backward};
use llm_kernels::attention::flash_forward;
use llm_kernels::sparse::block_sparse_backward::reference::{Inputs, plain, reference, terms};
use llm_kernels::sparse::block_sparse_backward::{Args, Options, block_sparse_backward, plan};
use llm_kernels::sparse::patterns::PatternKind;
use llm_kernels::sparse::{LayoutWork, Pattern, TileGrid, block_sparse};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::block_sparse::Sparse;
use crate::{LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16};

/// A problem with what the forward pass gave, and the gradient of that.
#[derive(Clone)]
struct Backward {
    forward: Sparse,
    out: Vec<f64>,
    lse: Vec<f64>,
    d_out: Vec<f64>,
}

/// What the kernels gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    d_q: HostTensor,
    d_k: HostTensor,
    d_v: HostTensor,
}

impl Backward {
    /// After the forward pass in double precision, rounded.
    fn new(forward: Sparse) -> Self {
        let heads: Vec<&Pattern> = forward.heads.iter().collect();
        let exact = block_sparse::reference::reference(&forward.dense(), &heads, &forward.inputs());
        let d_out = rounded(forward.dtype, &random::normal(77, exact.out.len()));
        let (out, lse) = (rounded(forward.dtype, &exact.out), rounded(DType::F32, &exact.lse));
        Self { forward, out, lse, d_out }
    }

    /// For counters alone: nothing of the forward pass is right but its sizes.
    fn without_forward(forward: Sparse) -> Self {
        let [.., out, lse] = forward.layouts();
        let ones = |count| vec![1.0; count];
        Self { out: ones(out.len()), lse: ones(lse.len()), d_out: ones(out.len()), forward }
    }

    fn run(&self) -> Results {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch(|work| work()).unwrap_or_else(|error| panic!("{:?}: {error}", self.forward))
    }

    fn launch(&self, around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>) -> Result<Results> {
        let (queue, dtype) = (queue(), self.forward.dtype);
        let layout = self.forward.layout()?;
        let layouts = self.forward.layouts();
        let [q, k, v] = self.forward.upload(layouts)?;
        let [out, d_out] = [&self.out, &self.d_out].map(|values| upload(dtype, values, layouts[3]));
        let (out, d_out, lse) = (out?, d_out?, upload(DType::F32, &self.lse, layouts[4])?);
        let poisoned = |layout: Layout| DeviceTensor::poisoned(queue, dtype, layout);
        let (mut d_q, mut d_k, mut d_v) = (poisoned(layouts[0])?, poisoned(layouts[1])?, poisoned(layouts[2])?);
        let bytes = plan(&self.forward.problem(), queue.device().limits())?.workspace.bytes;
        let mut workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[bytes])?)?;
        let [cu_seqlens_q, cu_seqlens_k] = self.forward.upload_sequences()?;
        around(&mut || {
            let args = Args {
                q: q.view()?,
                k: k.view()?,
                v: v.view()?,
                out: out.view()?,
                lse: lse.view()?,
                d_out: d_out.view()?,
                layout: &layout,
                d_q: d_q.view_mut()?,
                d_k: d_k.view_mut()?,
                d_v: d_v.view_mut()?,
                workspace: workspace.view_mut()?,
                cu_seqlens_q: cu_seqlens_q.as_ref(),
                cu_seqlens_k: cu_seqlens_k.as_ref(),
                options: self.forward.options,
            };
            block_sparse_backward(queue, args)
        })?;
        queue.synchronize()?;
        let download = |tensor: &DeviceTensor, name| tensor.download(queue, name);
        Ok(Results { d_q: download(&d_q, "d_q")?, d_k: download(&d_k, "d_k")?, d_v: download(&d_v, "d_v")? })
    }

    /// Gradients of dense attention.
    fn launch_dense(&self, around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>) -> Result<Results> {
        let (queue, dtype) = (queue(), self.forward.dtype);
        let layouts = self.forward.layouts();
        let [q, k, v] = self.forward.upload(layouts)?;
        let [out, d_out] = [&self.out, &self.d_out].map(|values| upload(dtype, values, layouts[3]));
        let (out, d_out, lse) = (out?, d_out?, upload(DType::F32, &self.lse, layouts[4])?);
        let poisoned = |layout: Layout| DeviceTensor::poisoned(queue, dtype, layout);
        let (mut d_q, mut d_k, mut d_v) = (poisoned(layouts[0])?, poisoned(layouts[1])?, poisoned(layouts[2])?);
        let plan = flash_backward::plan(&self.forward.dense(), Wanted::default(), queue.device().limits())?;
        let mut workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[plan.workspace.bytes])?)?;
        around(&mut || {
            let args = flash_backward::Args {
                q: q.view()?,
                k: k.view()?,
                v: v.view()?,
                out: out.view()?,
                lse: lse.view()?,
                d_out: d_out.view()?,
                d_q: d_q.view_mut()?,
                d_k: d_k.view_mut()?,
                d_v: d_v.view_mut()?,
                workspace: workspace.view_mut()?,
                extras: flash_backward::Extras::default(),
                options: flash_forward::Options { scale: self.forward.options.scale, ..Default::default() },
            };
            flash_backward(queue, args)
        })?;
        queue.synchronize()?;
        let download = |tensor: &DeviceTensor, name| tensor.download(queue, name);
        Ok(Results { d_q: download(&d_q, "d_q")?, d_k: download(&d_k, "d_k")?, d_v: download(&d_v, "d_v")? })
    }

    /// Compares with the references, on the same `out` and `lse`.
    fn compare(&self, results: &Results) -> Agreement {
        let heads: Vec<&Pattern> = self.forward.heads.iter().collect();
        let inputs = Inputs { forward: self.forward.inputs(), out: &self.out, lse: &self.lse, d_out: &self.d_out };
        let problem = self.forward.dense();
        let (exact, plain) = (reference(&problem, &heads, &inputs), plain(&problem, &heads, &inputs));
        let terms = terms(&problem, &inputs);
        let tolerance = |which: usize| Tolerance::gradients(self.forward.dtype, terms[which]);
        Agreement {
            outputs: vec![
                compare(&results.d_q, &exact.d_q, &plain.d_q, tolerance(0)),
                compare(&results.d_k, &exact.d_k, &plain.d_k, tolerance(1)),
                compare(&results.d_v, &exact.d_v, &plain.d_v, tolerance(2)),
            ],
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Results {
        let results = self.run();
        let agreement = self.compare(&results);
        assert!(agreement.passed(), "{:?}: {}", self.forward, agreement.report());
        results
    }
}
