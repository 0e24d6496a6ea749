//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, normal_inputs, optional, required, tensor, uploaded};
use super::super::gated::verify::{OPTIONS, activation};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Args, OP, Problem, Types, gated_backward, launches, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, Prepared, compare};
use crate::{Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of activation(gate) * up",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: normal_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("gate", FLOATS, &["m", "d"], "what went through the activation"),
        optional("up", FLOATS, &["m", "d"], "what that was multiplied by"),
        tensor("d_out", FLOATS, &["m", "d"], "the gradient of the result"),
    ],
    options: OPTIONS,
    outputs: &[
        tensor("d_gate", FLOATS, &["m", "d"], "the gradient of the gate, of its type"),
        optional("d_up", FLOATS, &["m", "d"], "the gradient of up, of its type, if there is one"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    gate: (HostTensor, DeviceTensor),
    up: Option<(HostTensor, DeviceTensor)>,
    d_out: (HostTensor, DeviceTensor),
    d_gate: DeviceTensor,
    d_up: Option<DeviceTensor>,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let activation = activation(OP, bindings)?;
    let (gate, d_out) = (required(queue, bindings, OP, "gate")?, required(queue, bindings, OP, "d_out")?);
    let up = uploaded(queue, bindings, "up")?;
    let [m, d] = ["m", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let dtype = gate.0.dtype;
    let types =
        Types { gate: dtype, up: up.as_ref().map(|(host, _)| [host.dtype; 2]), d_out: d_out.0.dtype, d_gate: dtype };
    let problem = Problem::new(types, 1, m * d, activation)?;
    let layout = Layout::contiguous(&[m, d])?;
    let d_up = up.as_ref().map(|(host, _)| DeviceTensor::poisoned(queue, host.dtype, layout)).transpose()?;
    let d_gate = DeviceTensor::poisoned(queue, dtype, layout)?;
    Ok(Box::new(Setup { problem, gate, up, d_out, d_gate, d_up }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            gate: self.gate.1.view()?,
            up: self.up.as_ref().map(|(_, device)| device.view()).transpose()?,
            d_out: self.d_out.1.view()?,
            d_gate: self.d_gate.view_mut()?,
            d_up: self.d_up.as_mut().map(DeviceTensor::view_mut).transpose()?,
            activation: self.problem.activation,
        };
        gated_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let d_up = self.d_up.as_ref().map(|d_up| d_up.download(queue, "d_up")).transpose()?;
        Ok([self.d_gate.download(queue, "d_gate")?].into_iter().chain(d_up).collect())
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (gate, d_out) = (self.gate.0.to_f64(), self.d_out.0.to_f64());
        let up = self.up.as_ref().map(|(host, _)| host.to_f64());
        let exact = reference(&self.problem, &gate, up.as_deref(), &d_out);
        let plain = plain(&self.problem, &gate, up.as_deref(), &d_out);
        let references = [(&exact.d_gate, &plain.d_gate), (&exact.d_up, &plain.d_up)];
        let outputs = self.outputs(queue)?;
        let agreements = outputs
            .iter()
            .zip(references)
            .map(|(output, (exact, plain))| compare(output, exact, plain, Tolerance::gradients(output.dtype, 0.0)));
        Ok(Agreement { outputs: agreements.collect() })
    }
}
