//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Input, plain, reference};
use super::{Args, Extras, OP, Options, Parts, Problem, Shape, launches, plan, selective_step};
use crate::fused::described::{FLOATS, optional, required, tensor, uploaded};
use crate::scan::described::make_inputs;
use crate::scan::selective_scan::verify::{SOFTPLUS, STATE, coefficient, view};
use crate::verify::tolerance::Tolerance;
use crate::verify::{Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, Prepared, compare};
use crate::{DType, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "one token of the selective scan, its state in place",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: |op, case| make_inputs(op, case, coefficient),
    prepare,
    launches,
};

const F32: &[DType] = &[DType::F32];
const CHANNELS: &[&str] = &["b", "dim"];
const STATES: &[&str] = &["b", "groups", "d_state"];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("u", FLOATS, CHANNELS, "inputs; dim / groups a multiple of 4"),
        tensor("delta", FLOATS, CHANNELS, "step sizes, of u's type"),
        tensor("A", F32, &["dim", "d_state"], "negative for states that fade; d_state a multiple of 4 up to 256"),
        tensor("B", FLOATS, STATES, "of u's type; neighbouring channels share a group"),
        tensor("C", FLOATS, STATES, "as B"),
        tensor("initial_state", F32, STATE, "the states before"),
        optional("D", F32, &["dim"], "how much of u skips the states; else 0"),
        optional("z", FLOATS, CHANNELS, "of u's type; the result is multiplied by silu(z)"),
        optional("delta_bias", F32, &["dim"], "added to delta"),
    ],
    options: &[SOFTPLUS],
    outputs: &[
        tensor("out", FLOATS, CHANNELS, "result, of u's type"),
        tensor("final_state", F32, STATE, "the states after"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    /// u, delta, A, B, C and the state before.
    given: [(HostTensor, DeviceTensor); 6],
    /// D, z and the delta bias.
    extras: [Option<(HostTensor, DeviceTensor)>; 3],
    state: DeviceTensor,
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let given = |name| required(queue, bindings, OP, name);
    let given = [given("u")?, given("delta")?, given("A")?, given("B")?, given("C")?, given("initial_state")?];
    let maybe = |name| uploaded(queue, bindings, name);
    let extras = [maybe("D")?, maybe("z")?, maybe("delta_bias")?];
    let [b, dim, d_state, groups] = ["b", "dim", "d_state", "groups"].map(|name| bindings.size(name).unwrap_or(0));
    let [d, z, delta_bias] = extras.each_ref().map(Option::is_some);
    let options = Options { softplus: bindings.bool("softplus") };
    let (dtype, shape) = (given[0].0.dtype, Shape { b, dim, d_state, groups });
    let problem = Problem::new(dtype, shape, Parts { d, z, delta_bias }, options)?;
    let (state, out) = (given[5].0.upload(queue)?, DeviceTensor::poisoned(queue, dtype, *given[0].1.layout())?);
    Ok(Box::new(Setup { problem, given, extras, state, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let [u, delta, a, b, c, _] = &self.given;
        let [d, z, delta_bias] = &self.extras;
        let args = Args {
            u: u.1.view()?,
            delta: delta.1.view()?,
            a: a.1.view()?,
            b: b.1.view()?,
            c: c.1.view()?,
            state: self.state.view_mut()?,
            out: self.out.view_mut()?,
            extras: Extras { d: view(d)?, z: view(z)?, delta_bias: view(delta_bias)? },
            options: self.problem.options,
        };
        selective_step(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.state.download(queue, "final_state")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes little longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let numbers = self.given.each_ref().map(|(host, _)| host.to_f64());
        let extras = self.extras.each_ref().map(|tensor| tensor.as_ref().map(|(host, _)| host.to_f64()));
        let [u, delta, a, b, c, initial_state] = numbers.each_ref().map(Vec::as_slice);
        let [d, z, delta_bias] = extras.each_ref().map(Option::as_deref);
        let initial_state = Some(initial_state);
        let input = Input { u, delta, a, b, c, d, z, delta_bias, initial_state, cu_seqlens: &[] };
        let channels: Vec<usize> = (0..self.problem.shape.dim).collect();
        let exact = reference(&self.problem, &input, &channels)?;
        let plain = plain(&self.problem, &input, &channels)?;
        let outputs = self.outputs(queue)?;
        let tolerance = |out: &HostTensor| Tolerance::recurrent(out.dtype, 1.0);
        Ok(Agreement {
            outputs: vec![
                compare(&outputs[0], &exact.out, &plain.out, tolerance(&outputs[0])),
                compare(&outputs[1], &exact.final_state, &plain.final_state, tolerance(&outputs[1])),
            ],
        })
    }
}
