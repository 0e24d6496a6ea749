//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{Cache, Inputs, plain, reference};
use super::{Args, OP, Options, Positions, Problem, Shape, Types, append_kv, launches, plan};
use crate::attention::{BlockTable, CuSeqlens, scales_layout};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "new keys and values into a cache, paged or not, rotated and quantised; rotates queries along",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F32, DType::F16, DType::BF16];
const CACHES: &[DType] = &[DType::F16, DType::BF16, DType::I8, DType::E4M3];
const FLOAT: &[DType] = &[DType::F32];
const INTEGER: &[DType] = &[DType::I32];
const PAGES: &[&str] = &["num_pages", "page_size", "h_kv", "d"];
const SCALES: &[&str] = &["num_pages", "page_size", "h_kv"];

const DESCRIPTION: Description = Description {
    inputs: &[
        new("k", &["b", "s_q", "h_kv", "d"], &["total", "h_kv", "d"], false, "new keys; d up to 256"),
        new("v", &["b", "s_q", "h_kv", "d"], &["total", "h_kv", "d"], false, "new values, of k's type"),
        new("q", &["b", "s_q", "h_q", "d"], &["total", "h_q", "d"], true, "queries to be rotated, of k's type"),
        TensorSpec {
            dtypes: INTEGER,
            ..new("positions", &["b", "s_q"], &["total"], true, "of every token, from 0 on; or first_positions")
        },
        tensor("first_positions", INTEGER, &["b"], true, "of the first new token of each sequence"),
        tensor("inverse_frequencies", FLOAT, &["n"], true, "angle for each position of each pair; 2 n <= d"),
        tensor("cu_seqlens", INTEGER, &["b + 1"], true, "new tokens of sequence i are cu[i] .. cu[i + 1]"),
        tensor("k_cache", CACHES, PAGES, false, "without block_table page i is sequence i's, and page_size its room"),
        tensor("v_cache", CACHES, PAGES, false, "likewise, of k_cache's type"),
        tensor("block_table", INTEGER, &["b", "pages_per_sequence"], true, "pages of each sequence"),
        tensor("k_scales", FLOAT, SCALES, true, "factors of the keys of an 8-bit cache"),
        tensor("v_scales", FLOAT, SCALES, true, "factors of its values"),
    ],
    options: &[
        option("interleaved", OptionType::Bool, "false", "pairs are elements 2 i and 2 i + 1, for i and i + n"),
        option("magnitude", OptionType::Float, "1", "what rotated elements are multiplied by"),
        option("base", OptionType::Float, "10000", "of the frequencies that check and bench make up; none for run"),
    ],
    outputs: &[
        tensor("k_cache_out", CACHES, PAGES, false, "the cache of keys with the new ones"),
        tensor("v_cache_out", CACHES, PAGES, false, "that of values"),
        tensor("k_scales_out", FLOAT, SCALES, true, "the factors with the new ones"),
        tensor("v_scales_out", FLOAT, SCALES, true, "likewise"),
        new("q_out", &["b", "s_q", "h_q", "d"], &["total", "h_q", "d"], true, "the rotated queries, of q's type"),
    ],
};

const fn new(
    name: &'static str,
    shape: &'static [&'static str],
    shape_of_sequences: &'static [&'static str],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes: FLOATS, shape, shape_of_sequences, optional, meaning }
}

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

/// Input on the host, as numbers.
#[derive(Debug, Default)]
struct Numbers {
    k: Vec<f64>,
    v: Vec<f64>,
    q: Vec<f64>,
    inverse_frequencies: Vec<f64>,
    positions: Vec<i32>,
    sequences: Vec<usize>,
    block_table: Vec<i32>,
    before: Cache,
}

