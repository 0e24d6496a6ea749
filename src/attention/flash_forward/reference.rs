//! Attention as it is defined: naive, in double precision, sharing no code with the kernel. And the same in the
//! precision of the kernel's inputs, as one would write it without any fusion: the yardstick for its error.

use half::{bf16, f16};

use super::{Problem, Shape};
use crate::DType;

/// Input, row-major; what a problem does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// `[b, s_q, h_q, d]`, or `[total_q, h_q, d]`
    pub q: &'a [f64],
    /// `[b, s_k, h_kv, d]`, or `[total_k, h_kv, d]`
    pub k: &'a [f64],
    /// `[b, s_k, h_kv, d_v]`, or `[total_k, h_kv, d_v]`
    pub v: &'a [f64],
    /// `[h_q]`
    pub sinks: &'a [f64],
    /// `[h_q]`
    pub alibi_slopes: &'a [f64],
    /// `[b or 1, h_q or 1, s_q, s_k]`
    pub bias: &'a [f64],
    /// `[b or 1, h_q or 1, s_q, ceil(s_k / 32)]`
    pub mask_bits: &'a [u32],
    /// `[b]`
    pub prefix: &'a [i32],
    /// `[b + 1]`
    pub cu_seqlens_q: &'a [i32],
    /// `[b + 1]`
    pub cu_seqlens_k: &'a [i32],
}

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[b, s_q, h_q, d_v]`, or `[total_q, h_q, d_v]`
    pub out: Vec<f64>,
    /// `[b, h_q, s_q]`, or `[h_q, total_q]`
    pub lse: Vec<f64>,
}

/// A query of a head of a batch entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Batch entry: the sequence.
    pub batch: usize,
    /// Head of q.
    pub head: usize,
    /// Query, counted from the start of its sequence.
    pub i: usize,
}

/// Where a sequence lies among all positions, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first position.
    pub begin: usize,
    /// Its positions.
    pub length: usize,
}

fn span(cu_seqlens: &[i32], batch: usize, length: usize) -> Span {
    match cu_seqlens.get(batch..batch + 2) {
        Some(&[begin, end]) => Span { begin: begin as usize, length: (end - begin) as usize },
        _ => Span { begin: batch * length, length },
    }
}

impl Inputs<'_> {
    /// Queries of a sequence.
    pub fn queries(&self, problem: &Problem, batch: usize) -> Span {
        span(self.cu_seqlens_q, batch, problem.shape.s_q)
    }

    /// Keys of a sequence.
    pub fn keys(&self, problem: &Problem, batch: usize) -> Span {
        span(self.cu_seqlens_k, batch, problem.shape.s_k)
    }

    /// Place of the query among the keys of its sequence.
    fn place(&self, problem: &Problem, row: Row) -> i64 {
        let (queries, keys) = (self.queries(problem, row.batch), self.keys(problem, row.batch));
        row.i as i64 + keys.length as i64 - queries.length as i64
    }

    /// Whether a row sees key `j` of its sequence.
    pub fn sees(&self, problem: &Problem, row: Row, j: usize) -> bool {
        let distance = j as i64 - self.place(problem, row);
        let not_too_early = problem.window_left.is_none_or(|left| i128::from(distance) >= -(left as i128));
        let in_prefix = self.prefix.get(row.batch).is_some_and(|&prefix| (j as i64) < i64::from(prefix));
        let not_too_late = problem.window_right.is_none_or(|right| i128::from(distance) <= right as i128);
        let shown = problem.mask_bits.is_none_or(|mask| {
            let word = self.mask_bits[mask.row(row.batch, row.head, row.i) + j / 32];
            word >> (j % 32) & 1 == 1
        });
        not_too_early && (not_too_late || in_prefix) && shown
    }

    /// The keys that a row sees.
    pub fn seen(&self, problem: &Problem, row: Row) -> Vec<usize> {
        (0..self.keys(problem, row.batch).length).filter(|&j| self.sees(problem, row, j)).collect()
    }

    fn query(&self, problem: &Problem, row: Row) -> &[f64] {
        &self.q[row.of_query(problem, self)..][..problem.shape.d]
    }

    /// Index of a key's row in k and v.
    pub fn key(&self, problem: &Problem, row: Row, j: usize) -> usize {
        let Shape { h_q, h_kv, .. } = problem.shape;
        (self.keys(problem, row.batch).begin + j) * h_kv + row.head / (h_q / h_kv)
    }

    /// What is added to a score.
    pub fn bias(&self, problem: &Problem, row: Row, j: usize) -> f64 {
        let bias = problem.bias.map_or(0.0, |bias| self.bias[bias.row(row.batch, row.head, row.i) + j]);
        let slope = self.alibi_slopes.get(row.head).copied().unwrap_or(0.0);
        bias - slope * (j as i64 - self.place(problem, row)).abs() as f64
    }

    /// A score, as what the product gives and what is added to that.
    fn score(&self, problem: &Problem, row: Row, j: usize) -> [f64; 2] {
        let d = problem.shape.d;
        let k = &self.k[self.key(problem, row, j) * d..][..d];
        let scaled = f64::from(problem.scale) * dot(self.query(problem, row), k);
        let capped = match problem.softcap.map(f64::from) {
            Some(cap) => cap * (scaled / cap).tanh(),
            None => scaled,
        };
        [capped, self.bias(problem, row, j)]
    }

    /// How large the numbers are that the scores of a row are made of: of those scores that weigh in its result, which are
    /// at most 20 below the largest; the sink's besides.
    pub fn score_size(&self, problem: &Problem, row: Row) -> f64 {
        let scores: Vec<[f64; 2]> = self.seen(problem, row).iter().map(|&j| self.score(problem, row, j)).collect();
        let largest = scores.iter().map(|parts| parts[0] + parts[1]).fold(f64::NEG_INFINITY, f64::max);
        let weighs = |parts: &&[f64; 2]| parts[0] + parts[1] >= largest - 20.0;
        let size = scores.iter().filter(weighs).map(|parts| parts[0].abs() + parts[1].abs()).fold(0.0, f64::max);
        size + Some(self.sink(row).abs()).filter(|sink| sink.is_finite()).unwrap_or(0.0)
    }

    /// A score without a value that the row has besides; minus infinity without sinks.
    pub fn sink(&self, row: Row) -> f64 {
        self.sinks.get(row.head).copied().unwrap_or(f64::NEG_INFINITY)
    }
}

/// Attention in double precision.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Output {
    every_row(problem, inputs, |row| reference_row(problem, inputs, row))
}

/// One row of [`reference()`]: of query `i` in a head and a batch entry, the result and the logarithm of the sum.
///
/// A row without a seen key, or whose seen scores are all minus infinity, gives 0, and its sink or minus infinity.
pub fn reference_row(problem: &Problem, inputs: &Inputs, row: Row) -> (Vec<f64>, f64) {
    let d_v = problem.shape.d_v;
    let keys = inputs.seen(problem, row);
    let scores: Vec<f64> = keys.iter().map(|&j| inputs.score(problem, row, j).iter().sum()).collect();
    let largest = scores.iter().copied().fold(inputs.sink(row), max_or_nan);
    let mut out = vec![0.0; d_v];
    if largest == f64::NEG_INFINITY {
        return (out, f64::NEG_INFINITY);
    }
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum::<f64>() + (inputs.sink(row) - largest).exp();
    for (&j, power) in keys.iter().zip(&powers) {
        let probability = match problem.dropout {
            Some(dropout) if dropout.keeps(row.batch, row.head, row.i, j) => power / sum * f64::from(dropout.scale),
            Some(_) => 0.0,
            None => power / sum,
        };
        let v = &inputs.v[inputs.key(problem, row, j) * d_v..][..d_v];
        for (out, v) in out.iter_mut().zip(v) {
            *out += probability * v;
        }
    }
    (out, largest + sum.ln())
}

/// Attention in the precision of its inputs: scores and sums in f32, the probabilities and the result rounded to the
/// problem's element type, one matrix after the other.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    every_row(problem, inputs, |row| plain_row(problem, inputs, row))
}

/// One row of [`plain`].
pub fn plain_row(problem: &Problem, inputs: &Inputs, row: Row) -> (Vec<f64>, f64) {
    let Shape { d, d_v, .. } = problem.shape;
    let keys = inputs.seen(problem, row);
    let score = |j| {
        let k = &inputs.k[inputs.key(problem, row, j) * d..][..d];
        let scaled = problem.scale * dot_f32(inputs.query(problem, row), k);
        let capped = match problem.softcap {
            Some(cap) => cap * (scaled / cap).tanh(),
            None => scaled,
        };
        capped + inputs.bias(problem, row, j) as f32
    };
    let scores: Vec<f32> = keys.iter().map(|&j| score(j)).collect();
    let sink = inputs.sink(row) as f32;
    let largest = scores.iter().copied().fold(sink, f32::max);
    if largest == f32::NEG_INFINITY {
        return (vec![0.0; d_v], f64::NEG_INFINITY);
    }
    let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f32 = powers.iter().sum::<f32>() + (sink - largest).exp();
    let mut out = vec![0f32; d_v];
    for (&j, power) in keys.iter().zip(&powers) {
        let probability = match problem.dropout {
            Some(dropout) if dropout.keeps(row.batch, row.head, row.i, j) => power / sum * dropout.scale,
            Some(_) => 0.0,
            None => power / sum,
        };
        let probability = round_to(problem.dtype, probability);
        let v = &inputs.v[inputs.key(problem, row, j) * d_v..][..d_v];
        for (out, &v) in out.iter_mut().zip(v) {
            *out += probability * v as f32;
        }
    }
    let rounded = out.into_iter().map(|out| f64::from(round_to(problem.dtype, out))).collect();
    (rounded, f64::from(largest + sum.ln()))
}

impl Row {
    /// Offset of its elements in q.
    pub fn of_query(self, problem: &Problem, inputs: &Inputs) -> usize {
        let Shape { h_q, d, .. } = problem.shape;
        ((inputs.queries(problem, self.batch).begin + self.i) * h_q + self.head) * d
    }

    /// Offset of its elements in out.
    pub fn of_out(self, problem: &Problem, inputs: &Inputs) -> usize {
        let Shape { h_q, d_v, .. } = problem.shape;
        ((inputs.queries(problem, self.batch).begin + self.i) * h_q + self.head) * d_v
    }

    /// Offset of its element in lse.
    pub fn of_lse(self, problem: &Problem, inputs: &Inputs) -> usize {
        let Shape { s_q, h_q, .. } = problem.shape;
        match problem.totals {
            Some([total_q, _]) => self.head * total_q + inputs.queries(problem, self.batch).begin + self.i,
            None => (self.batch * h_q + self.head) * s_q + self.i,
        }
    }
}

/// All rows of a problem.
pub fn rows<'a>(problem: &'a Problem, inputs: &'a Inputs) -> impl Iterator<Item = Row> + 'a {
    let batches = 0..problem.shape.b;
    batches.flat_map(move |batch| {
        let queries = inputs.queries(problem, batch).length;
        (0..problem.shape.h_q).flat_map(move |head| (0..queries).map(move |i| Row { batch, head, i }))
    })
}

fn every_row(problem: &Problem, inputs: &Inputs, compute: impl Fn(Row) -> (Vec<f64>, f64)) -> Output {
    let Shape { b, s_q, h_q, d_v, .. } = problem.shape;
    let queries = problem.totals.map_or(b * s_q, |[total_q, _]| total_q);
    let mut result = Output { out: vec![0.0; queries * h_q * d_v], lse: vec![0.0; h_q * queries] };
    for row in rows(problem, inputs) {
        let (out, lse) = compute(row);
        result.out[row.of_out(problem, inputs)..][..d_v].copy_from_slice(&out);
        result.lse[row.of_lse(problem, inputs)] = lse;
    }
    result
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot_f32(a: &[f64], b: &[f64]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| a as f32 * b as f32).sum()
}

/// The larger of two numbers, NaN if one is NaN.
fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn round_to(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}
