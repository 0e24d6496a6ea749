//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{Inputs, plain_row, reference_row, rows};
use super::{Args, Broadcast, OP, Options, Problem, Shape, flash_forward, launches, plan};
use crate::attention::CuSeqlens;
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result, TensorView};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "exact attention: out = dropout(softmax(score(scale * q k^T))) v",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor(
            "q",
            FLOATS,
            &["b", "s_q", "h_q", "d"],
            &["total_q", "h_q", "d"],
            "queries; d a multiple of 8 up to 256",
        ),
        tensor(
            "k",
            FLOATS,
            &["b", "s_k", "h_kv", "d"],
            &["total_k", "h_kv", "d"],
            "keys, of q's type; h_kv divides h_q",
        ),
        tensor("v", FLOATS, &["b", "s_k", "h_kv", "d_v"], &["total_k", "h_kv", "d_v"], "values, of q's type; d_v as d"),
        optional("sinks", &[DType::F32], &["h_q"], "a score of each head that every row has besides, with no value"),
        optional("alibi_slopes", &[DType::F32], &["h_q"], "scores lose slope * distance of query and key"),
        optional("bias", FLOATS, &["b or 1", "h_q or 1", "s_q", "s_k"], "added to the scores; of q's type or f32"),
        optional(
            "mask_bits",
            &[DType::U32],
            &["b or 1", "h_q or 1", "s_q", "ceil(s_k / 32)"],
            "key j is seen if bit j % 32 of word j / 32 is set, and windows show it",
        ),
        optional("prefix", &[DType::I32], &["b"], "first keys that all rows see, despite causal and window_right"),
        optional("cu_seqlens_q", &[DType::I32], &["b + 1"], "sequence i of q is positions cu[i] .. cu[i + 1]"),
        optional("cu_seqlens_k", &[DType::I32], &["b + 1"], "likewise of k and v; s_q and s_k are the longest then"),
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
        tensor("out", FLOATS, &["b", "s_q", "h_q", "d_v"], &["total_q", "h_q", "d_v"], "result, of q's type"),
        tensor("lse", &[DType::F32], &["b", "h_q", "s_q"], &["h_q", "total_q"], "logarithm of each row's sum"),
    ],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    shape_of_sequences: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences, optional: false, meaning }
}

const fn optional(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional: true, meaning }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Input on the host, as numbers.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    sinks: Vec<f64>,
    alibi_slopes: Vec<f64>,
    bias: Vec<f64>,
    pub(crate) mask_bits: Vec<u32>,
    prefix: Vec<i32>,
    cu_seqlens_q: Vec<i32>,
    cu_seqlens_k: Vec<i32>,
}

impl Numbers {
    fn new(bindings: &Bindings) -> Self {
        let floats = |name| bindings.tensor(name).map(HostTensor::to_f64).unwrap_or_default();
        let integers = |name| floats(name).iter().map(|&x| x as i32).collect();
        Self {
            q: floats("q"),
            k: floats("k"),
            v: floats("v"),
            sinks: floats("sinks"),
            alibi_slopes: floats("alibi_slopes"),
            bias: floats("bias"),
            mask_bits: floats("mask_bits").iter().map(|&word| word as u32).collect(),
            prefix: integers("prefix"),
            cu_seqlens_q: integers("cu_seqlens_q"),
            cu_seqlens_k: integers("cu_seqlens_k"),
        }
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            sinks: &self.sinks,
            alibi_slopes: &self.alibi_slopes,
            bias: &self.bias,
            mask_bits: &self.mask_bits,
            prefix: &self.prefix,
            cu_seqlens_q: &self.cu_seqlens_q,
            cu_seqlens_k: &self.cu_seqlens_k,
        }
    }
}

