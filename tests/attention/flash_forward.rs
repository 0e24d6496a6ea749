//! `attention::flash_forward`.

mod agrees;
mod counters;
mod edges;
mod features;
mod plan;
mod properties;
mod rejects;
mod single_precision;

use std::sync::PoisonError;

use llm_kernels::attention::CuSeqlens;
use llm_kernels::attention::flash_forward::reference::{Inputs, Output, plain, reference, rows};
use llm_kernels::attention::flash_forward::{Args, Broadcast, Options, Problem, Shape, flash_forward};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{CAUSAL, FULL, LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16, F32};

/// A problem with its input, row-major.
#[derive(Clone)]
pub(crate) struct Attention {
    pub(crate) problem: Problem,
    pub(crate) options: Options,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) extras: Extras,
}

/// Input that may be left out: empty then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) sinks: Vec<f64>,
    pub(crate) alibi_slopes: Vec<f64>,
    pub(crate) bias: Vec<f64>,
    pub(crate) mask_bits: Vec<u32>,
    pub(crate) prefix: Vec<i32>,
    pub(crate) cu_seqlens_q: Vec<i32>,
    pub(crate) cu_seqlens_k: Vec<i32>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    out: HostTensor,
    lse: HostTensor,
}

/// Layouts of all tensors.
#[derive(Clone, Copy, Debug)]
struct Layouts {
    q: Layout,
    k: Layout,
    v: Layout,
    out: Layout,
}

/// `[b, s_q, s_k, h_q, h_kv, d]`
fn shape([b, s_q, s_k, h_q, h_kv, d]: [usize; 6]) -> Shape {
    Shape { b, s_q, s_k, h_q, h_kv, d, d_v: d }
}

impl Attention {
    /// Input of the standard normal distribution; sizes are `[b, s_q, s_k, h_q, h_kv, d]`.
    fn new(dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::seeded(0, dtype, sizes, options)
    }

    fn seeded(seed: u64, dtype: DType, sizes: [usize; 6], options: Options) -> Self {
        Self::of_shape(seed, dtype, shape(sizes), options)
    }

    pub(crate) fn of_shape(seed: u64, dtype: DType, shape: Shape, options: Options) -> Self {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = shape;
        let values = |tensor: u64, count| rounded(dtype, &random::normal(3 * seed + tensor, count));
        Self {
            problem: Problem::new(dtype, shape, &options).unwrap(),
            options,
            q: values(0, b * s_q * h_q * d),
            k: values(1, b * s_k * h_kv * d),
            v: values(2, b * s_k * h_kv * d_v),
            extras: Extras::default(),
        }
    }

    /// Sequences of various lengths: of queries and of keys.
    pub(crate) fn of_lengths(
        seed: u64,
        dtype: DType,
        lengths: &[[usize; 2]],
        heads: [usize; 4],
        options: Options,
    ) -> Self {
        let [h_q, h_kv, d, d_v] = heads;
        let offsets = |which: usize| -> Vec<i32> {
            let ends = lengths.iter().scan(0, |end, lengths| {
                *end += lengths[which] as i32;
                Some(*end)
            });
            std::iter::once(0).chain(ends).collect()
        };
        let longest = |which: usize| lengths.iter().map(|lengths| lengths[which]).max().unwrap_or(0);
        let [s_q, s_k] = [longest(0), longest(1)];
        let shape = Shape { b: lengths.len(), s_q, s_k, h_q, h_kv, d, d_v };
        let mut attention = Self::of_shape(seed, dtype, shape, options);
        let (cu_seqlens_q, cu_seqlens_k) = (offsets(0), offsets(1));
        let [total_q, total_k] = [&cu_seqlens_q, &cu_seqlens_k].map(|offsets| *offsets.last().unwrap() as usize);
        attention.q.truncate(total_q * h_q * d);
        attention.k.truncate(total_k * h_kv * d);
        attention.v.truncate(total_k * h_kv * d_v);
        attention.problem.totals = Some([total_q, total_k]);
        attention.extras = Extras { cu_seqlens_q, cu_seqlens_k, ..Extras::default() };
        attention
    }

    pub(crate) fn with_sinks(mut self, sinks: Vec<f64>) -> Self {
        self.problem.sinks = true;
        self.extras.sinks = rounded(DType::F32, &sinks);
        self
    }

    pub(crate) fn with_alibi(mut self, slopes: Vec<f64>) -> Self {
        self.problem.alibi = true;
        self.extras.alibi_slopes = rounded(DType::F32, &slopes);
        self
    }

