//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, Output, mean_age, plain, reference};
use super::{Args, Extras, OP, Options, Parts, Problem, Shape, launches, plan, selective_scan};
use crate::attention::CuSeqlens;
use crate::fused::described::{FLOATS, optional, required, tensor, uploaded};
use crate::scan::described::{CU_SEQLENS, make_inputs, of_positions, sequences, sizes};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "the selective scan of Mamba",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: |op, case| make_inputs(op, case, coefficient),
    prepare,
    launches,
};

/// Numbers as a model has them, from those of the standard normal distribution: states that fade, small steps.
pub(crate) fn coefficient(name: &str, x: f64) -> f64 {
    match name {
        "A" => -x.exp(),
        "delta" => 0.5 * x.abs(),
        "delta_bias" => x - 3.0,
        _ => x,
    }
}

const F32: &[DType] = &[DType::F32];
pub(crate) const STATE: &[&str] = &["b", "dim", "d_state"];

pub(crate) const fn channels(spec: TensorSpec) -> TensorSpec {
    of_positions(spec, &["b", "s", "dim"], &["total", "dim"])
}

pub(crate) const fn states(spec: TensorSpec) -> TensorSpec {
    of_positions(spec, &["b", "s", "groups", "d_state"], &["total", "groups", "d_state"])
}

pub(crate) const SOFTPLUS: OptionSpec = OptionSpec {
    name: "softplus",
    kind: OptionType::Bool,
    default: "false",
    meaning: "step sizes are ln(1 + exp(delta + delta_bias))",
};

const DESCRIPTION: Description = Description {
    inputs: &[
        channels(tensor("u", FLOATS, &[], "inputs; dim / groups a multiple of 4")),
        channels(tensor("delta", FLOATS, &[], "step sizes, of u's type")),
        tensor("A", F32, &["dim", "d_state"], "negative for states that fade; d_state a multiple of 4 up to 256"),
        states(tensor("B", FLOATS, &[], "of u's type; neighbouring channels share a group")),
        states(tensor("C", FLOATS, &[], "as B")),
        optional("D", F32, &["dim"], "how much of u skips the states; else 0"),
        channels(optional("z", FLOATS, &[], "of u's type; the result is multiplied by silu(z)")),
        optional("delta_bias", F32, &["dim"], "added to delta"),
        optional("initial_state", F32, STATE, "the states before the first position; else 0"),
        CU_SEQLENS,
    ],
    options: &[
        SOFTPLUS,
        OptionSpec {
            name: "update",
            kind: OptionType::Bool,
            default: "false",
            meaning: "the state is updated in place",
        },
    ],
    outputs: &[
        channels(tensor("out", FLOATS, &[], "result, of u's type")),
        tensor("final_state", F32, STATE, "the states after the last position"),
    ],
};

/// A tensor on the host and on the device.
type Uploaded = (HostTensor, DeviceTensor);

/// What goes into the scan, forwards and backwards.
pub(crate) struct Inputs {
    pub(crate) u: Uploaded,
    pub(crate) delta: Uploaded,
    pub(crate) a: Uploaded,
    pub(crate) b: Uploaded,
    pub(crate) c: Uploaded,
    pub(crate) d: Option<Uploaded>,
    pub(crate) z: Option<Uploaded>,
    pub(crate) delta_bias: Option<Uploaded>,
    pub(crate) initial_state: Option<Uploaded>,
    pub(crate) cu_seqlens: Option<CuSeqlens<'static>>,
}

impl Inputs {
    pub(crate) fn new(queue: &Queue, bindings: &Bindings, op: &'static str) -> Result<Self> {
        let given = |name| required(queue, bindings, op, name);
        let maybe = |name| uploaded(queue, bindings, name);
        Ok(Self {
            u: given("u")?,
            delta: given("delta")?,
            a: given("A")?,
            b: given("B")?,
            c: given("C")?,
            d: maybe("D")?,
            z: maybe("z")?,
            delta_bias: maybe("delta_bias")?,
            initial_state: maybe("initial_state")?,
            cu_seqlens: sequences(queue, bindings)?,
        })
    }

    pub(crate) fn shape(&self, bindings: &Bindings, op: &'static str) -> Result<Shape> {
        let [dim, d_state, groups] = ["dim", "d_state", "groups"].map(|name| bindings.size(name).unwrap_or(0));
        Ok(Shape { sequences: sizes(bindings, op, self.cu_seqlens.as_ref())?, dim, d_state, groups })
    }

    /// As numbers.
    pub(crate) fn numbers(&self) -> Numbers {
        let number = |tensor: &Uploaded| tensor.0.to_f64();
        Numbers {
            given: [&self.u, &self.delta, &self.a, &self.b, &self.c].map(number),
            optional: [&self.d, &self.z, &self.delta_bias, &self.initial_state]
                .map(|tensor| tensor.as_ref().map(number)),
            cu_seqlens: self.cu_seqlens.as_ref().and_then(CuSeqlens::offsets).unwrap_or_default().to_vec(),
        }
    }
}

