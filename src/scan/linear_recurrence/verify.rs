//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{HeadOutput, Inputs, plain_head, reference_head};
use super::{Args, Decay, DecayKind, FeatureMap, OP, Options, Problem, Shape, launches, linear_recurrence, plan};
use crate::attention::CuSeqlens;
use crate::scan::SequenceSizes;
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare, compare_rows,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result, TensorView};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "S = decay S + k (x) v, out = scale q S, in chunks of steps",
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

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", HALVES, KEYS, false, "queries; d_k a multiple of 16 up to 256"),
        tensor("k", HALVES, KEYS, false, "keys, of q's type"),
        tensor("v", HALVES, VALUES, false, "values, of q's type; h_k divides h; d_v as d_k"),
        tensor("decay_heads", F32, [&["h"], &[]], true, "logarithm of the state's decay, of each head"),
        tensor("decay_steps", F32, [&["b", "s", "h"], &["total", "h"]], true, "likewise, of each step and head"),
        tensor(
            "decay_channels",
            F32,
            [&["b", "s", "h", "d_k"], &["total", "h", "d_k"]],
            true,
            "likewise, of each step, head and key channel",
        ),
        tensor("initial_state", F32, [&["b", "h", "d_k", "d_v"], &[]], true, "state before the first step"),
        tensor("initial_normaliser", F32, [&["b", "h", "d_k"], &[]], true, "sum of keys before the first step"),
        tensor("cu_seqlens", &[DType::I32], [&["b + 1"], &[]], true, "sequence i is positions cu[i] .. cu[i + 1]"),
    ],
    options: OPTIONS,
    outputs: &[
        tensor("out", HALVES, VALUES, false, "result, of q's type"),
        tensor("final_state", F32, [&["b", "h", "d_k", "d_v"], &[]], false, "state after the last step"),
        tensor("final_normaliser", F32, [&["b", "h", "d_k"], &[]], true, "sum of keys, with a normaliser"),
    ],
};

/// Those of the gradients too.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option("scale", OptionType::Float, "1/sqrt(d_k)", "factor of q"),
    option("feature_map", OptionType::Choice(MAPS), "identity", "what q and k are replaced by"),
    option("normaliser", OptionType::Float, "none", "outputs are divided by q z + this, z the sum of keys"),
    option("chunk", OptionType::Count, "as many as fill the chip", "steps of a chunk, a multiple of 64"),
];

const MAPS: &[&str] = &["identity", "elu_plus_one", "relu", "exp"];

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    [shape, shape_of_sequences]: [&'static [&'static str]; 2],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences, optional, meaning }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

type Compute = fn(&Problem, &Inputs, usize, usize) -> HeadOutput;

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    options: Options,
    numbers: [Vec<f64>; 6],
    offsets: Vec<i32>,
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    decay: Option<DeviceTensor>,
    initial_state: Option<DeviceTensor>,
    initial_normaliser: Option<DeviceTensor>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    out: DeviceTensor,
    final_state: DeviceTensor,
    final_normaliser: Option<DeviceTensor>,
    workspace: DeviceTensor,
}

const DECAYS: [(&str, DecayKind); 3] =
    [("decay_heads", DecayKind::Heads), ("decay_steps", DecayKind::Steps), ("decay_channels", DecayKind::Channels)];

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |name| bindings.tensor(name).map(|tensor| tensor.upload(queue)).transpose();
    let numbers = |name| bindings.tensor(name).map(HostTensor::to_f64).unwrap_or_default();
    let required = |name| bindings.required(OP, name)?.upload(queue);
    let (q, k, v) = (required("q")?, required("k")?, required("v")?);
    let mut decays = DECAYS.into_iter().filter(|(name, _)| bindings.tensor(name).is_some());
    let (decay_name, kind) = decays.next().unzip();
    if let (Some(one), Some((other, _))) = (decay_name, decays.next()) {
        return Err(Error::Binding { op: OP, problem: format!("{one} and {other} are given, expected one of them") });
    }
    let size = |dimension| bindings.size(dimension).unwrap_or(0);
    let offsets: Vec<i32> = numbers("cu_seqlens").iter().map(|&x| x as i32).collect();
    let cu_seqlens = (!offsets.is_empty()).then(|| CuSeqlens::new(queue, &offsets)).transpose()?;
    let rank = if cu_seqlens.is_some() { 3 } else { 4 };
    for (name, tensor) in [("q", &q), ("k", &k), ("v", &v)] {
        if tensor.layout().rank() != rank {
            let problem = format!("{name} has rank {}, expected {rank}", tensor.layout().rank());
            return Err(Error::Binding { op: OP, problem: problem + " with what is given of cu_seqlens" });
        }
    }
    let sequences = match &cu_seqlens {
        None => SequenceSizes::uniform(size("b"), size("s")),
        Some(offsets) => SequenceSizes { b: offsets.sequences(), s: offsets.longest(), total: Some(offsets.total()) },
    };
    let shape = Shape { h_k: size("h_k"), h: size("h"), d_k: size("d_k"), d_v: size("d_v") };
    let options = options_of(bindings);
    let mut problem = Problem::new(q.dtype(), sequences, shape, kind, &options)?;
    problem.states = 1 + usize::from(bindings.tensor("initial_state").is_some());
    let plan = plan(&problem, queue.device().limits())?;
    let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let Shape { h, d_k, d_v, .. } = shape;
    let normaliser = problem.normaliser.map(|_| poisoned(DType::F32, &[sequences.b, h, d_k])).transpose()?;
    Ok(Box::new(Setup {
        numbers: [
            numbers("q"),
            numbers("k"),
            numbers("v"),
            decay_name.map(numbers).unwrap_or_default(),
            numbers("initial_state"),
            numbers("initial_normaliser"),
        ],
        out: poisoned(q.dtype(), &[&sequences.shape()[..], &[h, d_v]].concat())?,
        final_state: poisoned(DType::F32, &[sequences.b, h, d_k, d_v])?,
        final_normaliser: normaliser,
        workspace: poisoned(DType::U8, &[plan.workspace.bytes])?,
        decay: decay_name.map(required).transpose()?,
        initial_state: upload("initial_state")?,
        initial_normaliser: upload("initial_normaliser")?,
        problem,
        options,
        offsets,
        q,
        k,
        v,
        cu_seqlens,
    }))
}

