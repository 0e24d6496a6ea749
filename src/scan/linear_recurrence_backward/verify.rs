//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{Inputs, Output, plain, reference, sum_over_steps};
use super::{Args, Decay, DecayKind, OP, Options, Problem, Shape, launches, linear_recurrence_backward, plan};
use crate::attention::CuSeqlens;
use crate::scan::SequenceSizes;
use crate::scan::linear_recurrence::verify::{OPTIONS, options_of, view};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OutputAgreement, Prepared, TensorSpec, compare,
    compare_rows,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of linear_recurrence",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];
const F32: &[DType] = &[DType::F32];
const KEYS: [&[&str]; 2] = [&["b", "s", "h_k", "d_k"], &["total", "h_k", "d_k"]];
const VALUES: [&[&str]; 2] = [&["b", "s", "h", "d_v"], &["total", "h", "d_v"]];
const STATE: [&[&str]; 2] = [&["b", "h", "d_k", "d_v"], &[]];
const NORMALISER: [&[&str]; 2] = [&["b", "h", "d_k"], &[]];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", HALVES, KEYS, false, "queries; d_k a multiple of 16 up to 256"),
        tensor("k", HALVES, KEYS, false, "keys, of q's type"),
        tensor("v", HALVES, VALUES, false, "values, of q's type; h_k divides h; d_v as d_k"),
        tensor("d_out", HALVES, VALUES, false, "gradient of the result, of q's type"),
        tensor("decay_heads", F32, [&["h"], &[]], true, "logarithm of the state's decay, of each head"),
        tensor("decay_steps", F32, [&["b", "s", "h"], &["total", "h"]], true, "likewise, of each step and head"),
        tensor(
            "decay_channels",
            F32,
            [&["b", "s", "h", "d_k"], &["total", "h", "d_k"]],
            true,
            "likewise, of each step, head and key channel",
        ),
        tensor("initial_state", F32, STATE, true, "state before the first step"),
        tensor("d_final_state", F32, STATE, true, "gradient of the state after the last step"),
        tensor("initial_normaliser", F32, NORMALISER, true, "sum of keys before the first step"),
        tensor("d_final_normaliser", F32, NORMALISER, true, "gradient of the sum of keys after the last step"),
        tensor("cu_seqlens", &[DType::I32], [&["b + 1"], &[]], true, "sequence i is positions cu[i] .. cu[i + 1]"),
    ],
    options: OPTIONS,
    outputs: &[
        tensor("d_q", HALVES, KEYS, false, "gradient of q"),
        tensor("d_k", HALVES, KEYS, false, "gradient of k"),
        tensor("d_v", HALVES, VALUES, false, "gradient of v"),
        tensor("d_initial_state", F32, STATE, false, "gradient of the initial state, given or zeros"),
        tensor("d_decay", F32, [&["b", "s", "h"], &["total", "h"]], true, "gradient of the decays, of their shape"),
        tensor("d_initial_normaliser", F32, NORMALISER, true, "gradient of the initial normaliser, given or zeros"),
    ],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    [shape, shape_of_sequences]: [&'static [&'static str]; 2],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences, optional, meaning }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    options: Options,
    numbers: [Vec<f64>; 9],
    offsets: Vec<i32>,
    inputs: [DeviceTensor; 4],
    gradients: [DeviceTensor; 3],
    decay: Option<DeviceTensor>,
    d_decay: Option<DeviceTensor>,
    initial_state: Option<DeviceTensor>,
    d_initial_state: DeviceTensor,
    d_final_state: Option<DeviceTensor>,
    initial_normaliser: Option<DeviceTensor>,
    d_initial_normaliser: Option<DeviceTensor>,
    d_final_normaliser: Option<DeviceTensor>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |name| bindings.tensor(name).map(|tensor| tensor.upload(queue)).transpose();
    let numbers = |name| bindings.tensor(name).map(HostTensor::to_f64).unwrap_or_default();
    let required = |name| bindings.required(OP, name)?.upload(queue);
    let inputs = [required("q")?, required("k")?, required("v")?, required("d_out")?];
    let decays =
        [("decay_heads", DecayKind::Heads), ("decay_steps", DecayKind::Steps), ("decay_channels", DecayKind::Channels)];
    let mut decays = decays.into_iter().filter(|(name, _)| bindings.tensor(name).is_some());
    let (decay, kind) = decays.next().unzip();
    if let (Some(one), Some((other, _))) = (decay, decays.next()) {
        return Err(Error::Binding { op: OP, problem: format!("{one} and {other} are given, expected one of them") });
    }
    let size = |dimension| bindings.size(dimension).unwrap_or(0);
    let offsets: Vec<i32> = numbers("cu_seqlens").iter().map(|&x| x as i32).collect();
    let cu_seqlens = (!offsets.is_empty()).then(|| CuSeqlens::new(queue, &offsets)).transpose()?;
    let rank = if cu_seqlens.is_some() { 3 } else { 4 };
    if let Some(tensor) = inputs.iter().find(|tensor| tensor.layout().rank() != rank) {
        let problem =
            format!("a tensor has rank {}, expected {rank} with what is given of cu_seqlens", tensor.layout().rank());
        return Err(Error::Binding { op: OP, problem });
    }
    let sequences = match &cu_seqlens {
        None => SequenceSizes::uniform(size("b"), size("s")),
        Some(offsets) => SequenceSizes { b: offsets.sequences(), s: offsets.longest(), total: Some(offsets.total()) },
    };
    let shape = Shape { h_k: size("h_k"), h: size("h"), d_k: size("d_k"), d_v: size("d_v") };
    let options = options_of(bindings);
    let mut problem = Problem::new(inputs[0].dtype(), sequences, shape, kind, &options)?;
    problem.d_decay = kind.is_some();
    problem.d_final_state = bindings.tensor("d_final_state").is_some();
    let given = ["initial_state", "d_final_state"].iter().filter(|name| bindings.tensor(name).is_some());
    problem.forward.states = 1 + given.count();
    problem.d_final_normaliser = bindings.tensor("d_final_normaliser").is_some();
    let given = ["initial_normaliser", "d_final_normaliser"].iter().filter(|name| bindings.tensor(name).is_some());
    problem.normalisers = usize::from(options.normaliser.is_some()) + given.count();
    let plan = plan(&problem, queue.device().limits())?;
    let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let like = |tensor: &DeviceTensor| poisoned(tensor.dtype(), tensor.layout().shape());
    let decay_tensor = decay.map(required).transpose()?;
    Ok(Box::new(Setup {
        numbers: [
            numbers("q"),
            numbers("k"),
            numbers("v"),
            numbers("d_out"),
            decay.map(numbers).unwrap_or_default(),
            numbers("initial_state"),
            numbers("d_final_state"),
            numbers("initial_normaliser"),
            numbers("d_final_normaliser"),
        ],
        gradients: [like(&inputs[0])?, like(&inputs[1])?, like(&inputs[2])?],
        d_decay: decay_tensor.as_ref().map(like).transpose()?,
        decay: decay_tensor,
        initial_state: upload("initial_state")?,
        d_initial_state: poisoned(DType::F32, &[sequences.b, shape.h, shape.d_k, shape.d_v])?,
        d_final_state: upload("d_final_state")?,
        initial_normaliser: upload("initial_normaliser")?,
        d_initial_normaliser: options
            .normaliser
            .map(|_| poisoned(DType::F32, &[sequences.b, shape.h, shape.d_k]))
            .transpose()?,
        d_final_normaliser: upload("d_final_normaliser")?,
        workspace: poisoned(DType::U8, &[plan.workspace.bytes])?,
        problem,
        options,
        offsets,
        inputs,
        cu_seqlens,
    }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let [q, k, v, d_out] = &self.inputs;
        let [d_q, d_k, d_v] = &mut self.gradients;
        let decay = match (&self.decay, self.problem.forward.decay) {
            (Some(decay), Some(DecayKind::Heads)) => Decay::Heads(decay.view()?),
            (Some(decay), Some(DecayKind::Steps)) => Decay::Steps(decay.view()?),
            (Some(decay), Some(DecayKind::Channels)) => Decay::Channels(decay.view()?),
            _ => Decay::None,
        };
        let args = Args {
            decay,
            d_decay: self.d_decay.as_mut().map(DeviceTensor::view_mut).transpose()?,
            initial_state: view(&self.initial_state)?,
            d_initial_state: Some(self.d_initial_state.view_mut()?),
            d_final_state: view(&self.d_final_state)?,
            initial_normaliser: view(&self.initial_normaliser)?,
            d_initial_normaliser: self.d_initial_normaliser.as_mut().map(DeviceTensor::view_mut).transpose()?,
            d_final_normaliser: view(&self.d_final_normaliser)?,
            cu_seqlens: self.cu_seqlens.as_ref(),
            options: self.options,
            ..Args::new(
                [q.view()?, k.view()?, v.view()?, d_out.view()?],
                [d_q.view_mut()?, d_k.view_mut()?, d_v.view_mut()?],
                self.workspace.view_mut()?,
            )
        };
        linear_recurrence_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let [d_q, d_k, d_v] = &self.gradients;
        let mut outputs = vec![d_q.download(queue, "d_q")?, d_k.download(queue, "d_k")?, d_v.download(queue, "d_v")?];
        outputs.push(self.d_initial_state.download(queue, "d_initial_state")?);
        if let Some(d_decay) = &self.d_decay {
            outputs.push(d_decay.download(queue, "d_decay")?);
        }
        if let Some(d_initial_normaliser) = &self.d_initial_normaliser {
            outputs.push(d_initial_normaliser.download(queue, "d_initial_normaliser")?);
        }
        Ok(outputs)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: bench cases are small.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let [q, k, v, d_out, decay, initial_state, d_final_state, initial_normaliser, d_final_normaliser] =
            &self.numbers;
        #[rustfmt::skip]
        let inputs = Inputs {
            q, k, v, d_out, decay, initial_state, d_final_state, initial_normaliser, d_final_normaliser,
            cu_seqlens: &self.offsets,
        };
        let (exact, plain) = (reference(&self.problem, &inputs), plain(&self.problem, &inputs));
        Ok(Agreement { outputs: compare_all(&self.problem, &self.outputs(queue)?, &exact, &plain) })
    }
}