/// Tensors on the device, and what they were made of.
pub(crate) struct Setup {
    pub(crate) problem: Problem,
    pub(crate) options: Options,
    pub(crate) numbers: Numbers,
    pub(crate) q: DeviceTensor,
    pub(crate) k: DeviceTensor,
    pub(crate) v: DeviceTensor,
    pub(crate) sinks: Option<DeviceTensor>,
    pub(crate) alibi_slopes: Option<DeviceTensor>,
    pub(crate) bias: Option<DeviceTensor>,
    pub(crate) mask_bits: Option<DeviceTensor>,
    pub(crate) prefix: Option<DeviceTensor>,
    pub(crate) cu_seqlens: Option<[CuSeqlens<'static>; 2]>,
    pub(crate) out: DeviceTensor,
    pub(crate) lse: DeviceTensor,
}

impl Setup {
    /// For an operator with these inputs.
    pub(crate) fn new(op: &'static str, queue: &Queue, bindings: &Bindings) -> Result<Self> {
        let required = |name| bindings.required(op, name)?.upload(queue);
        let extra = |name| bindings.tensor(name).map(|tensor| tensor.upload(queue)).transpose();
        let (q, k, v) = (required("q")?, required("k")?, required("v")?);
        let numbers = Numbers::new(bindings);
        let cu_seqlens = match [&numbers.cu_seqlens_q, &numbers.cu_seqlens_k] {
            [queries, keys] if queries.is_empty() && keys.is_empty() => None,
            [queries, keys] => Some([CuSeqlens::new(queue, queries)?, CuSeqlens::new(queue, keys)?]),
        };
        let size = |dimension| bindings.size(dimension).unwrap_or(0);
        let rank = if cu_seqlens.is_some() { 3 } else { 4 };
        for (name, tensor) in [("q", &q), ("k", &k), ("v", &v)] {
            if tensor.layout().rank() != rank {
                let problem = format!("{name} has rank {}, expected {rank}", tensor.layout().rank());
                return Err(Error::Binding { op, problem: problem + " with what is given of cu_seqlens" });
            }
        }
        let [b, s_q, s_k] = match &cu_seqlens {
            None => ["b", "s_q", "s_k"].map(size),
            Some([queries, keys]) => [queries.sequences(), queries.longest(), keys.longest()],
        };
        let (h_q, h_kv, d, d_v) = (size("h_q"), size("h_kv"), size("d"), size("d_v"));
        let (options, dtype) = (options(bindings), q.dtype());
        let mut problem = Problem::new(dtype, Shape { b, s_q, s_k, h_q, h_kv, d, d_v }, &options)?;
        let broadcast = |name| {
            let tensor = bindings.tensor(name)?;
            let &[b, h_q, s_q, columns] = tensor.shape.as_slice() else { return None };
            Some(Broadcast { dtype: tensor.dtype, b, h_q, s_q, columns })
        };
        let given = |name| bindings.tensor(name).is_some();
        (problem.sinks, problem.alibi, problem.prefix) = (given("sinks"), given("alibi_slopes"), given("prefix"));
        (problem.bias, problem.mask_bits) = (broadcast("bias"), broadcast("mask_bits"));
        let (out, lse) = match &cu_seqlens {
            None => (vec![b, s_q, h_q, d_v], vec![b, h_q, s_q]),
            Some([queries, keys]) => {
                problem.totals = Some([queries.total(), keys.total()]);
                (vec![queries.total(), h_q, d_v], vec![h_q, queries.total()])
            }
        };
        let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
        Ok(Self {
            problem,
            options,
            numbers,
            q,
            k,
            v,
            sinks: extra("sinks")?,
            alibi_slopes: extra("alibi_slopes")?,
            bias: extra("bias")?,
            mask_bits: extra("mask_bits")?,
            prefix: extra("prefix")?,
            cu_seqlens,
            out: poisoned(dtype, &out)?,
            lse: poisoned(DType::F32, &lse)?,
        })
    }
}

/// Where sequences of various lengths lie.
pub(crate) fn both<'a>(cu_seqlens: &'a Option<[CuSeqlens<'static>; 2]>) -> [Option<&'a CuSeqlens<'static>>; 2] {
    match cu_seqlens {
        Some([queries, keys]) => [Some(queries), Some(keys)],
        None => [None, None],
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let [cu_seqlens_q, cu_seqlens_k] = both(&self.cu_seqlens);
        let args = Args {
            q: self.q.view()?,
            k: self.k.view()?,
            v: self.v.view()?,
            out: self.out.view_mut()?,
            lse: Some(self.lse.view_mut()?),
            sinks: view(&self.sinks)?,
            alibi_slopes: view(&self.alibi_slopes)?,
            bias: view(&self.bias)?,
            mask_bits: view(&self.mask_bits)?,
            prefix: view(&self.prefix)?,
            cu_seqlens_q,
            cu_seqlens_k,
            options: self.options,
        };
        flash_forward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.lse.download(queue, "lse")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let (problem, inputs) = (&self.problem, &self.numbers.inputs());
        let Shape { s_k, d, d_v, .. } = problem.shape;
        let all: Vec<_> = rows(problem, inputs).collect();
        let count = (budget / (2 * s_k * (d + d_v)).max(1)).max(16).min(all.len());
        let out = self.out.download(queue, "out")?.to_f64();
        let lse = self.lse.download(queue, "lse")?.to_f64();
        let (mut got, mut exact, mut plain) = (Rows::default(), Rows::default(), Rows::default());
        // The last row of all is among them: it sees the most.
        let sampled = || (1..=count).map(|sample| all[sample * all.len() / count - 1]);
        for row in sampled() {
            got.push((out[row.of_out(problem, inputs)..][..d_v].to_vec(), lse[row.of_lse(problem, inputs)]));
            exact.push(reference_row(problem, inputs, row));
            plain.push(plain_row(problem, inputs, row));
        }
        let out = HostTensor::from_f64("out", problem.dtype, &[count, d_v], &got.out);
        let lse = HostTensor::from_f64("lse", DType::F32, &[count], &got.lse);
        let sizes = sampled().map(|row| inputs.score_size(problem, row));
        Ok(Agreement {
            outputs: vec![
                compare(&out, &exact.out, &plain.out, Tolerance::weighed(problem.dtype, sizes)),
                compare(&lse, &exact.lse, &plain.lse, Tolerance::logarithms(d)),
            ],
        })
    }
}

#[derive(Default)]
struct Rows {
    out: Vec<f64>,
    lse: Vec<f64>,
}

impl Rows {
    fn push(&mut self, (out, lse): (Vec<f64>, f64)) {
        self.out.extend(out);
        self.lse.push(lse);
    }
}

/// A tensor that may be left out.
pub(crate) fn view(tensor: &Option<DeviceTensor>) -> Result<Option<TensorView<'_>>> {
    tensor.as_ref().map(DeviceTensor::view).transpose()
}

/// Scale and mask by name.
pub(crate) fn options(bindings: &Bindings) -> Options {
    let window = |name| bindings.count(name).map(|window| usize::try_from(window).unwrap_or(usize::MAX));
    Options {
        causal: bindings.bool("causal"),
        scale: bindings.float("scale").map(|scale| scale as f32),
        window_left: window("window_left"),
        window_right: window("window_right"),
        softcap: bindings.float("softcap").map(|softcap| softcap as f32),
        dropout_p: bindings.float("dropout_p").unwrap_or(0.0) as f32,
        dropout_seed: bindings.count("dropout_seed").unwrap_or(0),
    }
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    Ok(Box::new(Setup::new(OP, queue, bindings)?))
}
