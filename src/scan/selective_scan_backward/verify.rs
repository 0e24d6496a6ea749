//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Upstream, plain, reference, terms};
use super::{Args, Extras, OP, Options, Parts, Problem, launches, plan, selective_scan_backward};
use crate::fused::described::{FLOATS, optional, required, tensor, uploaded};
use crate::scan::described::{CU_SEQLENS, make_inputs};
use crate::scan::selective_scan::reference::mean_age;
use crate::scan::selective_scan::verify::{Inputs, SOFTPLUS, STATE, channels, coefficient, states, view};
use crate::scan::selective_scan::{self, selective_scan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, Prepared, compare};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of the selective scan",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: |op, case| make_inputs(op, case, coefficient),
    prepare,
    launches,
};

const F32: &[DType] = &[DType::F32];

const DESCRIPTION: Description = Description {
    inputs: &[
        channels(tensor("u", FLOATS, &[], "inputs; dim / groups a multiple of 4")),
        channels(tensor("delta", FLOATS, &[], "step sizes, of u's type")),
        tensor("A", F32, &["dim", "d_state"], "d_state a multiple of 4 up to 256"),
        states(tensor("B", FLOATS, &[], "of u's type; neighbouring channels share a group")),
        states(tensor("C", FLOATS, &[], "as B")),
        channels(tensor("d_out", FLOATS, &[], "the gradient of the result, of u's type")),
        optional("D", F32, &["dim"], "as in the forward pass, and so are the next four"),
        channels(optional("z", FLOATS, &[], "of u's type")),
        optional("delta_bias", F32, &["dim"], "added to delta"),
        optional(
            "initial_state",
            F32,
            STATE,
            "the states before the first position; the forward pass is run for those between",
        ),
        CU_SEQLENS,
        optional("d_final_state", F32, STATE, "the gradient of the final state; else 0"),
    ],
    options: &[SOFTPLUS],
    outputs: &[
        channels(tensor("d_u", FLOATS, &[], "of u's type")),
        channels(tensor("d_delta", FLOATS, &[], "of u's type")),
        tensor("d_A", F32, &["dim", "d_state"], "the gradient of A"),
        states(tensor("d_B", FLOATS, &[], "of u's type")),
        states(tensor("d_C", FLOATS, &[], "of u's type")),
        optional("d_D", F32, &["dim"], "the gradient of D, if it is given"),
        channels(optional("d_z", FLOATS, &[], "of u's type, if z is given")),
        optional("d_delta_bias", F32, &["dim"], "the gradient of delta_bias, if it is given"),
        tensor("d_initial_state", F32, STATE, "the gradient of the initial state"),
    ],
};

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    forward: selective_scan::Problem,
    inputs: Inputs,
    d_out: (HostTensor, DeviceTensor),
    d_final_state: Option<(HostTensor, DeviceTensor)>,
    boundary_states: DeviceTensor,
    /// In the order of the reference's; the wanted ones.
    gradients: [Option<DeviceTensor>; 9],
    workspace: DeviceTensor,
}

