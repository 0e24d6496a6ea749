//! `attention::decode`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::BlockTable;
use llm_kernels::attention::decode::reference::{Inputs, plain, reference};
use llm_kernels::attention::decode::{Args, Options, Problem, Shape, decode, plan};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result, TensorView};

use crate::{LAUNCHES, queue, rounded, upload};

use DType::{BF16, E4M3, F16, F32, I8, I32};

const DEFAULT: Options = Options {
    bidirectional: false,
    scale: None,
    window_left: None,
    softcap: None,
    lengths_exclude_new: false,
    max_length: None,
    num_splits: None,
};

fn splits(num_splits: usize) -> Options {
    Options { num_splits: Some(num_splits), ..DEFAULT }
}

/// A problem with its input. The cache holds keys and values in pages, row-major; slots that no sequence uses are NaN in
/// 16 bits, and in 8 bits have scales of NaN.
#[derive(Clone, Debug)]
struct Decode {
    problem: Problem,
    options: Options,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    k_scales: Vec<f64>,
    v_scales: Vec<f64>,
    lengths: Vec<i32>,
    /// Pages of each sequence; none without a block table.
    pages: Vec<Vec<i32>>,
    sinks: Vec<f64>,
    alibi_slopes: Vec<f64>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    out: HostTensor,
    lse: HostTensor,
}

/// Sizes of a test's problem.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    s_q: usize,
    h_q: usize,
    h_kv: usize,
    d: usize,
}

const LLAMA: Sizes = Sizes { s_q: 1, h_q: 8, h_kv: 2, d: 128 };
const GEMMA: Sizes = Sizes { s_q: 1, h_q: 4, h_kv: 1, d: 256 };
const SMALL: Sizes = Sizes { s_q: 1, h_q: 4, h_kv: 2, d: 64 };

impl Decode {
    /// Input of the standard normal distribution for sequences of these lengths, with room for as many keys as the longest
    /// has.
    fn new(dtype: DType, cache: DType, sizes: Sizes, lengths: &[usize], options: Options) -> Self {
        Self::seeded(0, dtype, cache, sizes, lengths, options)
    }

    fn seeded(seed: u64, dtype: DType, cache: DType, sizes: Sizes, lengths: &[usize], options: Options) -> Self {
        let Sizes { s_q, h_q, h_kv, d } = sizes;
        let (b, s_k) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
        let shape = Shape { b, s_q, h_q, h_kv, d, num_pages: b, page_size: s_k };
        let values = |tensor: u64, count| random::normal(8 * seed + tensor, count);
        let keys = b * s_k * h_kv;
        let cached = |tensor| -> Vec<f64> {
            let values = values(tensor, keys * d).into_iter();
            match cache {
                I8 => values.map(|x| (x * 40.0).round().clamp(-128.0, 127.0)).collect(),
                E4M3 => rounded(E4M3, &values.map(|x| x * 100.0).collect::<Vec<_>>()),
                _ => rounded(cache, &values.collect::<Vec<_>>()),
            }
        };
        let scales = |tensor| match cache {
            I8 | E4M3 => rounded(F32, &values(tensor, keys).iter().map(|x| (0.5 * x).exp() / 60.0).collect::<Vec<_>>()),
            _ => Vec::new(),
        };
        let mut decode = Self {
            problem: Problem::new(dtype, cache, shape, None, &options).unwrap(),
            options,
            q: rounded(dtype, &values(0, b * s_q * h_q * d)),
            k: cached(1),
            v: cached(2),
            k_scales: scales(3),
            v_scales: scales(4),
            lengths: lengths.iter().map(|&length| length as i32).collect(),
            pages: Vec::new(),
            sinks: Vec::new(),
            alibi_slopes: Vec::new(),
        };
        for (batch, &length) in lengths.iter().enumerate() {
            for j in length..s_k {
                decode.poison(batch * s_k + j);
            }
        }
        decode
    }

    /// Makes a slot of the cache what must not be read.
    fn poison(&mut self, slot: usize) {
        let Shape { h_kv, d, .. } = self.problem.shape;
        if self.problem.is_eight_bit() {
            self.k_scales[slot * h_kv..][..h_kv].fill(f64::NAN);
            self.v_scales[slot * h_kv..][..h_kv].fill(f64::NAN);
        } else {
            self.k[slot * h_kv * d..][..h_kv * d].fill(f64::NAN);
            self.v[slot * h_kv * d..][..h_kv * d].fill(f64::NAN);
        }
    }

