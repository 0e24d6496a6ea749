//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, plain, reference};
use super::{Args, OP, Options, Problem, Shape, Types, causal_conv1d, launches, plan};
use crate::attention::CuSeqlens;
use crate::fused::described::{FLOATS, optional, required, tensor, uploaded};
use crate::scan::described::{CU_SEQLENS, make_inputs, of_positions, sequences, sizes};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "causal convolution of each channel, with silu and its state",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: |op, case| make_inputs(op, case, |_, x| x),
    prepare,
    launches,
};

pub(crate) const CHANNELS: &[&str] = &["b", "s", "dim"];
pub(crate) const CHANNELS_OF_SEQUENCES: &[&str] = &["total", "dim"];
pub(crate) const STATE: &[&str] = &["b", "dim", "width - 1"];

const DESCRIPTION: Description = Description {
    inputs: &[
        of_positions(tensor("x", FLOATS, &[], "inputs"), CHANNELS, CHANNELS_OF_SEQUENCES),
        tensor("weight", FLOATS, &["dim", "width"], "weights, width 2 to 4; the last is the position's own"),
        optional("bias", FLOATS, &["dim"], "added to the sum"),
        optional("initial_state", FLOATS, STATE, "the inputs before the first position, of x's type; else 0"),
        CU_SEQLENS,
    ],
    options: &[
        OptionSpec { name: "silu", kind: OptionType::Bool, default: "false", meaning: "the result goes through silu" },
        OptionSpec {
            name: "update",
            kind: OptionType::Bool,
            default: "false",
            meaning: "the state is updated in place; up to 64 positions of each sequence",
        },
    ],
    outputs: &[
        of_positions(tensor("out", FLOATS, &[], "result, of x's type"), CHANNELS, CHANNELS_OF_SEQUENCES),
        tensor("final_state", FLOATS, STATE, "the last inputs, of x's type"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    weight: (HostTensor, DeviceTensor),
    bias: Option<(HostTensor, DeviceTensor)>,
    initial_state: Option<(HostTensor, DeviceTensor)>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    out: DeviceTensor,
    final_state: DeviceTensor,
}

/// Sizes of a call by name; an error if x does not go with `cu_seqlens`.
pub(crate) fn shape(bindings: &Bindings, op: &'static str, cu_seqlens: Option<&CuSeqlens>) -> Result<Shape> {
    let [dim, width] = ["dim", "width"].map(|name| bindings.size(name).unwrap_or(0));
    Ok(Shape { sequences: sizes(bindings, op, cu_seqlens)?, dim, width })
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let (x, weight) = (required(queue, bindings, OP, "x")?, required(queue, bindings, OP, "weight")?);
    let (bias, initial_state) = (uploaded(queue, bindings, "bias")?, uploaded(queue, bindings, "initial_state")?);
    let cu_seqlens = sequences(queue, bindings)?;
    let shape = shape(bindings, OP, cu_seqlens.as_ref())?;
    let options = Options { silu: bindings.bool("silu"), update: bindings.bool("update") };
    let dtype = x.0.dtype;
    let types = Types { x: dtype, weight: weight.0.dtype, bias: bias.as_ref().map(|(host, _)| host.dtype) };
    let has_initial = initial_state.is_some() && !options.update;
    let problem = Problem::new(types, shape, [has_initial, true], options)?;
    let out = DeviceTensor::poisoned(queue, dtype, x.1.layout().to_owned())?;
    let states = Layout::contiguous(&[shape.sequences.b, shape.dim, shape.width - 1])?;
    let mut final_state = DeviceTensor::poisoned(queue, dtype, states)?;
    if options.update {
        let zeros = vec![0; states.len() * dtype.size_bytes()];
        final_state.write(queue, initial_state.as_ref().map_or(&zeros, |(host, _)| &host.bytes))?;
    }
    Ok(Box::new(Setup { problem, x, weight, bias, initial_state, cu_seqlens, out, final_state }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let update = self.problem.options.update;
        let initial_state = self.initial_state.as_ref().filter(|_| !update);
        let args = Args {
            x: self.x.1.view()?,
            weight: self.weight.1.view()?,
            out: self.out.view_mut()?,
            bias: self.bias.as_ref().map(|(_, device)| device.view()).transpose()?,
            initial_state: initial_state.map(|(_, device)| device.view()).transpose()?,
            final_state: Some(self.final_state.view_mut()?),
            cu_seqlens: self.cu_seqlens.as_ref(),
            options: self.problem.options,
        };
        causal_conv1d(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.final_state.download(queue, "final_state")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (x, weight) = (self.x.0.to_f64(), self.weight.0.to_f64());
        let given = |tensor: &Option<(HostTensor, DeviceTensor)>| tensor.as_ref().map(|(host, _)| host.to_f64());
        let (bias, initial_state) = (given(&self.bias), given(&self.initial_state));
        let input = Input {
            x: &x,
            weight: &weight,
            bias: bias.as_deref(),
            initial_state: initial_state.as_deref(),
            cu_seqlens: self.cu_seqlens.as_ref().and_then(CuSeqlens::offsets).unwrap_or_default(),
        };
        let (exact, plain) = (reference(&self.problem, &input), plain(&self.problem, &input));
        let outputs = self.outputs(queue)?;
        let agreements = vec![
            compare(&outputs[0], &exact.out, &plain.out, Tolerance::values(outputs[0].dtype)),
            compare(&outputs[1], &exact.final_state, &plain.final_state, Tolerance::exact()),
        ];
        Ok(Agreement { outputs: agreements })
    }
}
