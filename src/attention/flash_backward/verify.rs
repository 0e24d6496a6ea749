//! How the operator is checked, measured and run by name.

use super::super::flash_forward::cases::make_inputs;
use super::super::flash_forward::verify::{Setup as Forward, both, view};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::problem::of_sizes;
use super::reference::{Gradients, Group, Inputs, key_row, plain_group, reference_group, rows, terms, zeros};
use super::{Args, Extras, OP, Shape, Wanted, flash_backward, launches, plan};
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
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32];
const SINGLE: &[DType] = &[DType::F32];
const Q: [&[&str]; 2] = [&["b", "s_q", "h_q", "d"], &["total_q", "h_q", "d"]];
const K: [&[&str]; 2] = [&["b", "s_k", "h_kv", "d"], &["total_k", "h_kv", "d"]];
const V: [&[&str]; 2] = [&["b", "s_k", "h_kv", "d_v"], &["total_k", "h_kv", "d_v"]];
const OUT: [&[&str]; 2] = [&["b", "s_q", "h_q", "d_v"], &["total_q", "h_q", "d_v"]];
const LSE: [&[&str]; 2] = [&["b", "h_q", "s_q"], &["h_q", "total_q"]];
const HEADS: [&[&str]; 2] = [&["h_q"], &[]];
const BIAS: [&[&str]; 2] = [&["b or 1", "h_q or 1", "s_q", "s_k"], &[]];
const MASK: [&[&str]; 2] = [&["b or 1", "h_q or 1", "s_q", "ceil(s_k / 32)"], &[]];
const BATCHES: [&[&str]; 2] = [&["b"], &[]];
const OFFSETS: [&[&str]; 2] = [&["b + 1"], &[]];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", FLOATS, Q, false, "queries; d a multiple of 8 up to 256"),
        tensor("k", FLOATS, K, false, "keys, of q's type; h_kv divides h_q"),
        tensor("v", FLOATS, V, false, "values, of q's type; d_v as d"),
        tensor("d_out", FLOATS, OUT, false, "gradient of out, of q's type"),
        tensor("out", FLOATS, OUT, true, "what attention/flash_forward gave; without it that runs first"),
        tensor("lse", SINGLE, LSE, true, "its logarithms: with out, or not at all"),
        tensor("sinks", SINGLE, HEADS, true, "as in the forward pass, and so are the others"),
        tensor("alibi_slopes", SINGLE, HEADS, true, "scores lose slope * distance of query and key"),
        tensor("bias", FLOATS, BIAS, true, "added to the scores; of q's type or f32"),
        tensor("mask_bits", &[DType::U32], MASK, true, "keys that are seen, where windows show them"),
        tensor("prefix", &[DType::I32], BATCHES, true, "first keys that all rows see"),
        tensor("cu_seqlens_q", &[DType::I32], OFFSETS, true, "sequence i of q is positions cu[i] .. cu[i + 1]"),
        tensor("cu_seqlens_k", &[DType::I32], OFFSETS, true, "likewise of k and v"),
    ],
    options: &[
        option("causal", OptionType::Bool, "false", "no key after the query's own place is seen"),
        option("scale", OptionType::Float, "1/sqrt(d)", "factor of the scores"),
        option("window_left", OptionType::Count, "no limit", "keys seen before the query's own place"),
        option("window_right", OptionType::Count, "no limit", "keys seen after the query's own place"),
        option("softcap", OptionType::Float, "none", "a score s becomes softcap * tanh(s / softcap)"),
        option("dropout_p", OptionType::Float, "0", "probability of a probability to be dropped"),
        option("dropout_seed", OptionType::Count, "0", "key of the random numbers that decide it"),
    ],
    outputs: &[
        tensor("d_q", FLOATS, Q, false, "gradient of q, of q's type"),
        tensor("d_k", FLOATS, K, false, "gradient of k"),
        tensor("d_v", FLOATS, V, false, "gradient of v"),
        tensor("d_sinks", SINGLE, HEADS, true, "gradient of sinks, if they are given"),
        tensor("d_bias", SINGLE, BIAS, true, "gradient of bias, if it is given"),
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

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Tensors on the device, and what they were made of. `out` and `lse` are those of the forward pass.
struct Setup {
    forward: Forward,
    d_out: (Vec<f64>, DeviceTensor),
    d_q: DeviceTensor,
    d_k: DeviceTensor,
    d_v: DeviceTensor,
    d_sinks: Option<DeviceTensor>,
    d_bias: Option<DeviceTensor>,
    workspace: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let mut forward = Forward::new(OP, queue, bindings)?;
    let problem = forward.problem;
    of_sizes(problem.dtype, problem.shape, &forward.options)?;
    match (bindings.tensor("out"), bindings.tensor("lse")) {
        (Some(out), Some(lse)) => (forward.out, forward.lse) = (out.upload(queue)?, lse.upload(queue)?),
        (None, None) => forward.launch(queue)?,
        _ => return Err(Error::Binding { op: OP, problem: "out and lse come together, or not at all".to_owned() }),
    }
    let d_out = bindings.required(OP, "d_out")?;
    let like = |tensor: &DeviceTensor| DeviceTensor::poisoned(queue, problem.dtype, *tensor.layout());
    let single = |tensor: &Option<DeviceTensor>| {
        tensor.as_ref().map(|tensor| DeviceTensor::poisoned(queue, DType::F32, *tensor.layout())).transpose()
    };
    let wanted = Wanted { d_sinks: forward.sinks.is_some(), d_bias: forward.bias.is_some() };
    let workspace = plan(&problem, wanted, queue.device().limits())?.workspace.bytes;
    Ok(Box::new(Setup {
        d_out: (d_out.to_f64(), d_out.upload(queue)?),
        d_q: like(&forward.q)?,
        d_k: like(&forward.k)?,
        d_v: like(&forward.v)?,
        d_sinks: single(&forward.sinks)?,
        d_bias: single(&forward.bias)?,
        workspace: DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[workspace])?)?,
        forward,
    }))
}