    /// The same keys and values in pages of another cache, each on the page that `page_of(batch, index)` gives.
    fn paged(&self, page_size: usize, num_pages: usize, page_of: impl Fn(usize, usize) -> usize) -> Self {
        assert!(self.pages.is_empty(), "in pages already");
        let Shape { b, h_kv, d, page_size: s_k, .. } = self.problem.shape;
        let pages_per_sequence = s_k.div_ceil(page_size);
        let shape = Shape { num_pages, page_size, ..self.problem.shape };
        let keys = num_pages * page_size * h_kv;
        let eight_bit = self.problem.is_eight_bit();
        let mut paged = Self {
            problem: Problem {
                sinks: self.problem.sinks,
                alibi: self.problem.alibi,
                ..Problem::new(
                    self.problem.dtype,
                    self.problem.cache_dtype,
                    shape,
                    Some(pages_per_sequence),
                    &self.options,
                )
                .unwrap()
            },
            k: vec![if eight_bit { 127.0 } else { f64::NAN }; keys * d],
            v: vec![if eight_bit { 127.0 } else { f64::NAN }; keys * d],
            k_scales: vec![f64::NAN; if eight_bit { keys } else { 0 }],
            v_scales: vec![f64::NAN; if eight_bit { keys } else { 0 }],
            pages: Vec::new(),
            ..self.clone()
        };
        for batch in 0..b {
            let length = self.lengths[batch].max(0) as usize;
            paged.pages.push((0..length.div_ceil(page_size)).map(|index| page_of(batch, index) as i32).collect());
            for j in 0..length {
                let slot = page_of(batch, j / page_size) * page_size + j % page_size;
                let (from, to) = ((batch * s_k + j) * h_kv, slot * h_kv);
                paged.k[to * d..][..h_kv * d].copy_from_slice(&self.k[from * d..][..h_kv * d]);
                paged.v[to * d..][..h_kv * d].copy_from_slice(&self.v[from * d..][..h_kv * d]);
                if eight_bit {
                    paged.k_scales[to..][..h_kv].copy_from_slice(&self.k_scales[from..][..h_kv]);
                    paged.v_scales[to..][..h_kv].copy_from_slice(&self.v_scales[from..][..h_kv]);
                }
            }
        }
        paged
    }

    /// In pages one after the other, sequence by sequence, of a cache that has no others.
    fn in_pages(&self, page_size: usize) -> Self {
        let Shape { b, page_size: s_k, .. } = self.problem.shape;
        let each = s_k.div_ceil(page_size);
        self.paged(page_size, b * each, |batch, index| batch * each + index)
    }

    /// In pages from last to first, of a cache with as many others between them.
    fn in_scattered_pages(&self, page_size: usize) -> Self {
        let Shape { b, page_size: s_k, .. } = self.problem.shape;
        let each = s_k.div_ceil(page_size);
        self.paged(page_size, 2 * b * each, |batch, index| 2 * (b * each - 1 - batch - index * b) + 1)
    }

    fn with_sinks(mut self, sinks: &[f64]) -> Self {
        self.problem.sinks = true;
        self.sinks = rounded(F32, sinks);
        self
    }

    fn with_alibi(mut self) -> Self {
        self.problem.alibi = true;
        self.alibi_slopes = (1..=self.problem.shape.h_q).map(|head| 0.5f64.powi(head as i32)).collect();
        self
    }

    fn with_options(&self, options: Options) -> Self {
        let Problem { dtype, cache_dtype, shape, pages_per_sequence, sinks, alibi, .. } = self.problem;
        let problem = Problem::new(dtype, cache_dtype, shape, pages_per_sequence, &options).unwrap();
        Self { problem: Problem { sinks, alibi, ..problem }, options, ..self.clone() }
    }

    /// The block table's entries, absurd where there is no page.
    fn table(&self) -> Vec<i32> {
        let Some(pages) = self.problem.pages_per_sequence else { return Vec::new() };
        let line = |line: &Vec<i32>| [&line[..], &vec![i32::MIN; pages - line.len()]].concat();
        self.pages.iter().flat_map(line).collect()
    }

    fn cache_layout(&self) -> Layout {
        let Shape { num_pages, page_size, h_kv, d, .. } = self.problem.shape;
        Layout::contiguous(&[num_pages, page_size, h_kv, d]).unwrap()
    }