impl Numbers {
    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            k: &self.k,
            v: &self.v,
            q: &self.q,
            inverse_frequencies: &self.inverse_frequencies,
            positions: &self.positions,
            sequences: &self.sequences,
            block_table: &self.block_table,
        }
    }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    numbers: Numbers,
    k: DeviceTensor,
    v: DeviceTensor,
    q: Option<DeviceTensor>,
    positions: DeviceTensor,
    first_positions: bool,
    inverse_frequencies: Option<DeviceTensor>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    block_table: Option<BlockTable<'static>>,
    k_cache: DeviceTensor,
    v_cache: DeviceTensor,
    k_scales: Option<DeviceTensor>,
    v_scales: Option<DeviceTensor>,
    q_out: Option<DeviceTensor>,
}

impl Setup {
    fn new(queue: &Queue, bindings: &Bindings) -> Result<Self> {
        let fail = |problem: &str| Error::Binding { op: OP, problem: problem.to_owned() };
        let required = |name| bindings.required(OP, name)?.upload(queue);
        let extra = |name| bindings.tensor(name).map(|tensor| tensor.upload(queue)).transpose();
        let floats = |name| bindings.tensor(name).map(HostTensor::to_f64).unwrap_or_default();
        let integers = |name| -> Vec<i32> { floats(name).iter().map(|&x| x as i32).collect() };
        let size = |dimension| bindings.size(dimension).unwrap_or(0);
        let (k, v, q) = (required("k")?, required("v")?, extra("q")?);
        let (k_cache, v_cache) = (required("k_cache")?, required("v_cache")?);
        let offsets = integers("cu_seqlens");
        let ragged = bindings.tensor("cu_seqlens").is_some();
        let cu_seqlens = ragged.then(|| CuSeqlens::new(queue, &offsets)).transpose()?;
        let tokens = if ragged { 3 } else { 4 };
        for (name, rank) in [("k", tokens), ("v", tokens), ("q", tokens), ("positions", tokens - 2)] {
            if bindings.tensor(name).is_some_and(|tensor| tensor.shape.len() != rank) {
                return Err(fail(&format!("{name} has another rank than {rank}, with what is given of cu_seqlens")));
            }
        }
        let (b, s_q, num_tokens) = match &cu_seqlens {
            Some(given) => (given.sequences(), given.longest(), given.total()),
            None => (size("b"), size("s_q"), size("b") * size("s_q")),
        };
        let sequences: Vec<usize> = match ragged {
            true => {
                let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
                lengths.enumerate().flat_map(|(sequence, length)| vec![sequence; length]).collect()
            }
            false => (0..num_tokens).map(|token| token / s_q).collect(),
        };
        let first_positions = bindings.tensor("first_positions").is_some();
        if first_positions == bindings.tensor("positions").is_some() {
            return Err(fail("expected either positions or first_positions"));
        }
        let positions = match first_positions {
            false => integers("positions"),
            true => {
                let first = integers("first_positions");
                let index = |token: usize| (0..token).rev().take_while(|&i| sequences[i] == sequences[token]).count();
                let position = |token: usize| first[sequences[token]].wrapping_add(index(token) as i32);
                (0..num_tokens).map(position).collect()
            }
        };
        let (h_q, h_kv, d, n) = (size("h_q"), size("h_kv"), size("d"), size("n"));
        let (num_pages, page_size) = (size("num_pages"), size("page_size"));
        let shape = Shape { b, s_q, num_tokens, h_q, h_kv, d, n, num_pages, page_size };
        let types = Types { k: k.dtype(), cache: k_cache.dtype(), q_out: q.as_ref().map(DeviceTensor::dtype) };
        let pages_per_sequence = bindings.tensor("block_table").map(|_| size("pages_per_sequence"));
        let problem = Problem::new(types, shape, pages_per_sequence, &options(bindings))?;
        let block_table = integers("block_table");
        let table = pages_per_sequence.map(|pages| {
            let lines: Vec<_> = (0..b).map(|batch| &block_table[batch * pages..][..pages]).collect();
            BlockTable::new(queue, &lines, pages, num_pages)
        });
        let scales = |name| -> Result<Option<DeviceTensor>> {
            let Some(host) = bindings.tensor(name) else { return Ok(None) };
            let layout = scales_layout(num_pages, page_size, h_kv)?;
            let mut tensor = DeviceTensor::poisoned(queue, DType::F32, layout)?;
            tensor.write(queue, &host.bytes)?;
            Ok(Some(tensor))
        };
        let q_out =
            q.as_ref().map(|q| DeviceTensor::poisoned(queue, q.dtype(), Layout::contiguous(q.layout().shape())?));
        Ok(Self {
            problem,
            numbers: Numbers {
                k: floats("k"),
                v: floats("v"),
                q: floats("q"),
                inverse_frequencies: floats("inverse_frequencies"),
                positions,
                sequences,
                block_table,
                before: Cache {
                    k: floats("k_cache"),
                    v: floats("v_cache"),
                    k_scales: floats("k_scales"),
                    v_scales: floats("v_scales"),
                },
            },
            q_out: q_out.transpose()?,
            k,
            v,
            q,
            positions: required(if first_positions { "first_positions" } else { "positions" })?,
            first_positions,
            inverse_frequencies: extra("inverse_frequencies")?,
            cu_seqlens,
            block_table: table.transpose()?,
            k_cache,
            v_cache,
            k_scales: scales("k_scales")?,
            v_scales: scales("v_scales")?,
        })
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        fn view(tensor: &Option<DeviceTensor>) -> Result<Option<crate::TensorView<'_>>> {
            tensor.as_ref().map(DeviceTensor::view).transpose()
        }
        fn view_mut(tensor: &mut Option<DeviceTensor>) -> Result<Option<crate::TensorViewMut<'_>>> {
            tensor.as_mut().map(DeviceTensor::view_mut).transpose()
        }
        let positions = self.positions.view()?;
        let positions =
            if self.first_positions { Positions::OfFirst(positions) } else { Positions::OfTokens(positions) };
        let (k_cache, v_cache) = (self.k_cache.view_mut()?, self.v_cache.view_mut()?);
        let args = Args {
            cu_seqlens: self.cu_seqlens.as_ref(),
            block_table: self.block_table.as_ref(),
            k_scales: view_mut(&mut self.k_scales)?,
            v_scales: view_mut(&mut self.v_scales)?,
            inverse_frequencies: view(&self.inverse_frequencies)?,
            q: view(&self.q)?,
            q_out: view_mut(&mut self.q_out)?,
            options: self.problem.options,
            ..Args::new(self.k.view()?, self.v.view()?, k_cache, v_cache, positions)
        };
        append_kv(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let outputs = [
            ("k_cache_out", Some(&self.k_cache)),
            ("v_cache_out", Some(&self.v_cache)),
            ("k_scales_out", self.k_scales.as_ref()),
            ("v_scales_out", self.v_scales.as_ref()),
            ("q_out", self.q_out.as_ref()),
        ];
        outputs.into_iter().filter_map(|(name, tensor)| Some(tensor?.download(queue, name))).collect()
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the references take no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (inputs, before) = (self.numbers.inputs(), &self.numbers.before);
        let (exact, plain) = (reference(&self.problem, &inputs, before)?, plain(&self.problem, &inputs, before)?);
        let judge = |output: &HostTensor| {
            let (exact, plain) = match output.name.as_str() {
                "k_cache_out" => (&exact.0.k, &plain.0.k),
                "v_cache_out" => (&exact.0.v, &plain.0.v),
                "k_scales_out" => (&exact.0.k_scales, &plain.0.k_scales),
                "v_scales_out" => (&exact.0.v_scales, &plain.0.v_scales),
                _ => (&exact.1, &plain.1),
            };
            compare(output, exact, plain, Tolerance::rounded(output.dtype))
        };
        Ok(Agreement { outputs: self.outputs(queue)?.iter().map(judge).collect() })
    }
}

fn options(bindings: &Bindings) -> Options {
    Options {
        interleaved: bindings.bool("interleaved"),
        magnitude: bindings.float("magnitude").map_or(1.0, |magnitude| magnitude as f32),
    }
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    Ok(Box::new(Setup::new(queue, bindings)?))
}