    pub(crate) fn with_prefix(mut self, prefix: Vec<i32>) -> Self {
        self.problem.prefix = true;
        self.extras.prefix = prefix;
        self
    }

    /// A bias of the given type for `b` batch entries and `h_q` heads.
    pub(crate) fn with_bias(mut self, dtype: DType, [b, h_q]: [usize; 2], bias: impl Fn([usize; 4]) -> f64) -> Self {
        let Shape { s_q, s_k, .. } = self.problem.shape;
        self.problem.bias = Some(Broadcast { dtype, b, h_q, s_q, columns: s_k });
        let values: Vec<_> = every_index([b, h_q, s_q, s_k]).map(bias).collect();
        self.extras.bias = rounded(dtype, &values);
        self
    }

    /// A custom mask for `b` batch entries and `h_q` heads: whether (batch, head, query, key) is seen.
    pub(crate) fn with_mask(mut self, [b, h_q]: [usize; 2], seen: impl Fn([usize; 4]) -> bool) -> Self {
        let Shape { s_q, s_k, .. } = self.problem.shape;
        let mask = Broadcast { dtype: DType::U32, b, h_q, s_q, columns: s_k.div_ceil(32) };
        // Bits past the last key are set: nothing may come of them.
        let mut words = vec![u32::MAX; b * h_q * s_q * mask.columns];
        for [batch, head, i, j] in every_index([b, h_q, s_q, s_k]).filter(|&index| !seen(index)) {
            words[mask.row(batch, head, i) + j / 32] &= !(1 << (j % 32));
        }
        self.problem.mask_bits = Some(mask);
        self.extras.mask_bits = words;
        self
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            sinks: &self.extras.sinks,
            alibi_slopes: &self.extras.alibi_slopes,
            bias: &self.extras.bias,
            mask_bits: &self.extras.mask_bits,
            prefix: &self.extras.prefix,
            cu_seqlens_q: &self.extras.cu_seqlens_q,
            cu_seqlens_k: &self.extras.cu_seqlens_k,
        }
    }

    fn layouts(&self) -> Layouts {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = self.problem.shape;
        let of = |positions: [usize; 2], total: Option<usize>, row: [usize; 2]| match total {
            Some(total) => Layout::contiguous(&[&[total][..], &row].concat()).unwrap(),
            None => Layout::contiguous(&[positions, row].concat()).unwrap(),
        };
        let [total_q, total_k] = [0, 1].map(|which| self.problem.totals.map(|totals| totals[which]));
        Layouts {
            q: of([b, s_q], total_q, [h_q, d]),
            k: of([b, s_k], total_k, [h_kv, d]),
            v: of([b, s_k], total_k, [h_kv, d_v]),
            out: of([b, s_q], total_q, [h_q, d_v]),
        }
    }

    fn lse_layout(&self) -> Layout {
        let Shape { b, s_q, h_q, .. } = self.problem.shape;
        match self.problem.totals {
            Some([total_q, _]) => Layout::contiguous(&[h_q, total_q]).unwrap(),
            None => Layout::contiguous(&[b, h_q, s_q]).unwrap(),
        }
    }

    fn run(&self) -> Results {
        self.run_in(self.layouts()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Runs with tensors laid out as given, in memory that is NaN wherever nothing was put. Bytes between the
    /// elements of the output must stay as they are.
    fn run_in(&self, layouts: Layouts) -> Result<Results> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch_in(layouts, |work| work())
    }

    /// Likewise with something done around the launch, alone of the process if it counts.
    fn launch_in(
        &self,
        layouts: Layouts,
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<Results> {
        let queue = queue();
        let (dtype, Shape { b, h_q, .. }) = (self.problem.dtype, self.problem.shape);
        let [q, k, v] = [(&self.q, layouts.q), (&self.k, layouts.k), (&self.v, layouts.v)]
            .map(|(values, layout)| upload(dtype, values, layout));
        let (q, k, v) = (q?, k?, v?);
        let mut out = DeviceTensor::poisoned(queue, dtype, layouts.out)?;
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, self.lse_layout())?;
        let Extras { sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q, cu_seqlens_k } = &self.extras;
        let heads = |given: bool, values: &[f64]| {
            given.then(|| upload(DType::F32, values, Layout::contiguous(&[h_q])?)).transpose()
        };
        let broadcast = |given: Option<Broadcast>, values: &[f64]| {
            let put = |Broadcast { dtype, b, h_q, s_q, columns }| {
                upload(dtype, values, Layout::contiguous(&[b, h_q, s_q, columns])?)
            };
            given.map(put).transpose()
        };
        let numbers = |values: &[i32]| values.iter().map(|&value| value.into()).collect::<Vec<f64>>();
        let words: Vec<f64> = mask_bits.iter().map(|&word| word.into()).collect();
        let sinks = heads(self.problem.sinks, sinks)?;
        let alibi_slopes = heads(self.problem.alibi, alibi_slopes)?;
        let (bias, mask_bits) = (broadcast(self.problem.bias, bias)?, broadcast(self.problem.mask_bits, &words)?);
        let prefix = self.problem.prefix.then(|| upload(DType::I32, &numbers(prefix), Layout::contiguous(&[b])?));
        let prefix = prefix.transpose()?;
        let sequences = |offsets: &[i32]| self.problem.totals.map(|_| CuSeqlens::new(queue, offsets)).transpose();
        let (cu_seqlens_q, cu_seqlens_k) = (sequences(cu_seqlens_q)?, sequences(cu_seqlens_k)?);
        fn view(tensor: &Option<DeviceTensor>) -> Option<llm_kernels::TensorView<'_>> {
            tensor.as_ref().map(|tensor| tensor.view().unwrap())
        }
        around(&mut || {
            let args = Args {
                lse: Some(lse.view_mut()?),
                sinks: view(&sinks),
                alibi_slopes: view(&alibi_slopes),
                bias: view(&bias),
                mask_bits: view(&mask_bits),
                prefix: view(&prefix),
                cu_seqlens_q: cu_seqlens_q.as_ref(),
                cu_seqlens_k: cu_seqlens_k.as_ref(),
                options: self.options,
                ..Args::new(q.view()?, k.view()?, v.view()?, out.view_mut()?)
            };
            flash_forward(queue, args)
        })?;
        queue.synchronize()?;
        let results = Results { out: out.download(queue, "out")?, lse: lse.download(queue, "lse")? };
        let mut untouched = DeviceTensor::poisoned(queue, dtype, layouts.out)?;
        untouched.write(queue, &results.out.bytes)?;
        assert!(untouched.image(queue)? == out.image(queue)?, "bytes between the output's elements were written");
        Ok(results)
    }

    /// Compares results with the references.
    fn compare(&self, results: &Results) -> Agreement {
        let exact = reference(&self.problem, &self.inputs());
        let plain = plain(&self.problem, &self.inputs());
        self.compare_with(results, &exact, &plain)
    }

    fn compare_with(&self, Results { out, lse }: &Results, exact: &Output, plain: &Output) -> Agreement {
        Agreement {
            outputs: vec![
                compare(
                    out,
                    &exact.out,
                    &plain.out,
                    Tolerance::weighed(self.problem.dtype, self.score_sizes().into_iter()),
                ),
                compare(lse, &exact.lse, &plain.lse, Tolerance::logarithms(self.problem.shape.d)),
            ],
        }
    }

    /// How large the scores of each row are.
    pub(super) fn score_sizes(&self) -> Vec<f64> {
        let inputs = self.inputs();
        rows(&self.problem, &inputs).map(|row| inputs.score_size(&self.problem, row)).collect()
    }

    fn assert_agrees(&self) -> Results {
        let results = self.run();
        self.assert_is(&results);
        results
    }

    #[track_caller]
    fn assert_is(&self, results: &Results) {
        let agreement = self.compare(results);
        assert!(agreement.passed(), "{:?} {:?}: {}", self.problem, self.options, agreement.report());
    }

    /// Elements of a row of q or out.
    pub(crate) fn query_row(&self, batch: usize, i: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { s_q, h_q, d, .. } = self.problem.shape;
        let start = ((batch * s_q + i) * h_q + head) * d;
        start..start + d
    }

    /// Elements of a row of k or v.
    pub(crate) fn key_row(&self, batch: usize, j: usize, head: usize) -> std::ops::Range<usize> {
        let Shape { s_k, h_kv, d, .. } = self.problem.shape;
        let start = ((batch * s_k + j) * h_kv + head) * d;
        start..start + d
    }
}

/// All indices of a `[b, h, s, columns]` tensor, row-major.
pub(crate) fn every_index([b, h, s, columns]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    (0..b * h * s * columns)
        .map(move |at| [at / (h * s * columns), at / (s * columns) % h, at / columns % s, at % columns])
}

impl std::fmt::Debug for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.problem, self.options)
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
