//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, normal_inputs, optional, required, tensor, uploaded};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, plain, reference};
use super::{Args, OP, Options, Problem, Types, launches, plan, rms_norm};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "rows over the root of their mean square, with residual addition before or after",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: normal_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("x", FLOATS, &["m", "d"], "the rows"),
        optional("residual", FLOATS, &["m", "d"], "x is added to it; the sum is normalised"),
        optional("weight", FLOATS, &["d"], "weights; all 1 if it is left out"),
        optional("addend", FLOATS, &["m", "d"], "added to the result, which then has its type"),
    ],
    options: &[
        OptionSpec {
            name: "epsilon",
            kind: OptionType::Float,
            default: "1e-6",
            meaning: "added to the mean of squares",
        },
        OptionSpec {
            name: "weight_offset",
            kind: OptionType::Float,
            default: "0",
            meaning: "added to every weight: 1 for Gemma",
        },
    ],
    outputs: &[
        tensor("out", FLOATS, &["m", "d"], "the normalised rows, of x's type unless something is added"),
        optional("sum", FLOATS, &["m", "d"], "residual + x, of the residual's type, if there is one"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    residual: Option<(HostTensor, DeviceTensor)>,
    weight: Option<(HostTensor, DeviceTensor)>,
    addend: Option<HostTensor>,
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let x = required(queue, bindings, OP, "x")?;
    let residual = uploaded(queue, bindings, "residual")?;
    let weight = uploaded(queue, bindings, "weight")?;
    let addend = uploaded(queue, bindings, "addend")?;
    let [m, d] = ["m", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let defaults = Options::default();
    let options = Options {
        epsilon: bindings.float("epsilon").map_or(defaults.epsilon, |value| value as f32),
        weight_offset: bindings.float("weight_offset").map_or(defaults.weight_offset, |value| value as f32),
        accumulate: addend.is_some(),
    };
    let dtype = |tensor: &Option<(HostTensor, DeviceTensor)>| tensor.as_ref().map(|(host, _)| host.dtype);
    let types = Types {
        x: Some(x.0.dtype),
        residual: dtype(&residual),
        weight: dtype(&weight),
        out: dtype(&addend).unwrap_or(x.0.dtype),
    };
    let problem = Problem::new(types, m, d, options)?;
    let (addend, out) = match addend {
        Some((host, device)) => (Some(host), device),
        None => (None, DeviceTensor::poisoned(queue, types.out, Layout::contiguous(&[m, d])?)?),
    };
    Ok(Box::new(Setup { problem, x, residual, weight, addend, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            x: Some(self.x.1.view()?),
            residual: self.residual.as_mut().map(|(_, device)| device.view_mut()).transpose()?,
            weight: self.weight.as_ref().map(|(_, device)| device.view()).transpose()?,
            out: self.out.view_mut()?,
            options: self.problem.options,
        };
        rms_norm(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let sum = self.residual.as_ref().map(|(_, device)| device.download(queue, "sum")).transpose()?;
        Ok([self.out.download(queue, "out")?].into_iter().chain(sum).collect())
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let values = |tensor: &Option<(HostTensor, DeviceTensor)>| tensor.as_ref().map(|(host, _)| host.to_f64());
        let (x, residual, weight) = (self.x.0.to_f64(), values(&self.residual), values(&self.weight));
        let addend = self.addend.as_ref().map(HostTensor::to_f64);
        let input =
            Input { x: &x, residual: residual.as_deref(), weight: weight.as_deref(), addend: addend.as_deref() };
        let (exact, plain) = (reference(&self.problem, &input), plain(&self.problem, &input));
        let references = [(&exact.out, &plain.out), (&exact.sum, &plain.sum)];
        let outputs = self.outputs(queue)?;
        let agreements = outputs
            .iter()
            .zip(references)
            .map(|(output, (exact, plain))| compare(output, exact, plain, Tolerance::values(output.dtype)));
        Ok(Agreement { outputs: agreements.collect() })
    }
}