/// The options that a command gave.
pub(crate) fn options_of(bindings: &Bindings) -> Options {
    let float = |name| bindings.float(name).map(|x| x as f32);
    Options {
        scale: float("scale"),
        feature_map: FeatureMap::of_name(bindings.choice("feature_map").unwrap_or_default()),
        normaliser: float("normaliser"),
        chunk: bindings.count("chunk").map(|chunk| usize::try_from(chunk).unwrap_or(usize::MAX)),
    }
}

impl Setup {
    fn inputs(&self) -> Inputs<'_> {
        let [q, k, v, decay, initial_state, initial_normaliser] = &self.numbers;
        Inputs { q, k, v, decay, initial_state, initial_normaliser, cu_seqlens: &self.offsets }
    }
}

pub(crate) fn view(tensor: &Option<DeviceTensor>) -> Result<Option<TensorView<'_>>> {
    tensor.as_ref().map(DeviceTensor::view).transpose()
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            q: self.q.view()?,
            k: self.k.view()?,
            v: self.v.view()?,
            out: self.out.view_mut()?,
            decay: match (view(&self.decay)?, self.problem.decay) {
                (Some(decay), Some(DecayKind::Heads)) => Decay::Heads(decay),
                (Some(decay), Some(DecayKind::Steps)) => Decay::Steps(decay),
                (Some(decay), Some(DecayKind::Channels)) => Decay::Channels(decay),
                _ => Decay::None,
            },
            initial_state: view(&self.initial_state)?,
            final_state: Some(self.final_state.view_mut()?),
            initial_normaliser: view(&self.initial_normaliser)?,
            final_normaliser: self.final_normaliser.as_mut().map(DeviceTensor::view_mut).transpose()?,
            cu_seqlens: self.cu_seqlens.as_ref(),
            workspace: Some(self.workspace.view_mut()?),
            options: self.options,
        };
        linear_recurrence(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let mut outputs = vec![self.out.download(queue, "out")?, self.final_state.download(queue, "final_state")?];
        if let Some(normaliser) = &self.final_normaliser {
            outputs.push(normaliser.download(queue, "final_normaliser")?);
        }
        Ok(outputs)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Heads of sequences, spread evenly.
    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let (problem, inputs) = (&self.problem, &self.inputs());
        let Shape { h, d_k, d_v, .. } = problem.shape;
        let all = problem.sequences.b * h;
        let count = (budget / (4 * problem.sequences.s * d_k * d_v).max(1)).max(1).min(all);
        let outputs: Vec<_> = self.outputs(queue)?.iter().map(HostTensor::to_f64).collect();
        let (mut got, mut exact, mut plain) = (HeadOutput::default(), HeadOutput::default(), HeadOutput::default());
        for slot in (1..=count).map(|sample| sample * all / count - 1) {
            let (batch, head) = (slot / h, slot % h);
            for position in inputs.positions(problem, batch) {
                got.out.extend(&outputs[0][(position * h + head) * d_v..][..d_v]);
            }
            got.state.extend(&outputs[1][slot * d_k * d_v..][..d_k * d_v]);
            let heads = [reference_head, plain_head].map(|compute: Compute| compute(problem, inputs, batch, head));
            for (to, head) in [&mut exact, &mut plain].into_iter().zip(heads) {
                to.out.extend(head.out);
                to.state.extend(head.state);
                to.normaliser.extend(head.normaliser);
                to.terms.extend(head.terms);
            }
            if let Some(sums) = outputs.get(2) {
                got.normaliser.extend(&sums[slot * d_k..][..d_k]);
            }
        }
        let rows = |name, dtype, width: usize, values: &[f64]| {
            HostTensor::from_f64(name, dtype, &[values.len() / width, width], values)
        };
        let states = Tolerance::sums_of_rounded(problem.dtype);
        let tolerance = |row: usize| Tolerance::products(problem.dtype, exact.terms[row]);
        let mut agreement = vec![
            compare_rows(&rows("out", problem.dtype, d_v, &got.out), &exact.out, &plain.out, tolerance),
            compare(&rows("final_state", DType::F32, d_v, &got.state), &exact.state, &plain.state, states),
        ];
        if problem.normaliser.is_some() {
            let sums = rows("final_normaliser", DType::F32, d_k, &got.normaliser);
            agreement.push(compare(&sums, &exact.normaliser, &plain.normaliser, states));
        }
        Ok(Agreement { outputs: agreement })
    }
}
