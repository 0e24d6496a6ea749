//! `attention::append_kv`.

mod agrees;
mod counters;
mod edges;
mod graph;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::append_kv::reference::{Cache, Inputs, plain, quantise, reference, slot};
use llm_kernels::attention::append_kv::{
    Args, Operands, Options, Positions, Problem, Shape, Types, append_kv, plan, validate,
};
use llm_kernels::attention::{BlockTable, CuSeqlens, PageOperand, SequenceOperand, scales_layout};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Operand, Result, TensorView, TensorViewMut};

use crate::{LAUNCHES, queue, rounded, upload};

use DType::{BF16, E4M3, F16, F32, I8, I32};

const CACHES: [DType; 4] = [F16, BF16, I8, E4M3];
const FLOATS: [DType; 3] = [F32, F16, BF16];
const INTERLEAVED: Options = Options { interleaved: true, magnitude: 1.0 };

/// Heads of a test's problem; without queries where `h_q` is 0, without rotation where `n` is.
#[derive(Clone, Copy, Debug)]
struct Heads {
    h_q: usize,
    h_kv: usize,
    d: usize,
    n: usize,
}

const LLAMA: Heads = Heads { h_q: 8, h_kv: 2, d: 128, n: 64 };
const GEMMA: Heads = Heads { h_q: 4, h_kv: 1, d: 256, n: 128 };
const SMALL: Heads = Heads { h_q: 3, h_kv: 2, d: 64, n: 32 };

/// A call with its input.
#[derive(Clone, Debug)]
struct Append {
    types: Types,
    heads: Heads,
    /// New tokens of each sequence; if they are not all the same, with `cu_seqlens`.
    lengths: Vec<usize>,
    /// Of the first token of each sequence, if these are given.
    first: Option<Vec<i32>>,
    /// Of every token.
    positions: Vec<i32>,
    num_pages: usize,
    page_size: usize,
    /// The block table's entries, if there is one.
    table: Option<Vec<i32>>,
    k: Vec<f64>,
    v: Vec<f64>,
    q: Vec<f64>,
    frequencies: Vec<f64>,
    options: Options,
    in_place: bool,
    /// Queries, keys and values are slices of one tensor.
    packed: bool,
}

/// A cache on the device.
struct DeviceCache {
    k: DeviceTensor,
    v: DeviceTensor,
    scales: Option<[DeviceTensor; 2]>,
}

/// What a cache holds of a token: keys, values and their scales.
type Held = [Vec<u8>; 4];

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    k: HostTensor,
    v: HostTensor,
    scales: Option<[HostTensor; 2]>,
    q: Option<HostTensor>,
}

fn types(k: DType, cache: DType) -> Types {
    Types { k, cache, q_out: Some(k) }
}

impl Append {
    /// Input of the standard normal distribution: so many new tokens of each sequence from a first position on, and a cache
    /// with room for `room` positions of each.
    fn new(types: Types, heads: Heads, first: &[i32], lengths: &[usize], room: usize) -> Self {
        let Heads { h_q, h_kv, d, n } = heads;
        let total: usize = lengths.iter().sum();
        let all = |(&first, &length): (&i32, &usize)| (0..length as i32).map(move |i| first.wrapping_add(i));
        let values = |seed, h: usize| rounded(types.k, &random::normal(seed, total * h * d));
        Self {
            types: Types { q_out: types.q_out.filter(|_| h_q > 0), ..types },
            heads,
            lengths: lengths.to_vec(),
            first: None,
            positions: first.iter().zip(lengths).flat_map(all).collect(),
            num_pages: lengths.len(),
            page_size: room,
            table: None,
            k: values(1, h_kv),
            v: values(2, h_kv),
            q: values(3, h_q),
            frequencies: rounded(F32, &(0..n).map(|i| 1e4_f64.powf(-(i as f64) / n as f64)).collect::<Vec<_>>()),
            options: Options::default(),
            in_place: false,
            packed: false,
        }
    }

