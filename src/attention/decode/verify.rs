//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{Inputs, plain_row, reference_row, rows};
use super::{Args, OP, Options, Plan, Problem, Shape, decode, launches, plan};
use crate::attention::{BlockTable, scales_layout};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "attention of the newest queries over a cache of keys and values, paged or not, also of 8 bits",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];
const CACHES: &[DType] = &[DType::F16, DType::BF16, DType::I8, DType::E4M3];
const FLOAT: &[DType] = &[DType::F32];
const INTEGER: &[DType] = &[DType::I32];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", HALVES, &["b", "s_q", "h_q", "d"], "queries; d a multiple of 8 up to 256"),
        tensor(
            "k",
            CACHES,
            &["num_pages", "page_size", "h_kv", "d"],
            "keys, of q's type or i8 or e4m3; without block_table page i is sequence i's, and page_size its room",
        ),
        tensor("v", CACHES, &["num_pages", "page_size", "h_kv", "d"], "values, likewise"),
        tensor("lengths", INTEGER, &["b"], "keys of each sequence, those of the new queries included"),
        optional(
            "block_table",
            INTEGER,
            &["b", "pages_per_sequence"],
            "pages of each sequence; page_size a power of 2",
        ),
        optional("k_scales", FLOAT, &["num_pages", "page_size", "h_kv"], "factors of the keys of an 8-bit cache"),
        optional("v_scales", FLOAT, &["num_pages", "page_size", "h_kv"], "factors of its values"),
        optional("sinks", FLOAT, &["h_q"], "a score of each head that every row has besides, with no value"),
        optional("alibi_slopes", FLOAT, &["h_q"], "scores lose slope * distance of query and key"),
    ],
    options: &[
        option("bidirectional", OptionType::Bool, "false", "keys after the query's own place are seen as well"),
        option("scale", OptionType::Float, "1/sqrt(d)", "factor of the scores"),
        option("window_left", OptionType::Count, "no limit", "keys seen before the query's own place"),
        option("softcap", OptionType::Float, "none", "a score s becomes softcap * tanh(s / softcap)"),
        option("lengths_exclude_new", OptionType::Bool, "false", "lengths do not count the new queries' own keys"),
        option("max_length", OptionType::Count, "the cache's room", "no sequence counts as longer"),
        option("num_splits", OptionType::Count, "by the plan", "parts that the keys of a sequence are divided into"),
    ],
    outputs: &[
        tensor("out", HALVES, &["b", "s_q", "h_q", "d"], "result, of q's type"),
        tensor("lse", FLOAT, &["b", "h_q", "s_q"], "logarithm of each row's sum of exponentials"),
    ],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional: false, meaning }
}

