//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Inputs, plain, reference, terms};
use super::{Args, OP, Problem, launches, plan, weight_only};
use crate::quant::{GroupedFormat, GroupedMatrix, GroupedTensor, PackedMatrix, sample, verify};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare, random,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "activations times a matrix of 4 or 8 bits with scales of groups",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("codes", &[DType::U8], &["code_bytes"], false, "packed codes, as quant/repack makes them"),
        tensor("scales", HALVES, &["scales"], false, "packed scales, of the type of x"),
        tensor("zeros", &[DType::U8], &["scales"], true, "packed zero-points"),
        tensor("x", HALVES, &["m", "k"], false, "activations"),
        tensor("bias", verify::FLOATS, &["n"], true, "added to every row"),
    ],
    options: &[
        OptionSpec {
            name: "codes",
            kind: OptionType::Choice(&["int4", "int8", "nf4"]),
            default: "must be set",
            meaning: "what a weight is stored as",
        },
        OptionSpec { name: "group", kind: OptionType::Count, default: "k", meaning: "columns that share a scale" },
        OptionSpec { name: "n", kind: OptionType::Count, default: "must be set", meaning: "rows of w" },
    ],
    outputs: &[tensor("y", HALVES, &["m", "n"], false, "x w^T + bias, of the type of x")],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional, meaning }
}

/// Weights and activations about as large as those of a model, with zero-points for every second case.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let [m, n, k] = ["m", "n", "k"].map(|name| case.size(op.path, name));
    let (m, n, k) = (m?, n?, k?);
    let option = |name| case.options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
    let missing = |name| Error::Binding { op: OP, problem: format!("case {:?} has no {name}", case.name) };
    let codes = option("codes").and_then(|name| name.parse().ok()).ok_or_else(|| missing("codes"))?;
    let group = option("group").and_then(|group| group.parse().ok()).ok_or_else(|| missing("group"))?;
    let format = GroupedFormat { codes, n, k, group };
    let packed = sample::grouped(format, group == 64 && format.codes.has_zeros(), 1).pack(case.dtype, None);
    let scales = HostTensor {
        name: "scales".to_owned(),
        dtype: case.dtype,
        shape: vec![packed.scales.len() / 2],
        bytes: packed.scales,
    };
    let mut inputs = vec![
        HostTensor::from_slice("codes", &[packed.codes.len()], &packed.codes),
        scales,
        HostTensor::from_f64("x", case.dtype, &[m, k], &random::normal(2, m * k)),
    ];
    inputs.extend(packed.zeros.map(|zeros| HostTensor::from_slice("zeros", &[zeros.len()], &zeros)));
    Ok(inputs)
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    codes: (HostTensor, DeviceTensor),
    scales: (HostTensor, DeviceTensor),
    zeros: Option<(HostTensor, DeviceTensor)>,
    x: (HostTensor, DeviceTensor),
    bias: Option<(HostTensor, DeviceTensor)>,
    y: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |host: &HostTensor| -> Result<_> { Ok((host.clone(), host.upload(queue)?)) };
    let missing = |name| Error::Binding { op: OP, problem: format!("option {name} is missing") };
    let required = |name| bindings.required(OP, name);
    let (codes, scales) = (upload(required("codes")?)?, upload(required("scales")?)?);
    let (x, zeros) = (upload(required("x")?)?, bindings.tensor("zeros").map(upload).transpose()?);
    let bias = bindings.tensor("bias").map(upload).transpose()?;
    let (m, k, dtype) = (x.0.shape[0], x.0.shape[1], x.0.dtype);
    let format = GroupedFormat {
        codes: bindings.choice("codes").and_then(|name| name.parse().ok()).ok_or_else(|| missing("codes"))?,
        n: bindings.count("n").ok_or_else(|| missing("n"))? as usize,
        k,
        group: bindings.count("group").map_or(k, |group| group as usize),
    };
    let problem = Problem {
        format,
        has_zeros: zeros.is_some(),
        permuted: false,
        m,
        x_dtype: dtype,
        bias_dtype: bias.as_ref().map(|(host, _)| host.dtype),
        y_dtype: dtype,
    };
    let bytes = plan(&problem, queue.device().limits())?.workspace.bytes;
    let y = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[m, format.n])?)?;
    let workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[bytes])?)?;
    Ok(Box::new(Setup { problem, codes, scales, zeros, x, bias, y, workspace }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let w = GroupedTensor {
            format: self.problem.format,
            codes: self.codes.1.view()?,
            scales: self.scales.1.view()?,
            zeros: self.zeros.as_ref().map(|(_, device)| device.view()).transpose()?,
            act_order: None,
        };
        let args = Args {
            w,
            x: self.x.1.view()?,
            bias: self.bias.as_ref().map(|(_, device)| device.view()).transpose()?,
            y: self.y.view_mut()?,
            workspace: Some(self.workspace.view_mut()?),
        };
        weight_only(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.y.download(queue, "y")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let Problem { format, m, y_dtype, x_dtype, .. } = self.problem;
        let GroupedFormat { n, k, .. } = format;
        let count = (budget / (n * k).max(1)).clamp(m.min(1), m);
        let rows = || (0..count).map(|sample| (sample + 1) * m / count - 1);
        let bytes = |tensor: &(HostTensor, DeviceTensor)| tensor.0.bytes.clone();
        let zeros = self.zeros.as_ref().map(bytes);
        let packed = PackedMatrix { codes: bytes(&self.codes), scales: bytes(&self.scales), zeros };
        let matrix = GroupedMatrix::unpack(format, &packed, x_dtype);
        let (w, rounded) = (matrix.dequantised(), matrix.rounded(x_dtype));
        let (x, bias) = (self.x.0.to_f64(), self.bias.as_ref().map(|(host, _)| host.to_f64()));
        let inputs = Inputs { w: &w, x: &x, bias: bias.as_deref() };
        let exact = reference(&self.problem, &inputs, rows());
        let plain = plain(&self.problem, &Inputs { w: &rounded, ..inputs }, rows());
        let y = self.y.download(queue, "y")?.to_f64();
        let sampled: Vec<f64> = rows().flat_map(|row| &y[row * n..][..n]).copied().collect();
        let got = HostTensor::from_f64("y", y_dtype, &[count, n], &sampled);
        let tolerance = Tolerance::sums(y_dtype, k, terms(&self.problem, &inputs, rows()));
        Ok(Agreement { outputs: vec![compare(&got, &exact, &plain, tolerance)] })
    }
}
