//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, optional, required, tensor, uploaded};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Args, OP, Options, Problem, launches, plan, sample};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "draws tokens: temperature, top-k, top-p, min-p by rejection, without sorting",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("logits", FLOATS, &["m", "n"], "logits"),
        optional("steps", &[DType::I32], &["m"], "number of each row's draw"),
    ],
    options: &[
        option("temperature", OptionType::Float, "1", "what logits are divided by; 0: the largest"),
        option("top_k", OptionType::Count, "all", "only so many tokens, and equals of the last"),
        option("top_p", OptionType::Float, "1", "only tokens whose betters have less probability"),
        option("min_p", OptionType::Float, "0", "only tokens with this fraction of the largest probability"),
        option("seed", OptionType::Count, "0", "chooses the random numbers"),
        option("step", OptionType::Count, "0", "number of the draw, to which steps are added"),
    ],
    outputs: &[
        tensor("ids", &[DType::I32], &["m"], "the drawn tokens"),
        tensor("log_probabilities", &[DType::F32], &["m"], "logarithms of their probabilities, without temperature"),
    ],
};

/// Logits as a model gives them: a few far above the others.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let logits: Vec<f64> = inputs[0].to_f64().iter().map(|x| 2.0 * x + 0.4 * x.powi(3)).collect();
    inputs[0] = HostTensor::from_f64("logits", inputs[0].dtype, &inputs[0].shape, &logits);
    Ok(inputs)
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    logits: (HostTensor, DeviceTensor),
    steps: Option<(HostTensor, DeviceTensor)>,
    ids: DeviceTensor,
    log_probabilities: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let logits = required(queue, bindings, OP, "logits")?;
    let steps = uploaded(queue, bindings, "steps")?;
    let [m, n] = ["m", "n"].map(|name| bindings.size(name).unwrap_or(0));
    let defaults = Options::default();
    let float = |name, default| bindings.float(name).map_or(default, |value| value as f32);
    let small = |name| -> Result<Option<u32>> {
        let too_large = |got| Error::TooLarge { op: OP, what: name, got, limit: u32::MAX.into() };
        bindings.count(name).map(|value| u32::try_from(value).map_err(|_| too_large(value))).transpose()
    };
    let options = Options {
        temperature: float("temperature", defaults.temperature),
        top_k: small("top_k")?,
        top_p: float("top_p", defaults.top_p),
        min_p: float("min_p", defaults.min_p),
        seed: bindings.count("seed").unwrap_or(defaults.seed),
        step: small("step")?.unwrap_or(defaults.step),
    };
    let problem = Problem::new(logits.0.dtype, m, n, true, options)?;
    let made = |dtype, size| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[size])?);
    let workspace = made(DType::U8, plan(&problem, queue.device().limits())?.workspace_bytes)?;
    let (ids, log_probabilities) = (made(DType::I32, m)?, made(DType::F32, m)?);
    Ok(Box::new(Setup { problem, logits, steps, ids, log_probabilities, workspace }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            logits: self.logits.1.view()?,
            ids: self.ids.view_mut()?,
            log_probabilities: Some(self.log_probabilities.view_mut()?),
            steps: self.steps.as_mut().map(|(_, device)| device.view_mut()).transpose()?,
            workspace: self.workspace.view_mut()?,
            options: self.problem.options,
        };
        sample(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.ids.download(queue, "ids")?, self.log_probabilities.download(queue, "log_probabilities")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let logits = self.logits.0.to_f64();
        let steps = self.steps.as_ref().map(|(host, _)| host.to_f64()).unwrap_or_default();
        let exact = reference(&self.problem, &logits, &steps);
        let plain = plain(&self.problem, &logits, &exact.ids);
        let outputs = self.outputs(queue)?;
        Ok(Agreement {
            outputs: vec![
                compare(&outputs[0], &exact.ids, &exact.ids, Tolerance::exact()),
                compare(&outputs[1], &exact.log_probabilities, &plain, Tolerance::logarithms(0)),
            ],
        })
    }
}
