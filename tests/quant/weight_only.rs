//! `quant::weight_only`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::quant::weight_only::reference::{Inputs, plain, reference, terms};
use llm_kernels::quant::weight_only::{Args, Problem, plan, weight_only};
use llm_kernels::quant::{ActOrder, Codes, GroupedFormat, GroupedMatrix, GroupedTensor, sample};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue, rounded, upload, upload_bytes};

use Codes::{Int4, Int8, Nf4};
use DType::{BF16, F16, F32};

/// A problem with its input, row-major.
#[derive(Clone, Debug)]
struct Product {
    problem: Problem,
    w: GroupedMatrix,
    x: Vec<f64>,
    bias: Option<Vec<f64>>,
}

impl Product {
    /// f16 activations of the standard normal distribution, no zero-points, no bias; sizes are `[m, n, k]`.
    fn new(codes: Codes, group: usize, [m, n, k]: [usize; 3]) -> Self {
        let format = GroupedFormat { codes, n, k, group };
        let (has_zeros, permuted, bias_dtype) = (false, false, None);
        let problem = Problem { format, has_zeros, permuted, m, x_dtype: F16, bias_dtype, y_dtype: F16 };
        let x = rounded(F16, &random::normal(7, m * k));
        Self { problem, w: sample::grouped(format, false, 3), x, bias: None }
    }

    /// With zero-points, if the codes have such.
    fn with_zeros(mut self) -> Self {
        if !self.problem.format.codes.has_zeros() {
            return self;
        }
        self.problem.has_zeros = true;
        self.w.zeros = sample::grouped(self.problem.format, true, 3).zeros;
        self
    }

    /// Columns are shared out among groups in another order.
    fn with_act_order(mut self) -> Self {
        let GroupedFormat { k, group, .. } = self.problem.format;
        self.problem.permuted = true;
        // Coprime to every size of a test.
        self.w.g_idx = Some((0..k).map(|column| (column * 4099 % k / group) as i32).collect());
        self
    }

    fn with_types(mut self, x: DType, y: DType) -> Self {
        (self.problem.x_dtype, self.problem.y_dtype) = (x, y);
        self.x = rounded(x, &random::normal(7, self.x.len()));
        self
    }

    fn with_bias(mut self, dtype: DType) -> Self {
        self.problem.bias_dtype = Some(dtype);
        self.bias = Some(rounded(dtype, &random::normal(11, self.problem.format.n)));
        self
    }

    fn layouts(&self) -> [Layout; 2] {
        let Problem { m, format, .. } = self.problem;
        [[m, format.k], [m, format.n]].map(|shape| Layout::contiguous(&shape).unwrap())
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
        let g_idx = self.w.g_idx.as_ref();
        let act_order = g_idx.map(|g_idx| ActOrder::new(queue(), g_idx, self.problem.format.group)).transpose()?;
        let packed = self.w.pack(self.problem.x_dtype, act_order.as_ref().map(ActOrder::order));
        let len = packed.scales.len() / 2;
        let mut scales = DeviceTensor::poisoned(queue(), self.problem.x_dtype, Layout::contiguous(&[len])?)?;
        scales.write(queue(), &packed.scales)?;
        Ok(Tensors {
            codes: upload_bytes(&packed.codes)?,
            scales,
            zeros: packed.zeros.as_ref().map(|zeros| upload_bytes(zeros)).transpose()?,
            act_order,
            x: upload(self.problem.x_dtype, &self.x, x)?,
            bias: bias.map(|(bias, dtype)| upload(dtype, bias, Layout::contiguous(&[bias.len()])?)).transpose()?,
            y: DeviceTensor::poisoned(queue(), self.problem.y_dtype, y)?,
            workspace: DeviceTensor::poisoned(queue(), DType::U8, Layout::contiguous(&[bytes])?)?,
        })
    }

    /// The result in double precision, a plain one, and how they may differ.
    fn references(&self) -> ([Vec<f64>; 2], Tolerance) {
        let (w, rounded) = (self.w.dequantised(), self.w.rounded(self.problem.x_dtype));
        let inputs = Inputs { w: &w, x: &self.x, bias: self.bias.as_deref() };
        let rows = || 0..self.problem.m;
        let plain = plain(&self.problem, &Inputs { w: &rounded, ..inputs }, rows());
        let terms = terms(&self.problem, &inputs, rows());
        let tolerance = Tolerance::sums(self.problem.y_dtype, self.problem.format.k, terms);
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
    codes: DeviceTensor,
    scales: DeviceTensor,
    zeros: Option<DeviceTensor>,
    act_order: Option<ActOrder>,
    x: DeviceTensor,
    bias: Option<DeviceTensor>,
    y: DeviceTensor,
    workspace: DeviceTensor,
}

impl Tensors {
    fn launch(&mut self, problem: &Problem) -> Result<()> {
        let w = GroupedTensor {
            format: problem.format,
            codes: self.codes.view()?,
            scales: self.scales.view()?,
            zeros: self.zeros.as_ref().map(DeviceTensor::view).transpose()?,
            act_order: self.act_order.as_ref(),
        };
        let args = Args {
            w,
            x: self.x.view()?,
            bias: self.bias.as_ref().map(DeviceTensor::view).transpose()?,
            y: self.y.view_mut()?,
            workspace: Some(self.workspace.view_mut()?),
        };
        weight_only(queue(), args)
    }
}
