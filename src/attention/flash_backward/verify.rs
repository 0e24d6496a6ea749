//! How the operator is checked, measured and run by name.

use super::super::flash_forward::{self, flash_forward};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::problem::of_sizes;
use super::reference::{
    Gradients, Group, Inputs, key_row, plain_group, query_row, reference_group, rows, terms, zeros,
};
use super::{Args, OP, Options, Problem, Shape, flash_backward, launches, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of exact attention",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: Op::normal_inputs,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];
const QUERIES: &[&str] = &["b", "s_q", "h_q", "d"];
const KEYS: &[&str] = &["b", "s_k", "h_kv", "d"];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", HALVES, QUERIES, false, "queries; d is 64, 128 or 256"),
        tensor("k", HALVES, KEYS, false, "keys, of q's type; h_kv divides h_q"),
        tensor("v", HALVES, KEYS, false, "values, of q's type"),
        tensor("d_out", HALVES, QUERIES, false, "gradient of out, of q's type"),
        tensor("out", HALVES, QUERIES, true, "what attention/flash_forward gave; without it that runs first"),
        tensor("lse", &[DType::F32], &["b", "h_q", "s_q"], true, "its logarithms: with out, or not at all"),
    ],
    options: &[
        option("causal", OptionType::Bool, "false", "no key after the query's own place is seen"),
        option("scale", OptionType::Float, "1/sqrt(d)", "factor of the scores"),
        option("window_left", OptionType::Count, "no limit", "keys seen before the query's own place"),
        option("window_right", OptionType::Count, "no limit", "keys seen after the query's own place"),
    ],
    outputs: &[
        tensor("d_q", HALVES, QUERIES, false, "gradient of q, of q's type"),
        tensor("d_k", HALVES, KEYS, false, "gradient of k"),
        tensor("d_v", HALVES, KEYS, false, "gradient of v"),
    ],
};

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
    /// q, k, v, d_out, out, lse.
    inputs: [(HostTensor, DeviceTensor); 6],
    d_q: DeviceTensor,
    d_k: DeviceTensor,
    d_v: DeviceTensor,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |host: &HostTensor| -> Result<_> { Ok((host.clone(), host.upload(queue)?)) };
    let input = |name| upload(bindings.required(OP, name)?);
    let (q, k, v, d_out) = (input("q")?, input("k")?, input("v")?, input("d_out")?);
    let [b, s_q, s_k, h_q, h_kv, d] =
        ["b", "s_q", "s_k", "h_q", "h_kv", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let options = flash_forward::verify::options(bindings);
    let dtype = q.0.dtype;
    let problem = of_sizes(dtype, Shape { b, s_q, s_k, h_q, h_kv, d, d_v: d }, &options)?;
    let poisoned = |shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let (out, lse) = match (bindings.tensor("out"), bindings.tensor("lse")) {
        (Some(out), Some(lse)) => (upload(out)?, upload(lse)?),
        (None, None) => {
            let mut out = poisoned(&[b, s_q, h_q, d])?;
            let mut lse = DeviceTensor::poisoned(queue, DType::F32, Layout::contiguous(&[b, h_q, s_q])?)?;
            let args = flash_forward::Args {
                lse: Some(lse.view_mut()?),
                options,
                ..flash_forward::Args::new(q.1.view()?, k.1.view()?, v.1.view()?, out.view_mut()?)
            };
            flash_forward(queue, args)?;
            ((out.download(queue, "out")?, out), (lse.download(queue, "lse")?, lse))
        }
        _ => return Err(Error::Binding { op: OP, problem: "out and lse come together, or not at all".to_owned() }),
    };
    let workspace = plan(&problem, queue.device().limits())?.workspace.bytes;
    Ok(Box::new(Setup {
        problem,
        options,
        inputs: [q, k, v, d_out, out, lse],
        d_q: poisoned(&[b, s_q, h_q, d])?,
        d_k: poisoned(&[b, s_k, h_kv, d])?,
        d_v: poisoned(&[b, s_k, h_kv, d])?,
        workspace: DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[workspace])?)?,
    }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let [q, k, v, d_out, out, lse] = self.inputs.each_ref().map(|(_, device)| device.view());
        let args = Args {
            q: q?,
            k: k?,
            v: v?,
            out: out?,
            lse: lse?,
            d_out: d_out?,
            d_q: self.d_q.view_mut()?,
            d_k: self.d_k.view_mut()?,
            d_v: self.d_v.view_mut()?,
            workspace: self.workspace.view_mut()?,
            options: self.options,
        };
        flash_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let tensors = [(&self.d_q, "d_q"), (&self.d_k, "d_k"), (&self.d_v, "d_v")];
        tensors.into_iter().map(|(tensor, name)| tensor.download(queue, name)).collect()
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let problem = &self.problem;
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = problem.shape;
        // Gradients of a key depend on all queries of its group: so whole groups, at least one.
        let pairs = problem.visible_pairs().map_or(usize::MAX, |pairs| pairs as usize).max(s_q + s_k);
        let cost = pairs.saturating_mul(8 * d * h_q.checked_div(h_kv).unwrap_or(0).max(1));
        let total = b * h_kv;
        let count = (budget / cost.max(1)).max(1).min(total);
        let values = self.inputs.each_ref().map(|(host, _)| host.to_f64());
        let [q, k, v, d_out, out, lse] = values.each_ref().map(Vec::as_slice);
        let inputs = Inputs { q, k, v, out, lse, d_out };
        let [got_q, got_k, got_v] = [&self.d_q, &self.d_k, &self.d_v].map(|tensor| tensor.download(queue, ""));
        let got = Gradients { d_q: got_q?.to_f64(), d_k: got_k?.to_f64(), d_v: got_v?.to_f64() };
        let (mut exact, mut plain) = (zeros(problem), zeros(problem));
        let mut sampled = [Sampled::default(), Sampled::default(), Sampled::default()];
        for sample in 0..count {
            let index = (sample + 1) * total / count - 1;
            let group = Group { batch: index / h_kv, kv_head: index % h_kv };
            reference_group(problem, &inputs, group, &mut exact);
            plain_group(problem, &inputs, group, &mut plain);
            for row in rows(problem, group) {
                sampled[0].push(query_row(problem, row), d, [&got.d_q, &exact.d_q, &plain.d_q]);
            }
            for j in 0..s_k {
                let row = key_row(problem, group, j);
                sampled[1].push(row, d, [&got.d_k, &exact.d_k, &plain.d_k]);
                sampled[2].push(row, d, [&got.d_v, &exact.d_v, &plain.d_v]);
            }
        }
        let names = ["d_q", "d_k", "d_v"];
        let tolerances = terms(problem, &inputs).map(|terms| Tolerance::gradients(problem.dtype, terms));
        let agreements = sampled.iter().zip(names).zip(tolerances).map(|((rows, name), tolerance)| {
            let got = HostTensor::from_f64(name, problem.dtype, &[rows.got.len() / d, d], &rows.got);
            compare(&got, &rows.exact, &rows.plain, tolerance)
        });
        Ok(Agreement { outputs: agreements.collect() })
    }
}

#[derive(Default)]
struct Sampled {
    got: Vec<f64>,
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Sampled {
    fn push(&mut self, row: usize, d: usize, [got, exact, plain]: [&[f64]; 3]) {
        self.got.extend(&got[row..][..d]);
        self.exact.extend(&exact[row..][..d]);
        self.plain.extend(&plain[row..][..d]);
    }
}
