//! `sparse::block_sparse`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::attention::CuSeqlens;
use llm_kernels::attention::flash_forward::reference::{Inputs, rows};
use llm_kernels::attention::flash_forward::{self, Shape, flash_forward};
use llm_kernels::sparse::block_sparse::reference::{mask_bits, masked, plain, reference};
use llm_kernels::sparse::block_sparse::{Args, Options, Problem, block_sparse};
use llm_kernels::sparse::patterns::PatternKind;
use llm_kernels::sparse::{BlockLayout, LayoutOperand, LayoutSizes, LayoutWork, Pattern, TileGrid};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Agreement, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue, rounded, upload};

use DType::{BF16, F16};

/// A problem with its input, row-major.
#[derive(Clone)]
pub(crate) struct Sparse {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) options: Options,
    /// Of all heads, or of each.
    pub(crate) heads: Vec<Pattern>,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    /// Offsets of queries and of keys, where sequences have various lengths.
    pub(crate) sequences: Option<[Vec<i32>; 2]>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    out: HostTensor,
    lse: HostTensor,
}

/// `[b, s_q, s_k, h_q, h_kv]` and the head dimension of q; v's is what goes with it.
pub(crate) fn shape([b, s_q, s_k, h_q, h_kv, d]: [usize; 6]) -> Shape {
    Shape { b, s_q, s_k, h_q, h_kv, d, d_v: if d == 192 { 128 } else { d } }
}

fn grid(shape: Shape, tiles: [usize; 2]) -> TileGrid {
    TileGrid::new([shape.s_q, shape.s_k], tiles).unwrap()
}

impl Sparse {
    /// Input of the standard normal distribution; sizes are `[b, s_q, s_k, h_q, h_kv, d]`. All heads have a pattern.
    pub(crate) fn new(dtype: DType, sizes: [usize; 6], tiles: [usize; 2], kind: &PatternKind) -> Self {
        let pattern = kind.pattern(grid(shape(sizes), tiles)).unwrap();
        Self::of_heads(0, dtype, sizes, vec![pattern])
    }

    pub(crate) fn full(dtype: DType, sizes: [usize; 6], tiles: [usize; 2]) -> Self {
        Self::of_heads(0, dtype, sizes, vec![Pattern::full(grid(shape(sizes), tiles)).unwrap()])
    }

    pub(crate) fn of_heads(seed: u64, dtype: DType, sizes: [usize; 6], heads: Vec<Pattern>) -> Self {
        let shape = shape(sizes);
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = shape;
        let values = |tensor: u64, count| rounded(dtype, &random::normal(3 * seed + tensor, count));
        Self {
            dtype,
            shape,
            options: Options::default(),
            heads,
            q: values(0, b * s_q * h_q * d),
            k: values(1, b * s_k * h_kv * d),
            v: values(2, b * s_k * h_kv * d_v),
            sequences: None,
        }
    }

    /// Sequences of various lengths, of queries and of keys, in place of those of the shape, which must be as many and as
    /// long as the longest.
    pub(crate) fn of_lengths(mut self, lengths: &[[usize; 2]]) -> Self {
        let offsets = |which: usize| -> Vec<i32> {
            let ends = lengths.iter().scan(0, |end, lengths| {
                *end += lengths[which] as i32;
                Some(*end)
            });
            std::iter::once(0).chain(ends).collect()
        };
        let Shape { h_q, h_kv, d, d_v, .. } = self.shape;
        let [queries, keys] = [offsets(0), offsets(1)];
        let [total_q, total_k] = [&queries, &keys].map(|offsets| *offsets.last().unwrap() as usize);
        self.q.truncate(total_q * h_q * d);
        self.k.truncate(total_k * h_kv * d);
        self.v.truncate(total_k * h_kv * d_v);
        self.sequences = Some([queries, keys]);
        self
    }

    fn totals(&self) -> Option<[usize; 2]> {
        let total = |offsets: &Vec<i32>| *offsets.last().unwrap() as usize;
        self.sequences.as_ref().map(|[queries, keys]| [total(queries), total(keys)])
    }

    /// The problem without a layout.
    pub(crate) fn dense(&self) -> flash_forward::Problem {
        let options = flash_forward::Options { scale: self.options.scale, ..Default::default() };
        let mut problem = flash_forward::Problem::new(self.dtype, self.shape, &options).unwrap();
        problem.totals = self.totals();
        problem
    }

    fn problem(&self) -> Problem {
        let work: LayoutWork = self.heads.iter().map(LayoutWork::new).sum();
        let sizes = LayoutSizes { heads: self.heads.len(), patterns: 1, tiles: 0, bands: 0, masks: 0 };
        let layout = LayoutOperand { address: 0, grid: *self.heads[0].grid(), sizes, work: Some(work) };
        let mut problem = Problem::new(self.dtype, self.shape, &self.options, layout).unwrap();
        problem.attention.totals = self.totals();
        problem
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        let [cu_seqlens_q, cu_seqlens_k] = match &self.sequences {
            Some([queries, keys]) => [queries.as_slice(), keys],
            None => [&[][..]; 2],
        };
        Inputs { q: &self.q, k: &self.k, v: &self.v, cu_seqlens_q, cu_seqlens_k, ..Inputs::default() }
    }

    /// Layouts of q, k, v, out and lse.
    fn layouts(&self) -> [Layout; 5] {
        let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = self.shape;
        let shapes: [Vec<usize>; 5] = match self.totals() {
            None => [
                vec![b, s_q, h_q, d],
                vec![b, s_k, h_kv, d],
                vec![b, s_k, h_kv, d_v],
                vec![b, s_q, h_q, d_v],
                vec![b, h_q, s_q],
            ],
            Some([total_q, total_k]) => [
                vec![total_q, h_q, d],
                vec![total_k, h_kv, d],
                vec![total_k, h_kv, d_v],
                vec![total_q, h_q, d_v],
                vec![h_q, total_q],
            ],
        };
        shapes.map(|shape| Layout::contiguous(&shape).unwrap())
    }

