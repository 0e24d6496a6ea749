//! `quant::gguf`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::quant::PackedTensor;
use llm_kernels::quant::gguf::reference::{Inputs, plain, reference, terms};
use llm_kernels::quant::gguf::{Activations, Args, Plan, Problem, gguf, plan};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Format, Layout, Result};

use crate::{LAUNCHES, packed, queue, rounded, upload, upload_bytes};

use Activations::{Exact, Q8};
use DType::{BF16, F16, F32};

/// A problem with its input, row-major.
#[derive(Clone, Debug)]
struct Product {
    problem: Problem,
    w: Vec<u8>,
    x: Vec<f64>,
    bias: Option<Vec<f64>>,
}

impl Product {
    /// f32 activations of the standard normal distribution, no bias; sizes are `[m, n, k]`.
    fn new(format: Format, activations: Activations, [m, n, k]: [usize; 3]) -> Self {
        let problem = Problem { format, m, n, k, x_dtype: F32, bias_dtype: None, y_dtype: F32, activations };
        Self { problem, w: packed(format, n, k), x: rounded(F32, &random::normal(7, m * k)), bias: None }
    }

    fn with_types(mut self, x: DType, y: DType) -> Self {
        (self.problem.x_dtype, self.problem.y_dtype) = (x, y);
        self.x = rounded(x, &self.x);
        self
    }

    fn with_bias(mut self, dtype: DType) -> Self {
        self.problem.bias_dtype = Some(dtype);
        self.bias = Some(rounded(dtype, &random::normal(11, self.problem.n)));
        self
    }

    fn layouts(&self) -> [Layout; 2] {
        let Problem { m, n, k, .. } = self.problem;
        [[m, k], [m, n]].map(|shape| Layout::contiguous(&shape).unwrap())
    }

    fn run(&self) -> HostTensor {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs with x and y laid out as given. Bytes between the result's elements must stay as they are.
    fn run_in(&self, layouts: [Layout; 2]) -> Result<HostTensor> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = self.tensors(layouts)?;
        tensors.launch(&self.problem)?;
        queue().synchronize()?;
        let y = tensors.y.download(queue(), "y")?;
        let mut untouched = DeviceTensor::poisoned(queue(), self.problem.y_dtype, layouts[1])?;
        untouched.write(queue(), &y.bytes)?;
        assert!(untouched.image(queue())? == tensors.y.image(queue())?, "bytes between elements were written");
        Ok(y)
    }

    fn tensors(&self, [x, y]: [Layout; 2]) -> Result<Tensors> {
        let bytes = plan(&self.problem, queue().device().limits())?.workspace.bytes;
        let bias = self.bias.as_ref().zip(self.problem.bias_dtype);
        Ok(Tensors {
            w: upload_bytes(&self.w)?,
            x: upload(self.problem.x_dtype, &self.x, x)?,
            bias: bias.map(|(bias, dtype)| upload(dtype, bias, Layout::contiguous(&[bias.len()])?)).transpose()?,
            y: DeviceTensor::poisoned(queue(), self.problem.y_dtype, y)?,
            workspace: DeviceTensor::poisoned(queue(), DType::U8, Layout::contiguous(&[bytes])?)?,
        })
    }

    /// The kernel for many rows takes it.
    #[track_caller]
    fn assert_is_for_many(&self) {
        let plan = plan(&self.problem, queue().device().limits()).unwrap();
        assert!(plan.tile.is_none(), "{:?} goes to {}", self.problem, plan.multiply.instance);
    }

    /// The result in double precision, a plain one, and how they may differ.
    fn references(&self) -> ([Vec<f64>; 2], Tolerance) {
        let w = self.problem.format.dequantise(&self.w);
        let inputs = Inputs { w: &w, x: &self.x, bias: self.bias.as_deref() };
        let rows = || 0..self.problem.m;
        let Plan { tile, elements, .. } = plan(&self.problem, queue().device().limits()).unwrap();
        let plain = plain(&self.problem, elements, &inputs, rows());
        // Tensor cores add up parts of f32.
        let tolerance = match (tile, self.problem.activations, self.problem.y_dtype) {
            (None, Exact, F32) => Tolerance::products(F32, terms(&self.problem, &inputs, rows())),
            (_, _, dtype) => Tolerance::values(dtype),
        };
        ([reference(&self.problem, &inputs, rows()), plain], tolerance)
    }

    #[track_caller]
    fn assert_agrees(&self) -> HostTensor {
        let y = self.run();
        let ([exact, plain], tolerance) = self.references();
        let compared = compare(&y, &exact, &plain, tolerance);
        let agreement = Agreement { outputs: vec![compared] };
        assert!(agreement.passed(), "{:?}: {}", self.problem, agreement.report());
        y
    }
}

struct Tensors {
    w: DeviceTensor,
    x: DeviceTensor,
    bias: Option<DeviceTensor>,
    y: DeviceTensor,
    workspace: DeviceTensor,
}

impl Tensors {
    fn launch(&mut self, problem: &Problem) -> Result<()> {
        let Problem { format, n, k, activations, .. } = *problem;
        let args = Args {
            w: PackedTensor { format, n, k, bytes: self.w.view()? },
            x: self.x.view()?,
            bias: self.bias.as_ref().map(DeviceTensor::view).transpose()?,
            y: self.y.view_mut()?,
            workspace: Some(self.workspace.view_mut()?),
            activations,
        };
        gguf(queue(), args)
    }
}
