//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, normal_inputs, optional, required, tensor, uploaded};
use super::super::rms_norm::Options;
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, plain, reference, terms};
use super::{Args, OP, Problem, Types, launches, plan, rms_norm_backward};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of the root-mean-square norm",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: normal_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("x", FLOATS, &["m", "d"], "what was normalised"),
        optional("weight", FLOATS, &["d"], "weights; all 1 if it is left out"),
        tensor("d_out", FLOATS, &["m", "d"], "the gradient of the result"),
        optional(
            "addend",
            FLOATS,
            &["m", "d"],
            "the gradient of the residual stream, added to d_x, which has its type",
        ),
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
        tensor("d_x", FLOATS, &["m", "d"], "the gradient of x, of its type unless something is added"),
        tensor("d_weight", &[DType::F32], &["d"], "the gradient of the weights"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    weight: Option<(HostTensor, DeviceTensor)>,
    d_out: (HostTensor, DeviceTensor),
    addend: Option<HostTensor>,
    d_x: DeviceTensor,
    d_weight: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let (x, d_out) = (required(queue, bindings, OP, "x")?, required(queue, bindings, OP, "d_out")?);
    let (weight, addend) = (uploaded(queue, bindings, "weight")?, uploaded(queue, bindings, "addend")?);
    let [m, d] = ["m", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let defaults = Options::default();
    let options = Options {
        epsilon: bindings.float("epsilon").map_or(defaults.epsilon, |value| value as f32),
        weight_offset: bindings.float("weight_offset").map_or(defaults.weight_offset, |value| value as f32),
        accumulate: addend.is_some(),
    };
    let dtype = |tensor: &Option<(HostTensor, DeviceTensor)>| tensor.as_ref().map(|(host, _)| host.dtype);
    let types = Types {
        x: x.0.dtype,
        weight: dtype(&weight),
        d_out: d_out.0.dtype,
        d_x: dtype(&addend).unwrap_or(x.0.dtype),
        d_weight: Some(DType::F32),
    };
    let problem = Problem::new(types, m, d, options)?;
    let made = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let workspace = made(DType::U8, &[plan(&problem, queue.device().limits())?.workspace_bytes])?;
    let (addend, d_x) = match addend {
        Some((host, device)) => (Some(host), device),
        None => (None, made(types.d_x, &[m, d])?),
    };
    let d_weight = made(DType::F32, &[d])?;
    Ok(Box::new(Setup { problem, x, weight, d_out, addend, d_x, d_weight, workspace }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            x: self.x.1.view()?,
            weight: self.weight.as_ref().map(|(_, device)| device.view()).transpose()?,
            d_out: self.d_out.1.view()?,
            d_x: self.d_x.view_mut()?,
            d_weight: Some(self.d_weight.view_mut()?),
            workspace: self.workspace.view_mut()?,
            options: self.problem.options,
        };
        rms_norm_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.d_x.download(queue, "d_x")?, self.d_weight.download(queue, "d_weight")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (x, d_out) = (self.x.0.to_f64(), self.d_out.0.to_f64());
        let weight = self.weight.as_ref().map(|(host, _)| host.to_f64());
        let addend = self.addend.as_ref().map(HostTensor::to_f64);
        let input = Input { x: &x, weight: weight.as_deref(), d_out: &d_out, addend: addend.as_deref() };
        let (exact, plain) = (reference(&self.problem, &input), plain(&self.problem, &input));
        let [of_rows, of_weights] = terms(&self.problem, &input);
        let references = [(&exact.d_x, &plain.d_x, of_rows), (&exact.d_weight, &plain.d_weight, of_weights)];
        let outputs = self.outputs(queue)?;
        let agreements = outputs
            .iter()
            .zip(references)
            .map(|(out, (exact, plain, terms))| compare(out, exact, plain, Tolerance::gradients(out.dtype, terms)));
        Ok(Agreement { outputs: agreements.collect() })
    }
}