impl Setup {
    /// The gradients by name, in the order of the description.
    fn gradients(&self) -> impl Iterator<Item = (&'static str, &DeviceTensor)> {
        let wanted = [("d_sinks", &self.d_sinks), ("d_bias", &self.d_bias)];
        let wanted = wanted.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
        [("d_q", &self.d_q), ("d_k", &self.d_k), ("d_v", &self.d_v)].into_iter().chain(wanted)
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let Forward { q, k, v, out, lse, sinks, alibi_slopes, bias, mask_bits, prefix, options, .. } = &self.forward;
        let [cu_seqlens_q, cu_seqlens_k] = both(&self.forward.cu_seqlens);
        let args = Args {
            q: q.view()?,
            k: k.view()?,
            v: v.view()?,
            out: out.view()?,
            lse: lse.view()?,
            d_out: self.d_out.1.view()?,
            d_q: self.d_q.view_mut()?,
            d_k: self.d_k.view_mut()?,
            d_v: self.d_v.view_mut()?,
            workspace: self.workspace.view_mut()?,
            extras: Extras {
                sinks: view(sinks)?,
                alibi_slopes: view(alibi_slopes)?,
                bias: view(bias)?,
                mask_bits: view(mask_bits)?,
                prefix: view(prefix)?,
                cu_seqlens_q,
                cu_seqlens_k,
                d_sinks: self.d_sinks.as_mut().map(DeviceTensor::view_mut).transpose()?,
                d_bias: self.d_bias.as_mut().map(DeviceTensor::view_mut).transpose()?,
            },
            options: *options,
        };
        flash_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        self.gradients().map(|(name, tensor)| tensor.download(queue, name)).collect()
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        let wanted = Wanted { d_sinks: self.d_sinks.is_some(), d_bias: self.d_bias.is_some() };
        Ok(plan(&self.forward.problem, wanted, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let problem = &self.forward.problem;
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
        // Gradients of a key depend on all queries of its group: so whole groups, at least one.
        let pairs = problem.visible_pairs().map_or(s_q * s_k, |pairs| pairs as usize).max(s_q + s_k);
        let cost = pairs.saturating_mul(4 * (d + d_v) * h_q.checked_div(h_kv).unwrap_or(0).max(1));
        let total = b * h_kv;
        let count = (budget / cost.max(1)).max(1).min(total);
        let [out, lse] = [self.forward.out.download(queue, "")?, self.forward.lse.download(queue, "")?];
        let [out, lse] = [out.to_f64(), lse.to_f64()];
        let inputs = Inputs { forward: self.forward.numbers.inputs(), out: &out, lse: &lse, d_out: &self.d_out.0 };
        let got: Vec<_> = self.outputs(queue)?.iter().map(|tensor| (tensor.name.clone(), tensor.to_f64())).collect();
        let (mut exact, mut plain) = (zeros(problem), zeros(problem));
        let mut sampled: [Sampled; 3] = Default::default();
        let mut sizes = Vec::new();
        for sample in 0..count {
            let index = (sample + 1) * total / count - 1;
            let group = Group { batch: index / h_kv, kv_head: index % h_kv };
            reference_group(problem, &inputs, group, &mut exact);
            plain_group(problem, &inputs, group, &mut plain);
            for row in rows(problem, &inputs, group) {
                sizes.push(inputs.forward.score_size(problem, row));
                sampled[0].push(row.of_query(problem, &inputs.forward), d, [&got[0].1, &exact.d_q, &plain.d_q]);
            }
            for j in 0..inputs.forward.keys(problem, group.batch).length {
                let key = key_row(problem, &inputs, group, j);
                sampled[1].push(key * d, d, [&got[1].1, &exact.d_k, &plain.d_k]);
                sampled[2].push(key * d_v, d_v, [&got[2].1, &exact.d_v, &plain.d_v]);
            }
        }
        let terms = terms(problem, &inputs);
        let tolerance = |dtype, terms| Tolerance::weighed_gradients(dtype, terms, sizes.iter().copied());
        let rows = sampled.iter().zip(["d_q", "d_k", "d_v"]).zip([d, d, d_v]).zip(terms);
        let agreements = rows.map(|(((rows, name), width), terms)| {
            let got = HostTensor::from_f64(name, problem.dtype, &[rows.got.len() / width, width], &rows.got);
            compare(&got, &rows.exact, &rows.plain, tolerance(problem.dtype, terms))
        });
        let mut outputs: Vec<_> = agreements.collect();
        // Of sinks and bias every group has a share.
        for (name, values) in got.iter().skip(3).filter(|_| count == total) {
            let Gradients { d_sinks, d_bias, .. } = &exact;
            let (exact, plain, terms, width) = match name.as_str() {
                "d_sinks" => (d_sinks, &plain.d_sinks, terms[3], h_q),
                _ => (d_bias, &plain.d_bias, terms[4], s_k),
            };
            let got = HostTensor::from_f64(name, DType::F32, &[values.len() / width.max(1), width], values);
            outputs.push(compare(&got, exact, plain, tolerance(DType::F32, terms)));
        }
        Ok(Agreement { outputs })
    }
}

#[derive(Default)]
struct Sampled {
    got: Vec<f64>,
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Sampled {
    fn push(&mut self, row: usize, width: usize, [got, exact, plain]: [&[f64]; 3]) {
        self.got.extend(&got[row..][..width]);
        self.exact.extend(&exact[row..][..width]);
        self.plain.extend(&plain[row..][..width]);
    }
}