/// Inputs as numbers.
pub(crate) struct Numbers {
    given: [Vec<f64>; 5],
    optional: [Option<Vec<f64>>; 4],
    cu_seqlens: Vec<i32>,
}

impl Numbers {
    pub(crate) fn input(&self) -> Input<'_> {
        let [u, delta, a, b, c] = self.given.each_ref().map(Vec::as_slice);
        let [d, z, delta_bias, initial_state] = self.optional.each_ref().map(Option::as_deref);
        Input { u, delta, a, b, c, d, z, delta_bias, initial_state, cu_seqlens: &self.cu_seqlens }
    }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    inputs: Inputs,
    out: DeviceTensor,
    final_state: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let inputs = Inputs::new(queue, bindings, OP)?;
    let shape = inputs.shape(bindings, OP)?;
    let options = Options { softplus: bindings.bool("softplus"), update: bindings.bool("update") };
    let parts = Parts {
        d: inputs.d.is_some(),
        z: inputs.z.is_some(),
        delta_bias: inputs.delta_bias.is_some(),
        initial_state: inputs.initial_state.is_some(),
        final_state: true,
        boundary_states: false,
        workspace: true,
    };
    let problem = Problem::new(inputs.u.0.dtype, shape, parts, options)?;
    let out = DeviceTensor::poisoned(queue, inputs.u.0.dtype, *inputs.u.1.layout())?;
    let states = Layout::contiguous(&[shape.sequences.b, shape.dim, shape.d_state])?;
    let mut final_state = DeviceTensor::poisoned(queue, DType::F32, states)?;
    if options.update {
        let zeros = vec![0; states.len() * 4];
        final_state.write(queue, inputs.initial_state.as_ref().map_or(&zeros, |(host, _)| &host.bytes))?;
    }
    let bytes = plan(&problem, queue.device().limits())?.workspace_bytes;
    let workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[bytes])?)?;
    Ok(Box::new(Setup { problem, inputs, out, final_state, workspace }))
}

/// A view of a tensor that may be left out.
pub(crate) fn view(tensor: &Option<Uploaded>) -> Result<Option<crate::TensorView<'_>>> {
    tensor.as_ref().map(|(_, device)| device.view()).transpose()
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let Inputs { u, delta, a, b, c, d, z, delta_bias, initial_state, cu_seqlens } = &self.inputs;
        let update = self.problem.options.update;
        let args = Args {
            extras: Extras {
                d: view(d)?,
                z: view(z)?,
                delta_bias: view(delta_bias)?,
                initial_state: if update { None } else { view(initial_state)? },
                final_state: Some(self.final_state.view_mut()?),
                boundary_states: None,
                workspace: Some(self.workspace.view_mut()?),
                cu_seqlens: cu_seqlens.as_ref(),
            },
            options: self.problem.options,
            ..Args::new(u.1.view()?, delta.1.view()?, [a.1.view()?, b.1.view()?, c.1.view()?], self.out.view_mut()?)
        };
        selective_scan(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.final_state.download(queue, "final_state")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let numbers = self.inputs.numbers();
        let Shape { sequences, dim, d_state, .. } = self.problem.shape;
        // An exponential is worth many multiply-adds.
        let work = 32 * sequences.positions() * dim * d_state;
        let channels: Vec<usize> = (0..dim).step_by(work.div_ceil(budget.max(1)).max(1)).collect();
        let [exact, plain]: [Output; 2] = [reference, plain].map(|of| of(&self.problem, &numbers.input(), &channels));
        let age = mean_age(&self.problem, &numbers.input(), &channels);
        let outputs = self.outputs(queue)?;
        let out = columns(&outputs[0], &channels, 1);
        let state = columns(&outputs[1], &channels, d_state);
        Ok(Agreement {
            outputs: vec![
                compare(&out, &exact.out, &plain.out, Tolerance::recurrent(out.dtype, age)),
                compare(&state, &exact.final_state, &plain.final_state, Tolerance::recurrent(DType::F32, age)),
            ],
        })
    }
}

/// Some channels of a tensor `[.., channels, width]`, as `[rows, width]` or, with a width of 1, `[rows, channels]`.
fn columns(tensor: &HostTensor, channels: &[usize], width: usize) -> HostTensor {
    let dims = if width == 1 { 1 } else { 2 };
    let dim = tensor.shape[tensor.shape.len() - dims];
    let size = width * tensor.dtype.size_bytes();
    let rows = tensor.shape[..tensor.shape.len() - dims].iter().product::<usize>();
    let bytes = (0..rows).flat_map(|row| channels.iter().map(move |channel| (row * dim + channel) * size));
    let bytes = bytes.flat_map(|at| &tensor.bytes[at..at + size]).copied().collect();
    let shape = if width == 1 { vec![rows, channels.len()] } else { vec![rows, channels.len(), width] };
    HostTensor { name: tensor.name.clone(), dtype: tensor.dtype, shape, bytes }
}
