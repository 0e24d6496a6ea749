//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{Inputs, plain, reference};
use super::{Args, DecayKind, FeatureMap, OP, Options, Problem, Shape, launches, plan, recurrent_step};
use crate::scan::linear_recurrence::Decay;
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "one step of linear_recurrence, the state in place",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32];
const F32: &[DType] = &[DType::F32];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", FLOATS, &["b", "h_k", "d_k"], false, "queries; d_k a multiple of 16 up to 256"),
        tensor("k", FLOATS, &["b", "h_k", "d_k"], false, "keys, of q's type"),
        tensor("v", FLOATS, &["b", "h", "d_v"], false, "values, of q's type; h_k divides h; d_v as d_k"),
        tensor("state", F32, &["b", "h", "d_k", "d_v"], false, "state before the step"),
        tensor("normaliser", F32, &["b", "h", "d_k"], true, "sum of keys before the step; with option normaliser"),
        tensor("decay_heads", F32, &["h"], true, "logarithm of the state's decay, of each head"),
        tensor("decay_steps", F32, &["b", "h"], true, "likewise, of each sequence and head"),
        tensor("decay_channels", F32, &["b", "h", "d_k"], true, "likewise, of each key channel, too"),
    ],
    options: &[
        option("scale", OptionType::Float, "1/sqrt(d_k)", "factor of q"),
        option("feature_map", OptionType::Choice(MAPS), "identity", "what q and k are replaced by"),
        option("normaliser", OptionType::Float, "none", "the output is divided by q z + this, z the sum of keys"),
    ],
    outputs: &[
        tensor("out", FLOATS, &["b", "h", "d_v"], false, "result, of q's type"),
        tensor("next_state", F32, &["b", "h", "d_k", "d_v"], false, "state after the step"),
        tensor("next_normaliser", F32, &["b", "h", "d_k"], true, "sum of keys after the step"),
    ],
};

const MAPS: &[&str] = &["identity", "elu_plus_one", "relu", "exp"];

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional, meaning }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    options: Options,
    hosts: [Option<HostTensor>; 6],
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    decay: Option<DeviceTensor>,
    state: DeviceTensor,
    normaliser: Option<DeviceTensor>,
    out: DeviceTensor,
}

const DECAYS: [(&str, DecayKind); 3] =
    [("decay_heads", DecayKind::Heads), ("decay_steps", DecayKind::Steps), ("decay_channels", DecayKind::Channels)];

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let required = |name| bindings.required(OP, name)?.upload(queue);
    let (q, k, v) = (required("q")?, required("k")?, required("v")?);
    let mut decays = DECAYS.into_iter().filter(|(name, _)| bindings.tensor(name).is_some());
    let (decay, kind) = decays.next().unzip();
    if let (Some(one), Some((other, _))) = (decay, decays.next()) {
        return Err(Error::Binding { op: OP, problem: format!("{one} and {other} are given, expected one of them") });
    }
    let size = |dimension| bindings.size(dimension).unwrap_or(0);
    let shape = Shape { h_k: size("h_k"), h: size("h"), d_k: size("d_k"), d_v: size("d_v") };
    let float = |name| bindings.float(name).map(|x| x as f32);
    let feature_map = FeatureMap::of_name(bindings.choice("feature_map").unwrap_or_default());
    let options = Options { scale: float("scale"), feature_map, normaliser: float("normaliser"), chunk: None };
    let problem = Problem::new(q.dtype(), size("b"), shape, kind, &options)?;
    let out = DeviceTensor::poisoned(queue, q.dtype(), Layout::contiguous(&[problem.b, shape.h, shape.d_v])?)?;
    let host = |name: &str| bindings.tensor(name).cloned();
    Ok(Box::new(Setup {
        hosts: [host("q"), host("k"), host("v"), decay.and_then(host), host("state"), host("normaliser")],
        decay: decay.map(required).transpose()?,
        state: required("state")?,
        normaliser: bindings.tensor("normaliser").map(|sums| sums.upload(queue)).transpose()?,
        problem,
        options,
        q,
        k,
        v,
        out,
    }))
}

impl Prepared for Setup {
    /// From the state as it was given, however often.
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let decay = self.decay.as_ref().map(DeviceTensor::view).transpose()?;
        let args = Args {
            q: self.q.view()?,
            k: self.k.view()?,
            v: self.v.view()?,
            out: self.out.view_mut()?,
            decay: match (decay, self.problem.decay) {
                (Some(decay), Some(DecayKind::Heads)) => Decay::Heads(decay),
                (Some(decay), Some(DecayKind::Steps)) => Decay::Steps(decay),
                (Some(decay), Some(DecayKind::Channels)) => Decay::Channels(decay),
                _ => Decay::None,
            },
            state: self.state.view_mut()?,
            normaliser: self.normaliser.as_mut().map(DeviceTensor::view_mut).transpose()?,
            options: self.options,
        };
        recurrent_step(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let mut outputs = vec![self.out.download(queue, "out")?, self.state.download(queue, "next_state")?];
        if let Some(normaliser) = &self.normaliser {
            outputs.push(normaliser.download(queue, "next_normaliser")?);
        }
        Ok(outputs)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let numbers = self.hosts.each_ref().map(|host| host.as_ref().map(HostTensor::to_f64).unwrap_or_default());
        let [q, k, v, decay, initial_state, initial_normaliser] = &numbers;
        let inputs = Inputs { q, k, v, decay, initial_state, initial_normaliser, cu_seqlens: &[] };
        let (exact, plain) = (reference(&self.problem, &inputs), plain(&self.problem, &inputs));
        let references = [(exact.out, plain.out), (exact.state, plain.state), (exact.normaliser, plain.normaliser)];
        let outputs = self.outputs(queue)?;
        let compared = outputs.iter().zip(&references);
        let compared = compared.map(|(got, (exact, plain))| compare(got, exact, plain, Tolerance::values(got.dtype)));
        Ok(Agreement { outputs: compared.collect() })
    }
}
