//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, plain, reference, terms};
use super::{Args, Extras, OP, Options, Problem, States, Types, causal_conv1d_backward, launches, plan};
use crate::attention::CuSeqlens;
use crate::fused::described::{FLOATS, optional, required, tensor, uploaded};
use crate::scan::causal_conv1d::verify::{CHANNELS, CHANNELS_OF_SEQUENCES, STATE, shape};
use crate::scan::described::{CU_SEQLENS, make_inputs, of_positions, sequences};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of the causal convolution",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: |op, case| make_inputs(op, case, |_, x| x),
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        of_positions(tensor("x", FLOATS, &[], "inputs"), CHANNELS, CHANNELS_OF_SEQUENCES),
        tensor("weight", FLOATS, &["dim", "width"], "weights, width 2 to 4"),
        of_positions(
            tensor("d_out", FLOATS, &[], "the gradient of the result, of x's type"),
            CHANNELS,
            CHANNELS_OF_SEQUENCES,
        ),
        optional("bias", FLOATS, &["dim"], "as in the forward pass"),
        optional("initial_state", FLOATS, STATE, "as in the forward pass"),
        optional("d_final_state", FLOATS, STATE, "the gradient of the final state, of x's type; else 0"),
        CU_SEQLENS,
    ],
    options: &[OptionSpec {
        name: "silu",
        kind: OptionType::Bool,
        default: "false",
        meaning: "the result went through silu",
    }],
    outputs: &[
        of_positions(tensor("d_x", FLOATS, &[], "the gradient of x, of its type"), CHANNELS, CHANNELS_OF_SEQUENCES),
        tensor("d_weight", &[DType::F32], &["dim", "width"], "the gradient of the weights"),
        tensor("d_initial_state", FLOATS, STATE, "the gradient of the initial state, of x's type"),
        optional("d_bias", &[DType::F32], &["dim"], "the gradient of the bias, if there is one"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    weight: (HostTensor, DeviceTensor),
    d_out: (HostTensor, DeviceTensor),
    bias: Option<(HostTensor, DeviceTensor)>,
    initial_state: Option<(HostTensor, DeviceTensor)>,
    d_final_state: Option<(HostTensor, DeviceTensor)>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    d_x: DeviceTensor,
    d_weight: DeviceTensor,
    d_bias: Option<DeviceTensor>,
    d_initial_state: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let [x, weight, d_out] = ["x", "weight", "d_out"].map(|name| required(queue, bindings, OP, name));
    let [bias, initial_state, d_final_state] =
        ["bias", "initial_state", "d_final_state"].map(|name| uploaded(queue, bindings, name));
    let (x, weight, d_out) = (x?, weight?, d_out?);
    let (bias, initial_state, d_final_state) = (bias?, initial_state?, d_final_state?);
    let cu_seqlens = sequences(queue, bindings)?;
    let shape = shape(bindings, OP, cu_seqlens.as_ref())?;
    let dtype = x.0.dtype;
    let types = Types { x: dtype, weight: weight.0.dtype, bias: bias.as_ref().map(|(host, _)| host.dtype) };
    let states = States { initial: initial_state.is_some(), d_final: d_final_state.is_some(), d_initial: true };
    let problem = Problem::new(types, shape, states, Options { silu: bindings.bool("silu") })?;
    let made = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let d_x = DeviceTensor::poisoned(queue, dtype, *x.1.layout())?;
    let d_weight = made(DType::F32, &[shape.dim, shape.width])?;
    let d_bias = bias.as_ref().map(|_| made(DType::F32, &[shape.dim])).transpose()?;
    let d_initial_state = made(dtype, &[shape.sequences.b, shape.dim, shape.width - 1])?;
    let workspace = made(DType::U8, &[plan(&problem, queue.device().limits())?.workspace_bytes])?;
    #[rustfmt::skip]
    let setup = Setup {
        problem, x, weight, d_out, bias, initial_state, d_final_state, cu_seqlens, d_x, d_weight, d_bias,
        d_initial_state, workspace,
    };
    Ok(Box::new(setup))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            x: self.x.1.view()?,
            weight: self.weight.1.view()?,
            d_out: self.d_out.1.view()?,
            d_x: self.d_x.view_mut()?,
            d_weight: self.d_weight.view_mut()?,
            workspace: self.workspace.view_mut()?,
            extras: Extras {
                bias: self.bias.as_ref().map(|(_, device)| device.view()).transpose()?,
                initial_state: self.initial_state.as_ref().map(|(_, device)| device.view()).transpose()?,
                cu_seqlens: self.cu_seqlens.as_ref(),
                d_final_state: self.d_final_state.as_ref().map(|(_, device)| device.view()).transpose()?,
                d_bias: self.d_bias.as_mut().map(DeviceTensor::view_mut).transpose()?,
                d_initial_state: Some(self.d_initial_state.view_mut()?),
            },
            options: self.problem.options,
        };
        causal_conv1d_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let mut outputs = vec![
            self.d_x.download(queue, "d_x")?,
            self.d_weight.download(queue, "d_weight")?,
            self.d_initial_state.download(queue, "d_initial_state")?,
        ];
        if let Some(d_bias) = &self.d_bias {
            outputs.push(d_bias.download(queue, "d_bias")?);
        }
        Ok(outputs)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes little longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let [x, weight, d_out] = [&self.x, &self.weight, &self.d_out].map(|tensor| tensor.0.to_f64());
        let [bias, initial_state, d_final_state] = [&self.bias, &self.initial_state, &self.d_final_state]
            .map(|tensor| tensor.as_ref().map(|(host, _)| host.to_f64()));
        let input = Input {
            x: &x,
            weight: &weight,
            bias: bias.as_deref(),
            initial_state: initial_state.as_deref(),
            d_out: &d_out,
            d_final_state: d_final_state.as_deref(),
            cu_seqlens: self.cu_seqlens.as_ref().and_then(CuSeqlens::offsets).unwrap_or_default(),
        };
        let (exact, plain) = (reference(&self.problem, &input), plain(&self.problem, &input));
        let [of_inputs, of_weights, of_biases] = terms(&self.problem, &input);
        let references = [
            (&exact.d_x, &plain.d_x, of_inputs),
            (&exact.d_weight, &plain.d_weight, of_weights),
            (&exact.d_initial_state, &plain.d_initial_state, of_inputs),
            (&exact.d_bias, &plain.d_bias, of_biases),
        ];
        let outputs = self.outputs(queue)?;
        let agreements = outputs
            .iter()
            .zip(references)
            .map(|(out, (exact, plain, terms))| compare(out, exact, plain, Tolerance::gradients(out.dtype, terms)));
        Ok(Agreement { outputs: agreements.collect() })
    }
}
