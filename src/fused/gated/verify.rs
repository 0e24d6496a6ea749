//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, normal_inputs, optional, required, tensor, uploaded};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Activation, Args, OP, Problem, Types, gated, launches, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "activation(gate) * up: SwiGLU, GEGLU (exact and tanh), squared ReLU",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: normal_inputs,
    prepare,
    launches,
};

/// One for each activation but SiLU.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option("gelu", "x Phi(x), for x / (1 + exp(-x))"),
    option("gelu_tanh", "GELU's tanh form, for x / (1 + exp(-x))"),
    option("relu2", "max(x, 0)^2, for x / (1 + exp(-x))"),
];

const fn option(name: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionType::Bool, default: "false", meaning }
}

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("gate", FLOATS, &["m", "d"], "what goes through the activation"),
        optional("up", FLOATS, &["m", "d"], "what that is multiplied by"),
    ],
    options: OPTIONS,
    outputs: &[tensor("out", FLOATS, &["m", "d"], "the result, of the gate's type")],
};

/// The activation that options ask for.
pub(crate) fn activation(op: &'static str, bindings: &Bindings) -> Result<Activation> {
    let named = [("gelu", Activation::Gelu), ("gelu_tanh", Activation::GeluTanh), ("relu2", Activation::Relu2)];
    let asked: Vec<_> = named.iter().filter(|(name, _)| bindings.bool(name)).collect();
    match asked[..] {
        [] => Ok(Activation::Silu),
        [&(_, activation)] => Ok(activation),
        [(one, _), (another, _), ..] => {
            Err(Error::Binding { op, problem: format!("option {one} and option {another} are both set") })
        }
    }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    gate: (HostTensor, DeviceTensor),
    up: Option<(HostTensor, DeviceTensor)>,
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let activation = activation(OP, bindings)?;
    let gate = required(queue, bindings, OP, "gate")?;
    let up = uploaded(queue, bindings, "up")?;
    let [m, d] = ["m", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let dtype = gate.0.dtype;
    let types = Types { gate: Some(dtype), up: up.as_ref().map(|(host, _)| host.dtype), out: dtype };
    let problem = Problem::new(types, 1, m * d, activation)?;
    let out = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[m, d])?)?;
    Ok(Box::new(Setup { problem, gate, up, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            gate: Some(self.gate.1.view()?),
            up: self.up.as_ref().map(|(_, device)| device.view()).transpose()?,
            out: self.out.view_mut()?,
            activation: self.problem.activation,
        };
        gated(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let gate = self.gate.0.to_f64();
        let up = self.up.as_ref().map(|(host, _)| host.to_f64());
        let exact = reference(&self.problem, &gate, up.as_deref());
        let plain = plain(&self.problem, &gate, up.as_deref());
        let out = self.out.download(queue, "out")?;
        Ok(Agreement { outputs: vec![compare(&out, &exact, &plain, Tolerance::values(out.dtype))] })
    }
}
