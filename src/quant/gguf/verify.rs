//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Inputs, plain, reference, terms};
use super::{Activations, Args, OP, Plan, Problem, gguf, launches, plan};
use crate::quant::{PackedTensor, sample, verify};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare, random,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "activations times a matrix in a block format of ggml",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        verify::PACKED,
        tensor("x", verify::FLOATS, &["m", "k"], false, "activations"),
        tensor("bias", verify::FLOATS, &["n"], true, "added to every row"),
    ],
    options: &[
        verify::FORMAT,
        verify::K,
        OptionSpec {
            name: "activations",
            kind: OptionType::Choice(&["q8", "exact"]),
            default: "q8",
            meaning: "q8: as integers of 8 bits in blocks of 32; exact: as they are",
        },
    ],
    outputs: &[tensor("y", verify::FLOATS, &["m", "n"], false, "x w^T + bias, of the type of x")],
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

/// Weights and activations about as large as those of a model.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let [m, n, k] = ["m", "n", "k"].map(|name| case.size(op.path, name));
    let (m, n, k) = (m?, n?, k?);
    let format = verify::format_of_case(OP, case)?;
    let packed = sample::weights(format, 1, n * k / format.block_weights());
    Ok(vec![
        HostTensor::from_slice("w", &[n, packed.len() / n.max(1)], &packed),
        HostTensor::from_f64("x", case.dtype, &[m, k], &random::normal(2, m * k)),
    ])
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    w: (HostTensor, DeviceTensor),
    x: (HostTensor, DeviceTensor),
    bias: Option<(HostTensor, DeviceTensor)>,
    y: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |host: &HostTensor| -> Result<_> { Ok((host.clone(), host.upload(queue)?)) };
    let (format, n, k) = verify::packed_sizes(OP, bindings)?;
    let w = upload(&verify::flat(bindings.required(OP, "w")?))?;
    let x = upload(bindings.required(OP, "x")?)?;
    let bias = bindings.tensor("bias").map(upload).transpose()?;
    let activations = match bindings.choice("activations") {
        Some("exact") => Activations::Exact,
        _ => Activations::Q8,
    };
    let (m, dtype) = (x.0.shape[0], x.0.dtype);
    let bias_dtype = bias.as_ref().map(|(host, _)| host.dtype);
    let problem = Problem { format, m, n, k, x_dtype: dtype, bias_dtype, y_dtype: dtype, activations };
    let bytes = plan(&problem, queue.device().limits())?.workspace.bytes;
    let y = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[m, n])?)?;
    let workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[bytes])?)?;
    Ok(Box::new(Setup { problem, w, x, bias, y, workspace }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let Problem { format, n, k, activations, .. } = self.problem;
        let args = Args {
            w: PackedTensor { format, n, k, bytes: self.w.1.view()? },
            x: self.x.1.view()?,
            bias: self.bias.as_ref().map(|(_, device)| device.view()).transpose()?,
            y: self.y.view_mut()?,
            workspace: Some(self.workspace.view_mut()?),
            activations,
        };
        gguf(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.y.download(queue, "y")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let Problem { format, m, n, k, y_dtype, .. } = self.problem;
        let count = (budget / (n * k).max(1)).clamp(m.min(1), m);
        let rows = || (0..count).map(|sample| (sample + 1) * m / count - 1);
        let w = format.dequantise(&self.w.0.bytes);
        let (x, bias) = (self.x.0.to_f64(), self.bias.as_ref().map(|(host, _)| host.to_f64()));
        let inputs = Inputs { w: &w, x: &x, bias: bias.as_deref() };
        let exact = reference(&self.problem, &inputs, rows());
        let Plan { tile, elements, .. } = plan(&self.problem, queue.device().limits())?;
        let plain = plain(&self.problem, elements, &inputs, rows());
        let y = self.y.download(queue, "y")?.to_f64();
        let sampled: Vec<f64> = rows().flat_map(|row| &y[row * n..][..n]).copied().collect();
        let got = HostTensor::from_f64("y", y_dtype, &[count, n], &sampled);
        // Tensor cores add up parts of f32.
        let tolerance = match (tile, self.problem.activations, y_dtype) {
            (None, Activations::Exact, DType::F32) => {
                Tolerance::products(y_dtype, terms(&self.problem, &inputs, rows()))
            }
            _ => Tolerance::values(y_dtype),
        };
        Ok(Agreement { outputs: vec![compare(&got, &exact, &plain, tolerance)] })
    }
}