    fn run(&self) -> Results {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch(self.layouts(), |work| work()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Runs dense attention on the same tensors.
    fn run_dense(&self) -> Results {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        self.launch_dense(flash_forward::Options::default(), None, |work| work()).unwrap()
    }

    /// The layout in device memory.
    pub(crate) fn layout(&self) -> Result<BlockLayout<'static>> {
        // Patterns that repeat are kept once.
        let mut patterns: Vec<Pattern> = Vec::new();
        let mut heads = Vec::new();
        for pattern in &self.heads {
            let at = patterns.iter().position(|known| known == pattern).unwrap_or(patterns.len());
            if at == patterns.len() {
                patterns.push(pattern.clone());
            }
            heads.push(at);
        }
        BlockLayout::of_heads(queue(), patterns, heads)
    }

    fn launch(
        &self,
        layouts: [Layout; 5],
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<Results> {
        let queue = queue();
        let layout = self.layout()?;
        let [q, k, v] = self.upload(layouts)?;
        let mut out = DeviceTensor::poisoned(queue, self.dtype, layouts[3])?;
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, layouts[4])?;
        let [queries, keys] = self.upload_sequences()?;
        around(&mut || {
            let args = Args {
                lse: Some(lse.view_mut()?),
                cu_seqlens_q: queries.as_ref(),
                cu_seqlens_k: keys.as_ref(),
                options: self.options,
                ..Args::new(q.view()?, k.view()?, v.view()?, out.view_mut()?, &layout)
            };
            block_sparse(queue, args)
        })?;
        queue.synchronize()?;
        let results = Results { out: out.download(queue, "out")?, lse: lse.download(queue, "lse")? };
        let mut untouched = DeviceTensor::poisoned(queue, self.dtype, layouts[3])?;
        untouched.write(queue, &results.out.bytes)?;
        assert!(untouched.image(queue)? == out.image(queue)?, "bytes between the output's elements were written");
        Ok(results)
    }

    /// Dense attention with a mask of bits for heads.
    fn launch_dense(
        &self,
        options: flash_forward::Options,
        mask: Option<(usize, Vec<u32>)>,
        around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Result<Results> {
        let queue = queue();
        let layouts = self.layouts();
        let [q, k, v] = self.upload(layouts)?;
        let mut out = DeviceTensor::poisoned(queue, self.dtype, layouts[3])?;
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, layouts[4])?;
        let [queries, keys] = self.upload_sequences()?;
        let (s_q, columns) = (self.shape.s_q, self.shape.s_k.div_ceil(32));
        let mask = mask
            .map(|(heads, words)| HostTensor::from_slice("mask_bits", &[1, heads, s_q, columns], &words).upload(queue));
        let mask = mask.transpose()?;
        around(&mut || {
            let args = flash_forward::Args {
                lse: Some(lse.view_mut()?),
                mask_bits: mask.as_ref().map(DeviceTensor::view).transpose()?,
                cu_seqlens_q: queries.as_ref(),
                cu_seqlens_k: keys.as_ref(),
                options: flash_forward::Options { scale: self.options.scale, ..options },
                ..flash_forward::Args::new(q.view()?, k.view()?, v.view()?, out.view_mut()?)
            };
            flash_forward(queue, args)
        })?;
        queue.synchronize()?;
        Ok(Results { out: out.download(queue, "out")?, lse: lse.download(queue, "lse")? })
    }

    fn upload(&self, layouts: [Layout; 5]) -> Result<[DeviceTensor; 3]> {
        let [q, k, v] = [(&self.q, 0), (&self.k, 1), (&self.v, 2)]
            .map(|(values, tensor)| upload(self.dtype, values, layouts[tensor]));
        Ok([q?, k?, v?])
    }

    pub(crate) fn upload_sequences(&self) -> Result<[Option<CuSeqlens<'static>>; 2]> {
        let Some([queries, keys]) = &self.sequences else { return Ok([None, None]) };
        Ok([Some(CuSeqlens::new(queue(), queries)?), Some(CuSeqlens::new(queue(), keys)?)])
    }

    /// Compares results with the references.
    fn compare(&self, results: &Results) -> Agreement {
        let (problem, inputs) = (self.dense(), self.inputs());
        let heads: Vec<&Pattern> = self.heads.iter().collect();
        let exact = reference(&problem, &heads, &inputs);
        let plain = plain(&problem, &heads, &inputs);
        let mask_bits = mask_bits(heads.iter().copied());
        let (problem, inputs) = (masked(&problem, heads.len(), heads[0]), Inputs { mask_bits: &mask_bits, ..inputs });
        let sizes = rows(&problem, &inputs).map(|row| inputs.score_size(&problem, row));
        Agreement {
            outputs: vec![
                compare(&results.out, &exact.out, &plain.out, Tolerance::weighed(self.dtype, sizes)),
                compare(&results.lse, &exact.lse, &plain.lse, Tolerance::logarithms(self.shape.d)),
            ],
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Results {
        let results = self.run();
        let agreement = self.compare(&results);
        assert!(agreement.passed(), "{self:?}: {}", agreement.report());
        results
    }
}

impl std::fmt::Debug for Sparse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tiles: Vec<usize> = self.heads.iter().map(|pattern| pattern.tiles().len()).collect();
        let (dtype, shape, grid) = (self.dtype, self.shape, self.heads[0].grid());
        write!(f, "{dtype} {shape:?} {grid:?} visits {tiles:?} {:?} {:?}", self.options, self.sequences)
    }
}