const NAMES: [&str; 9] = ["d_u", "d_delta", "d_A", "d_B", "d_C", "d_D", "d_z", "d_delta_bias", "d_initial_state"];

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let (inputs, d_out) = (Inputs::new(queue, bindings, OP)?, required(queue, bindings, OP, "d_out")?);
    let d_final_state = uploaded(queue, bindings, "d_final_state")?;
    let (shape, dtype) = (inputs.shape(bindings, OP)?, inputs.u.0.dtype);
    let (d, z, delta_bias) = (inputs.d.is_some(), inputs.z.is_some(), inputs.delta_bias.is_some());
    let options = Options { softplus: bindings.bool("softplus") };
    let parts = Parts {
        d,
        z,
        delta_bias,
        d_final_state: d_final_state.is_some(),
        d_d: d,
        d_z: z,
        d_delta_bias: delta_bias,
        d_initial_state: true,
    };
    let problem = Problem::new(dtype, [dtype; 2], shape, parts, options)?;
    let of_forward = selective_scan::Parts { d, z, delta_bias, ..selective_scan::Parts::default() };
    let forward_options = selective_scan::Options { softplus: options.softplus, update: false };
    let forward = selective_scan::Problem::new(dtype, shape, of_forward, forward_options)?;
    let poisoned = |dtype, layout| DeviceTensor::poisoned(queue, dtype, layout);
    let made = |dtype, shape: &[usize]| poisoned(dtype, Layout::contiguous(shape)?);
    let mut boundary_states = made(DType::F32, &shape.boundary_states())?;
    let mut out = poisoned(dtype, *inputs.u.1.layout())?;
    let Inputs { u, delta, a, b, c, d: d_tensor, z: z_tensor, delta_bias: bias, initial_state, cu_seqlens } = &inputs;
    let args = selective_scan::Args {
        extras: selective_scan::Extras {
            d: view(d_tensor)?,
            z: view(z_tensor)?,
            delta_bias: view(bias)?,
            initial_state: view(initial_state)?,
            final_state: None,
            boundary_states: Some(boundary_states.view_mut()?),
            workspace: None,
            cu_seqlens: cu_seqlens.as_ref(),
        },
        options: forward_options,
        ..selective_scan::Args::new(
            u.1.view()?,
            delta.1.view()?,
            [a.1.view()?, b.1.view()?, c.1.view()?],
            out.view_mut()?,
        )
    };
    selective_scan(queue, args)?;
    queue.synchronize()?;
    let (channels, states, vector) = (*u.1.layout(), *b.1.layout(), Layout::contiguous(&[shape.dim])?);
    let gradients = [
        Some(poisoned(dtype, channels)?),
        Some(poisoned(dtype, channels)?),
        Some(poisoned(DType::F32, *a.1.layout())?),
        Some(poisoned(dtype, states)?),
        Some(poisoned(dtype, states)?),
        d.then(|| poisoned(DType::F32, vector)).transpose()?,
        z.then(|| poisoned(dtype, channels)).transpose()?,
        delta_bias.then(|| poisoned(DType::F32, vector)).transpose()?,
        Some(made(DType::F32, &[shape.sequences.b, shape.dim, shape.d_state])?),
    ];
    let workspace = made(DType::U8, &[plan(&problem, queue.device().limits())?.workspace_bytes])?;
    Ok(Box::new(Setup { problem, forward, inputs, d_out, d_final_state, boundary_states, gradients, workspace }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let Inputs { u, delta, a, b, c, d, z, delta_bias, cu_seqlens, .. } = &self.inputs;
        let [d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state] = &mut self.gradients;
        let (Some(d_u), Some(d_delta), Some(d_a), Some(d_b), Some(d_c)) = (d_u, d_delta, d_a, d_b, d_c) else {
            return Ok(());
        };
        let args = Args {
            u: u.1.view()?,
            delta: delta.1.view()?,
            a: a.1.view()?,
            b: b.1.view()?,
            c: c.1.view()?,
            boundary_states: self.boundary_states.view()?,
            d_out: self.d_out.1.view()?,
            d_u: d_u.view_mut()?,
            d_delta: d_delta.view_mut()?,
            d_a: d_a.view_mut()?,
            d_b: d_b.view_mut()?,
            d_c: d_c.view_mut()?,
            workspace: self.workspace.view_mut()?,
            extras: Extras {
                d: view(d)?,
                z: view(z)?,
                delta_bias: view(delta_bias)?,
                cu_seqlens: cu_seqlens.as_ref(),
                d_final_state: view(&self.d_final_state)?,
                d_d: d_d.as_mut().map(DeviceTensor::view_mut).transpose()?,
                d_z: d_z.as_mut().map(DeviceTensor::view_mut).transpose()?,
                d_delta_bias: d_delta_bias.as_mut().map(DeviceTensor::view_mut).transpose()?,
                d_initial_state: d_initial_state.as_mut().map(DeviceTensor::view_mut).transpose()?,
            },
            options: self.problem.options,
        };
        selective_scan_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let wanted = self.gradients.iter().zip(NAMES).filter_map(|(tensor, name)| Some((tensor.as_ref()?, name)));
        wanted.map(|(tensor, name)| tensor.download(queue, name)).collect()
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: gradients of B and C are sums over all channels.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (numbers, d_out) = (self.inputs.numbers(), self.d_out.0.to_f64());
        let d_final_state = self.d_final_state.as_ref().map(|(host, _)| host.to_f64());
        let upstream = Upstream { d_out: &d_out, d_final_state: d_final_state.as_deref() };
        let (exact, plain) =
            (reference(&self.problem, &numbers.input(), &upstream), plain(&self.problem, &numbers.input(), &upstream));
        let channels: Vec<usize> = (0..self.problem.shape.dim).collect();
        let age = mean_age(&self.forward, &numbers.input(), &channels);
        let terms = terms(&self.problem, &numbers.input(), &upstream);
        let outputs = self.outputs(queue)?;
        let agreements = outputs.iter().map(|got| {
            let which = NAMES.iter().position(|name| *name == got.name).unwrap_or(0);
            let tolerance = Tolerance::recurrent_gradients(got.dtype, terms[which], age);
            compare(got, exact.parts()[which], plain.parts()[which], tolerance)
        });
        Ok(Agreement { outputs: agreements.collect() })
    }
}