const fn optional(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { optional: true, ..tensor(name, dtypes, shape, meaning) }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Input on the host, as numbers.
#[derive(Debug, Default)]
struct Numbers {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    k_scales: Vec<f64>,
    v_scales: Vec<f64>,
    lengths: Vec<i32>,
    block_table: Vec<i32>,
    sinks: Vec<f64>,
    alibi_slopes: Vec<f64>,
}

impl Numbers {
    fn new(bindings: &Bindings) -> Self {
        let floats = |name| bindings.tensor(name).map(HostTensor::to_f64).unwrap_or_default();
        let integers = |name| floats(name).iter().map(|&x| x as i32).collect();
        Self {
            q: floats("q"),
            k: floats("k"),
            v: floats("v"),
            k_scales: floats("k_scales"),
            v_scales: floats("v_scales"),
            lengths: integers("lengths"),
            block_table: integers("block_table"),
            sinks: floats("sinks"),
            alibi_slopes: floats("alibi_slopes"),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            k_scales: &self.k_scales,
            v_scales: &self.v_scales,
            lengths: &self.lengths,
            block_table: &self.block_table,
            sinks: &self.sinks,
            alibi_slopes: &self.alibi_slopes,
        }
    }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    options: Options,
    plan: Plan,
    numbers: Numbers,
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    lengths: DeviceTensor,
    block_table: Option<BlockTable<'static>>,
    k_scales: Option<DeviceTensor>,
    v_scales: Option<DeviceTensor>,
    sinks: Option<DeviceTensor>,
    alibi_slopes: Option<DeviceTensor>,
    out: DeviceTensor,
    lse: DeviceTensor,
    workspace: DeviceTensor,
}

impl Setup {
    fn new(queue: &Queue, bindings: &Bindings) -> Result<Self> {
        let required = |name| bindings.required(OP, name)?.upload(queue);
        let extra = |name| bindings.tensor(name).map(|tensor| tensor.upload(queue)).transpose();
        let (q, k, v, lengths) = (required("q")?, required("k")?, required("v")?, required("lengths")?);
        let numbers = Numbers::new(bindings);
        let size = |dimension| bindings.size(dimension).unwrap_or(0);
        let (b, s_q, h_q, h_kv, d) = (size("b"), size("s_q"), size("h_q"), size("h_kv"), size("d"));
        let (num_pages, page_size) = (size("num_pages"), size("page_size"));
        let options = options(bindings);
        let pages_per_sequence = bindings.tensor("block_table").map(|_| size("pages_per_sequence"));
        let shape = Shape { b, s_q, h_q, h_kv, d, num_pages, page_size };
        let mut problem = Problem::new(q.dtype(), k.dtype(), shape, pages_per_sequence, &options)?;
        let given = |name| bindings.tensor(name).is_some();
        (problem.sinks, problem.alibi) = (given("sinks"), given("alibi_slopes"));
        let fail = |problem| Error::Binding { op: OP, problem };
        let (least, most) = (-(problem.new_keys as i64), problem.max_length as i64 - problem.new_keys as i64);
        for (batch, &length) in numbers.lengths.iter().enumerate() {
            if !(least..=most).contains(&length.into()) {
                return Err(fail(format!("lengths[{batch}] is {length}, expected {least} to {most}")));
            }
        }
        let block_table = pages_per_sequence.map(|pages| {
            // Entries that no position uses may hold anything.
            let used = |batch: usize| numbers.inputs().length(&problem, batch).div_ceil(page_size);
            let lines: Vec<_> = (0..b).map(|batch| &numbers.block_table[batch * pages..][..used(batch)]).collect();
            BlockTable::new(queue, &lines, pages, num_pages)
        });
        // Scales of positions that follow each other lie side by side.
        let scales = |name| -> Result<Option<DeviceTensor>> {
            let Some(host) = bindings.tensor(name) else { return Ok(None) };
            let layout = scales_layout(num_pages, page_size, h_kv)?;
            let mut tensor = DeviceTensor::poisoned(queue, DType::F32, layout)?;
            tensor.write(queue, &host.bytes)?;
            Ok(Some(tensor))
        };
        let plan = plan(&problem, queue.device().limits())?;
        let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
        Ok(Self {
            problem,
            options,
            plan,
            numbers,
            q,
            k,
            v,
            lengths,
            block_table: block_table.transpose()?,
            k_scales: scales("k_scales")?,
            v_scales: scales("v_scales")?,
            sinks: extra("sinks")?,
            alibi_slopes: extra("alibi_slopes")?,
            out: poisoned(problem.dtype, &[b, s_q, h_q, d])?,
            lse: poisoned(DType::F32, &[b, h_q, s_q])?,
            workspace: poisoned(DType::U8, &[plan.workspace_bytes])?,
        })
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        fn view(tensor: &Option<DeviceTensor>) -> Result<Option<crate::TensorView<'_>>> {
            tensor.as_ref().map(DeviceTensor::view).transpose()
        }
        let (q, k, v, lengths) = (self.q.view()?, self.k.view()?, self.v.view()?, self.lengths.view()?);
        let args = Args {
            lse: Some(self.lse.view_mut()?),
            block_table: self.block_table.as_ref(),
            k_scales: view(&self.k_scales)?,
            v_scales: view(&self.v_scales)?,
            sinks: view(&self.sinks)?,
            alibi_slopes: view(&self.alibi_slopes)?,
            workspace: Some(self.workspace.view_mut()?),
            options: self.options,
            ..Args::new(q, k, v, lengths, self.out.view_mut()?)
        };
        decode(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.lse.download(queue, "lse")?])
    }

    fn resources(&self, _: &Limits) -> Result<Resources> {
        let (inputs, batches) = (self.numbers.inputs(), 0..self.problem.shape.b);
        let lengths: Vec<usize> = batches.map(|batch| inputs.length(&self.problem, batch)).collect();
        Ok(self.plan.resources(&self.problem, &lengths))
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let (problem, inputs) = (&self.problem, &self.numbers.inputs());
        let d = problem.shape.d;
        let all: Vec<_> = rows(problem).collect();
        let count = (budget / (4 * problem.most_visible_keys() * d).max(1)).max(16).min(all.len());
        let (all_out, all_lse) = (self.out.download(queue, "out")?.to_f64(), self.lse.download(queue, "lse")?.to_f64());
        let (mut out, mut lse, mut exact, mut plain) = (Vec::new(), Vec::new(), [vec![], vec![]], [vec![], vec![]]);
        for sample in 0..count {
            let row = all[(sample + 1) * all.len() / count - 1];
            out.extend_from_slice(&all_out[row.of_out(problem)..][..d]);
            lse.push(all_lse[row.of_lse(problem)]);
            for (of, (out, lse)) in
                [(&mut exact, reference_row(problem, inputs, row)), (&mut plain, plain_row(problem, inputs, row))]
            {
                of[0].extend(out);
                of[1].push(lse);
            }
        }
        let out = HostTensor::from_f64("out", problem.dtype, &[count, d], &out);
        let lse = HostTensor::from_f64("lse", DType::F32, &[count], &lse);
        Ok(Agreement {
            outputs: vec![
                compare(&out, &exact[0], &plain[0], Tolerance::values(problem.dtype)),
                compare(&lse, &exact[1], &plain[1], Tolerance::logarithms(d)),
            ],
        })
    }
}

fn options(bindings: &Bindings) -> Options {
    let count = |name| bindings.count(name).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Options {
        bidirectional: bindings.bool("bidirectional"),
        scale: bindings.float("scale").map(|scale| scale as f32),
        window_left: count("window_left"),
        softcap: bindings.float("softcap").map(|softcap| softcap as f32),
        lengths_exclude_new: bindings.bool("lengths_exclude_new"),
        max_length: count("max_length"),
        num_splits: count("num_splits"),
    }
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    Ok(Box::new(Setup::new(queue, bindings)?))
}