    /// In pages of a cache of `num_pages`, each where `page_of(sequence, index)` says.
    fn paged(&self, page_size: usize, num_pages: usize, page_of: impl Fn(usize, usize) -> usize) -> Self {
        let each = self.page_size.div_ceil(page_size);
        let entry = |at: usize| page_of(at / each, at % each) as i32;
        let table = (0..self.lengths.len() * each).map(entry).collect();
        Self { num_pages, page_size, table: Some(table), ..self.clone() }
    }

    /// In pages from last to first, of a cache with as many others between them.
    fn in_scattered_pages(&self, page_size: usize) -> Self {
        let (b, each) = (self.lengths.len(), self.page_size.div_ceil(page_size));
        self.paged(page_size, 2 * b * each, |sequence, index| 2 * (b * each - 1 - sequence - index * b) + 1)
    }

    fn is_ragged(&self) -> bool {
        self.lengths.iter().any(|&length| length != self.lengths[0])
    }

    fn pages_per_sequence(&self) -> Option<usize> {
        self.table.as_ref().map(|table| table.len() / self.lengths.len().max(1))
    }

    fn shape(&self) -> Shape {
        let Heads { h_q, h_kv, d, n } = self.heads;
        let num_tokens = self.lengths.iter().sum();
        let s_q = self.lengths.iter().copied().max().unwrap_or(0);
        let (num_pages, page_size) = (self.num_pages, self.page_size);
        Shape { b: self.lengths.len(), s_q, num_tokens, h_q, h_kv, d, n, num_pages, page_size }
    }

    fn problem(&self) -> Problem {
        let problem = Problem::new(self.types, self.shape(), self.pages_per_sequence(), &self.options);
        Problem { in_place: self.in_place, ..problem.unwrap_or_else(|error| panic!("{error}")) }
    }

    /// The layout of `h` heads of every token.
    fn tokens(&self, h: usize) -> Layout {
        let Shape { b, s_q, num_tokens, d, .. } = self.shape();
        let shape = if self.is_ragged() { vec![num_tokens, h, d] } else { vec![b, s_q, h, d] };
        Layout::contiguous(&shape).unwrap()
    }

    fn cache_layout(&self) -> Layout {
        Layout::contiguous(&[self.num_pages, self.page_size, self.heads.h_kv, self.heads.d]).unwrap()
    }

    /// A cache that was never written.
    fn cache(&self) -> Result<DeviceCache> {
        self.cache_in(self.cache_layout(), scales_layout(self.num_pages, self.page_size, self.heads.h_kv)?)
    }

    fn cache_in(&self, rows: Layout, scales: Layout) -> Result<DeviceCache> {
        let poisoned = |dtype, layout| DeviceTensor::poisoned(queue(), dtype, layout);
        let scales = match self.problem().types.is_eight_bit() {
            true => Some([poisoned(F32, scales)?, poisoned(F32, scales)?]),
            false => None,
        };
        Ok(DeviceCache { k: poisoned(self.types.cache, rows)?, v: poisoned(self.types.cache, rows)?, scales })
    }

    fn run(&self) -> Results {
        let mut cache = self.cache().unwrap();
        self.run_on(&mut cache).unwrap_or_else(|error| panic!("{:?}: {error}", self.problem()))
    }

