//! Attention over a cache as it is defined: naive, in double precision, sharing no code with the kernel. And the same in
//! the precision of q, as one would write it without any fusion: the yardstick for the kernel's error.

use half::{bf16, f16};

use super::{Problem, Shape};
use crate::DType;

/// Input, row-major; what a problem does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// `[b, s_q, h_q, d]`
    pub q: &'a [f64],
    /// `[num_pages, page_size, h_kv, d]`, as it lies in the cache: without the scales.
    pub k: &'a [f64],
    /// Likewise.
    pub v: &'a [f64],
    /// `[num_pages, page_size, h_kv]`
    pub k_scales: &'a [f64],
    /// Likewise.
    pub v_scales: &'a [f64],
    /// `[b]`
    pub lengths: &'a [i32],
    /// `[b, pages_per_sequence]`
    pub block_table: &'a [i32],
    /// `[h_q]`
    pub sinks: &'a [f64],
    /// `[h_q]`
    pub alibi_slopes: &'a [f64],
}

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[b, s_q, h_q, d]`
    pub out: Vec<f64>,
    /// `[b, h_q, s_q]`
    pub lse: Vec<f64>,
}

/// A query of a head of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence.
    pub batch: usize,
    /// Head of q.
    pub head: usize,
    /// Query, counted from the first new one.
    pub i: usize,
}

impl Inputs<'_> {
    /// Keys of a sequence, whatever its length counts.
    pub fn length(&self, problem: &Problem, batch: usize) -> usize {
        (i64::from(self.lengths[batch]) + problem.new_keys as i64).max(0) as usize
    }

    /// Place of the query among the keys of its sequence.
    fn place(&self, problem: &Problem, row: Row) -> i64 {
        row.i as i64 + self.length(problem, row.batch) as i64 - problem.shape.s_q as i64
    }

    /// Whether a row sees key `j` of its sequence.
    pub fn sees(&self, problem: &Problem, row: Row, j: usize) -> bool {
        let distance = j as i64 - self.place(problem, row);
        let not_too_early = problem.window_left.is_none_or(|left| i128::from(distance) >= -(left as i128));
        not_too_early && (problem.bidirectional || distance <= 0)
    }

    /// Index of the key's row in the cache.
    fn key(&self, problem: &Problem, row: Row, j: usize) -> usize {
        let Shape { h_q, h_kv, page_size, .. } = problem.shape;
        let page = match problem.pages_per_sequence {
            Some(pages) => self.block_table[row.batch * pages + j / page_size] as usize,
            None => row.batch,
        };
        (page * page_size + j % page_size) * h_kv + row.head / (h_q / h_kv)
    }

    fn query(&self, problem: &Problem, row: Row) -> &[f64] {
        &self.q[row.of_out(problem)..][..problem.shape.d]
    }

    /// A key's row, its scale applied.
    fn keys(&self, problem: &Problem, key: usize) -> impl Iterator<Item = f64> {
        let d = problem.shape.d;
        let scale = self.k_scales.get(key).copied().unwrap_or(1.0);
        self.k[key * d..][..d].iter().map(move |k| k * scale)
    }

    /// A value's row, its scale applied.
    fn values(&self, problem: &Problem, key: usize) -> impl Iterator<Item = f64> {
        let d = problem.shape.d;
        let scale = self.v_scales.get(key).copied().unwrap_or(1.0);
        self.v[key * d..][..d].iter().map(move |v| v * scale)
    }

    /// What a score loses by its distance.
    fn loss(&self, problem: &Problem, row: Row, j: usize) -> f64 {
        let slope = self.alibi_slopes.get(row.head).copied().unwrap_or(0.0);
        slope * (j as i64 - self.place(problem, row)).abs() as f64
    }

    /// A score without a value that the row has besides; minus infinity without sinks.
    fn sink(&self, row: Row) -> f64 {
        self.sinks.get(row.head).copied().unwrap_or(f64::NEG_INFINITY)
    }
}

impl Row {
    /// Offset of its elements in q and out.
    pub fn of_out(self, problem: &Problem) -> usize {
        let Shape { s_q, h_q, d, .. } = problem.shape;
        ((self.batch * s_q + self.i) * h_q + self.head) * d
    }

    /// Offset of its element in lse.
    pub fn of_lse(self, problem: &Problem) -> usize {
        let Shape { s_q, h_q, .. } = problem.shape;
        (self.batch * h_q + self.head) * s_q + self.i
    }
}

/// Attention in double precision.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Output {
    every_row(problem, |row| reference_row(problem, inputs, row))
}

/// One row of [`reference()`]: the result and the logarithm of the sum. A row without a seen key gives 0, and its sink or
/// minus infinity.
pub fn reference_row(problem: &Problem, inputs: &Inputs, row: Row) -> (Vec<f64>, f64) {
    let seen: Vec<usize> = (0..inputs.length(problem, row.batch)).filter(|&j| inputs.sees(problem, row, j)).collect();
    let score = |&j: &usize| {
        let key = inputs.keys(problem, inputs.key(problem, row, j));
        let product: f64 = inputs.query(problem, row).iter().zip(key).map(|(q, k)| q * k).sum();
        let scaled = f64::from(problem.scale) * product;
        let capped = match problem.softcap.map(f64::from) {
            Some(cap) => cap * (scaled / cap).tanh(),
            None => scaled,
        };
        capped - inputs.loss(problem, row, j)
    };
    let scores: Vec<f64> = seen.iter().map(score).collect();
    let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    let largest = scores.iter().copied().fold(inputs.sink(row), larger);
    let mut out = vec![0.0; problem.shape.d];
    if largest == f64::NEG_INFINITY {
        return (out, f64::NEG_INFINITY);
    }
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum::<f64>() + (inputs.sink(row) - largest).exp();
    for (&j, power) in seen.iter().zip(&powers) {
        for (out, v) in out.iter_mut().zip(inputs.values(problem, inputs.key(problem, row, j))) {
            *out += power / sum * v;
        }
    }
    (out, largest + sum.ln())
}

/// Attention in the precision of q: scores and sums in f32, the probabilities and the result rounded to the problem's
/// element type, one matrix after the other.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    every_row(problem, |row| plain_row(problem, inputs, row))
}

/// One row of [`plain`].
pub fn plain_row(problem: &Problem, inputs: &Inputs, row: Row) -> (Vec<f64>, f64) {
    let seen: Vec<usize> = (0..inputs.length(problem, row.batch)).filter(|&j| inputs.sees(problem, row, j)).collect();
    let score = |&j: &usize| {
        let key = inputs.keys(problem, inputs.key(problem, row, j));
        let product: f32 = inputs.query(problem, row).iter().zip(key).map(|(&q, k)| q as f32 * k as f32).sum();
        let scaled = problem.scale * product;
        let capped = match problem.softcap {
            Some(cap) => cap * (scaled / cap).tanh(),
            None => scaled,
        };
        capped - inputs.loss(problem, row, j) as f32
    };
    let scores: Vec<f32> = seen.iter().map(score).collect();
    let sink = inputs.sink(row) as f32;
    let largest = scores.iter().copied().fold(sink, f32::max);
    let mut out = vec![0f32; problem.shape.d];
    if largest == f32::NEG_INFINITY {
        return (vec![0.0; problem.shape.d], f64::NEG_INFINITY);
    }
    let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f32 = powers.iter().sum::<f32>() + (sink - largest).exp();
    for (&j, power) in seen.iter().zip(&powers) {
        let probability = round_to(problem.dtype, power / sum);
        for (out, v) in out.iter_mut().zip(inputs.values(problem, inputs.key(problem, row, j))) {
            *out += probability * v as f32;
        }
    }
    let rounded = out.into_iter().map(|out| f64::from(round_to(problem.dtype, out))).collect();
    (rounded, f64::from(largest + sum.ln()))
}

/// All rows of a problem.
pub fn rows(problem: &Problem) -> impl Iterator<Item = Row> {
    let Shape { b, s_q, h_q, .. } = problem.shape;
    (0..b * h_q * s_q).map(move |at| Row { batch: at / (h_q * s_q), head: at / s_q % h_q, i: at % s_q })
}

fn every_row(problem: &Problem, compute: impl Fn(Row) -> (Vec<f64>, f64)) -> Output {
    let Shape { b, s_q, h_q, d, .. } = problem.shape;
    let mut result = Output { out: vec![0.0; b * s_q * h_q * d], lse: vec![0.0; b * h_q * s_q] };
    for row in rows(problem) {
        let (out, lse) = compute(row);
        result.out[row.of_out(problem)..][..d].copy_from_slice(&out);
        result.lse[row.of_lse(problem)] = lse;
    }
    result
}

fn round_to(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}