    /// Scales of positions that follow each other lie side by side.
    fn scales_layout(&self) -> Layout {
        let Shape { num_pages, page_size, h_kv, .. } = self.problem.shape;
        Layout::contiguous(&[num_pages, h_kv, page_size]).unwrap().permute(&[0, 2, 1]).unwrap()
    }

    fn run(&self) -> Results {
        self.run_in(self.cache_layout()).unwrap_or_else(|error| panic!("{:?}: {error}", self.problem))
    }

    fn run_in(&self, cache: Layout) -> Result<Results> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch_in(cache, |work| work())
    }

    /// Runs with keys and values laid out as given, with something done around the launch.
    fn launch_in(
        &self,
        cache: Layout,
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<Results> {
        let queue = queue();
        let Problem { dtype, cache_dtype, shape, .. } = self.problem;
        let Shape { b, s_q, h_q, d, num_pages, .. } = shape;
        let rows = Layout::contiguous(&[b, s_q, h_q, d])?;
        let q = upload(dtype, &self.q, rows)?;
        let (k, v) = (upload(cache_dtype, &self.k, cache)?, upload(cache_dtype, &self.v, cache)?);
        let lengths = HostTensor::from_slice("lengths", &[b], &self.lengths).upload(queue)?;
        let mut out = DeviceTensor::poisoned(queue, dtype, rows)?;
        let mut lse = DeviceTensor::poisoned(queue, F32, Layout::contiguous(&[b, h_q, s_q])?)?;
        let bytes = plan(&self.problem, queue.device().limits())?.workspace_bytes;
        let mut workspace = DeviceTensor::poisoned(queue, DType::U8, Layout::contiguous(&[bytes])?)?;
        let optional = |values: &[f64], layout: Layout| -> Result<_> {
            (!values.is_empty()).then(|| upload(F32, values, layout)).transpose()
        };
        // Those of a cache without keys are there, and empty.
        let scales = |values: &[f64]| -> Result<_> {
            self.problem.is_eight_bit().then(|| upload(F32, values, self.scales_layout())).transpose()
        };
        let (k_scales, v_scales) = (scales(&self.k_scales)?, scales(&self.v_scales)?);
        let heads = Layout::contiguous(&[h_q])?;
        let (sinks, alibi_slopes) = (optional(&self.sinks, heads)?, optional(&self.alibi_slopes, heads)?);
        let table = self.problem.pages_per_sequence.map(|pages| BlockTable::new(queue, &self.pages, pages, num_pages));
        let table = table.transpose()?;
        fn view(tensor: &Option<DeviceTensor>) -> Option<TensorView<'_>> {
            tensor.as_ref().map(|tensor| tensor.view().unwrap())
        }
        around(&mut || {
            let args = Args {
                lse: Some(lse.view_mut()?),
                block_table: table.as_ref(),
                k_scales: view(&k_scales),
                v_scales: view(&v_scales),
                sinks: view(&sinks),
                alibi_slopes: view(&alibi_slopes),
                workspace: Some(workspace.view_mut()?),
                options: self.options,
                ..Args::new(q.view()?, k.view()?, v.view()?, lengths.view()?, out.view_mut()?)
            };
            decode(queue, args)
        })?;
        queue.synchronize()?;
        Ok(Results { out: out.download(queue, "out")?, lse: lse.download(queue, "lse")? })
    }

    fn compare(&self, Results { out, lse }: &Results) -> Agreement {
        let table = self.table();
        let inputs = Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            k_scales: &self.k_scales,
            v_scales: &self.v_scales,
            lengths: &self.lengths,
            block_table: &table,
            sinks: &self.sinks,
            alibi_slopes: &self.alibi_slopes,
        };
        let (exact, plain) = (reference(&self.problem, &inputs), plain(&self.problem, &inputs));
        Agreement {
            outputs: vec![
                compare(out, &exact.out, &plain.out, Tolerance::values(self.problem.dtype)),
                compare(lse, &exact.lse, &plain.lse, Tolerance::logarithms(self.problem.shape.d)),
            ],
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Results {
        let results = self.run();
        self.assert_is(&results);
        results
    }

    #[track_caller]
    fn assert_is(&self, results: &Results) {
        let agreement = self.compare(results);
        assert!(agreement.passed(), "{:?} {:?}: {}", self.problem, self.lengths, agreement.report());
    }
}

impl Results {
    fn out(&self) -> Vec<f64> {
        self.out.to_f64()
    }

    fn lse(&self) -> Vec<f64> {
        self.lse.to_f64()
    }
}