/// Every output, by its name, against the references.
pub fn compare_all(problem: &Problem, outputs: &[HostTensor], exact: &Output, plain: &Output) -> Vec<OutputAgreement> {
    let dtype = problem.forward.dtype;
    let rows = |got: &HostTensor, exact: &[f64], plain: &[f64], terms: &[f64]| {
        compare_rows(got, exact, plain, |row| Tolerance::gradient_products(terms[row]))
    };
    let states = Tolerance::sums_of_rounded(dtype);
    let compare_one = |got: &HostTensor| match got.name.as_str() {
        "d_q" => rows(got, &exact.d_q, &plain.d_q, &exact.terms[0]),
        "d_k" => rows(got, &exact.d_k, &plain.d_k, &exact.terms[1]),
        "d_v" => rows(got, &exact.d_v, &plain.d_v, &exact.terms[2]),
        "d_initial_state" => compare(got, &exact.d_initial_state, &plain.d_initial_state, states),
        "d_initial_normaliser" => compare(got, &exact.d_initial_normaliser, &plain.d_initial_normaliser, states),
        _ => {
            let heads = problem.forward.decay == Some(DecayKind::Heads);
            let of = |output: &Output| if heads { sum_over_steps(problem, output) } else { output.d_decay.clone() };
            let (of_exact, terms) = (of(exact), if heads { &exact.sum_terms } else { &exact.terms[3] });
            // Elements are judged one by one: each is a sum of its own.
            let each = HostTensor { shape: vec![of_exact.len(), 1], ..got.clone() };
            compare_rows(&each, &of_exact, &of(plain), |row| Tolerance::summed_products(dtype, terms[row]))
        }
    };
    outputs.iter().map(compare_one).collect()
}