    fn run_on(&self, cache: &mut DeviceCache) -> Result<Results> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch_on(cache, |work| work())
    }

    /// Runs with something done around the launch.
    fn launch_on(
        &self,
        cache: &mut DeviceCache,
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<Results> {
        let Heads { h_q, h_kv, d, n } = self.heads;
        let b = self.lengths.len();
        let queue = queue();
        let heads = if self.packed { h_q + 2 * h_kv } else { 0 };
        let row = |token: usize| {
            let part = |x: &'_ [f64], h: usize| x[token * h * d..][..h * d].to_vec();
            [part(&self.q, h_q), part(&self.k, h_kv), part(&self.v, h_kv)].concat()
        };
        let tokens = if self.packed { self.positions.len() } else { 0 };
        let packed = (0..tokens).flat_map(row).collect::<Vec<f64>>();
        let packed = upload(self.types.k, &packed, self.tokens(heads))?;
        let separate = |x: &[f64], h: usize| {
            let (x, h) = if self.packed { (&[][..], 0) } else { (x, h) };
            upload(self.types.k, x, self.tokens(h))
        };
        let (k, v, q) = (separate(&self.k, h_kv)?, separate(&self.v, h_kv)?, separate(&self.q, h_q)?);
        let rank = self.tokens(1).rank();
        fn view<'a>(own: &'a DeviceTensor) -> Result<TensorView<'a>> {
            own.view()
        }
        let part = |own, first, h| {
            if self.packed { view(&packed)?.narrow(rank - 2, first, h) } else { view(own) }
        };
        let mut q_out = DeviceTensor::poisoned(queue, self.types.q_out.unwrap_or(F32), self.tokens(h_q))?;
        if self.in_place {
            q_out.write(queue, &HostTensor::from_f64("", self.types.k, &[self.q.len()], &self.q).bytes)?;
        }
        let positions = match &self.first {
            Some(first) => HostTensor::from_slice("", &[b], first),
            None if self.is_ragged() => HostTensor::from_slice("", &[self.positions.len()], &self.positions),
            None => HostTensor::from_slice("", &[b, self.shape().s_q], &self.positions),
        };
        let positions = positions.upload(queue)?;
        let frequencies = upload(F32, &self.frequencies, Layout::contiguous(&[n])?)?;
        let cu_seqlens = self.is_ragged().then(|| CuSeqlens::from_lengths(queue, &self.lengths)).transpose()?;
        let entries = self
            .table
            .as_ref()
            .map(|table| HostTensor::from_slice("", &[b, table.len() / b.max(1)], table).upload(queue));
        let entries = entries.transpose()?;
        // SAFETY: what the entries promise is what is tested: nothing outside the cache is reached without it.
        let table = entries.as_ref().map(|entries| unsafe { BlockTable::from_raw(entries.view()?, self.num_pages) });
        let table = table.transpose()?;
        around(&mut || {
            append_kv(
                queue,
                Args {
                    cu_seqlens: cu_seqlens.as_ref(),
                    block_table: table.as_ref(),
                    inverse_frequencies: (n > 0).then(|| frequencies.view()).transpose()?,
                    q: (h_q > 0 && !self.in_place).then(|| part(&q, 0, h_q)).transpose()?,
                    q_out: (h_q > 0).then(|| q_out.view_mut()).transpose()?,
                    options: self.options,
                    ..self.args(cache, part(&k, h_q, h_kv)?, part(&v, h_q + h_kv, h_kv)?, positions.view()?)?
                },
            )
        })?;
        queue.synchronize()?;
        Ok(Results { q: (h_q > 0).then(|| intact(&q_out, "q_out")), ..cache.results() })
    }

    fn args<'a>(
        &self,
        cache: &'a mut DeviceCache,
        k: TensorView<'a>,
        v: TensorView<'a>,
        positions: TensorView<'a>,
    ) -> Result<Args<'a>> {
        let positions = match self.first {
            Some(_) => Positions::OfFirst(positions),
            None => Positions::OfTokens(positions),
        };
        let (mut k_scales, mut v_scales) = (None, None);
        if let Some([of_k, of_v]) = &mut cache.scales {
            (k_scales, v_scales) = (Some(of_k.view_mut()?), Some(of_v.view_mut()?));
        }
        let args = Args::new(k, v, cache.k.view_mut()?, cache.v.view_mut()?, positions);
        Ok(Args { k_scales, v_scales, ..args })
    }

    fn inputs<'a>(&'a self, sequences: &'a [usize]) -> Inputs<'a> {
        Inputs {
            k: &self.k,
            v: &self.v,
            q: &self.q,
            inverse_frequencies: &self.frequencies,
            positions: &self.positions,
            sequences,
            block_table: self.table.as_deref().unwrap_or(&[]),
        }
    }

    /// The sequence of every token.
    fn sequences(&self) -> Vec<usize> {
        self.lengths.iter().enumerate().flat_map(|(sequence, &length)| vec![sequence; length]).collect()
    }

    /// What was in a cache that was never written.
    fn before(&self) -> Cache {
        let rows = self.num_pages * self.page_size * self.heads.h_kv;
        let poison = if self.types.cache == I8 { -1.0 } else { f64::NAN };
        let scales = vec![f64::NAN; if self.problem().types.is_eight_bit() { rows } else { 0 }];
        let elements = vec![poison; rows * self.heads.d];
        Cache { k: elements.clone(), v: elements, k_scales: scales.clone(), v_scales: scales }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Results {
        let results = self.run();
        self.assert_is(&results);
        results
    }

    #[track_caller]
    fn assert_is(&self, results: &Results) {
        let (problem, sequences) = (self.problem(), self.sequences());
        let (inputs, before) = (self.inputs(&sequences), self.before());
        let (exact, exact_q) = reference(&problem, &inputs, &before).unwrap();
        let (plain, plain_q) = plain(&problem, &inputs, &before).unwrap();
        let mut outputs = vec![(&results.k, exact.k, plain.k), (&results.v, exact.v, plain.v)];
        if let Some([k, v]) = &results.scales {
            outputs.extend([(k, exact.k_scales, plain.k_scales), (v, exact.v_scales, plain.v_scales)]);
        }
        outputs.extend(results.q.as_ref().map(|q| (q, exact_q, plain_q)));
        for (got, exact, plain) in outputs {
            let agreement = compare(got, &exact, &plain, Tolerance::rounded(got.dtype));
            assert!(agreement.passed(), "{problem:?} {:?}: {agreement}", self.positions);
        }
    }

    /// What the cache holds of a token: keys, values and their scales as bytes.
    fn of_token(&self, results: &Results, token: usize) -> Option<Held> {
        let Heads { h_kv, d, .. } = self.heads;
        let slot = slot(&self.problem(), &self.inputs(&self.sequences()), token)?;
        let part = |tensor: &HostTensor, width: usize| {
            let bytes = width * tensor.dtype.size_bytes();
            tensor.bytes[slot * bytes..][..bytes].to_vec()
        };
        let [k_scales, v_scales] = match &results.scales {
            Some(scales) => [part(&scales[0], h_kv), part(&scales[1], h_kv)],
            None => Default::default(),
        };
        Some([part(&results.k, h_kv * d), part(&results.v, h_kv * d), k_scales, v_scales])
    }

    /// The same of all tokens, and the queries.
    fn of_tokens(&self, results: &Results) -> (Vec<Option<Held>>, Option<HostTensor>) {
        ((0..self.positions.len()).map(|token| self.of_token(results, token)).collect(), results.q.clone())
    }
}

/// The elements, after making sure that bytes between them are as they were.
fn intact(tensor: &DeviceTensor, name: &str) -> HostTensor {
    let host = tensor.download(queue(), name).unwrap();
    let mut untouched = DeviceTensor::poisoned(queue(), tensor.dtype(), *tensor.layout()).unwrap();
    untouched.write(queue(), &host.bytes).unwrap();
    let same = untouched.image(queue()).unwrap() == tensor.image(queue()).unwrap();
    assert!(same, "bytes between the elements of {name} were written");
    host
}

impl DeviceCache {
    fn results(&self) -> Results {
        let scales = self.scales.as_ref().map(|[k, v]| [intact(k, "k_scales"), intact(v, "v_scales")]);
        Results { k: intact(&self.k, "k_cache"), v: intact(&self.v, "v_cache"), scales, q: None }
    }
}
