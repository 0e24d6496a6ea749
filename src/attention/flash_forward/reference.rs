//! Attention as it is defined: naive, in double precision, sharing no code with the kernel. And the same in the
//! precision of the kernel's inputs, as one would write it without any fusion: the yardstick for its error.

use half::{bf16, f16};

use super::{Problem, Shape};
use crate::DType;

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[b, s_q, h_q, d]`
    pub out: Vec<f64>,
    /// `[b, h_q, s_q]`
    pub lse: Vec<f64>,
}

/// Whether query `i` sees key `j`.
pub fn sees(problem: &Problem, i: usize, j: usize) -> bool {
    let Shape { s_q, s_k, .. } = problem.shape;
    let distance = j as i128 - (i as i128 + s_k as i128 - s_q as i128);
    problem.window_left.is_none_or(|left| distance >= -(left as i128))
        && problem.window_right.is_none_or(|right| distance <= right as i128)
}

/// Attention in double precision.
///
/// `q` `[b, s_q, h_q, d]`, `k` and `v` `[b, s_k, h_kv, d]`, row-major.
pub fn reference(problem: &Problem, q: &[f64], k: &[f64], v: &[f64]) -> Output {
    every_row(problem, |row| reference_row(problem, q, k, v, row))
}

/// One row of [`reference()`]: of query `i` in a head and a batch, the result and the logarithm of the sum.
///
/// A row without a seen key, or whose seen scores are all minus infinity, gives 0 and minus infinity.
pub fn reference_row(problem: &Problem, q: &[f64], k: &[f64], v: &[f64], row: Row) -> (Vec<f64>, f64) {
    let Shape { s_k, d, .. } = problem.shape;
    let keys: Vec<usize> = (0..s_k).filter(|&j| sees(problem, row.i, j)).collect();
    let q = &q[row.of_query(problem)..][..d];
    let key = |j| &k[row.of_key(problem, j)..][..d];
    let value = |j| &v[row.of_key(problem, j)..][..d];

    let scores: Vec<f64> = keys.iter().map(|&j| f64::from(problem.scale) * dot(q, key(j))).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, max_or_nan);
    let mut out = vec![0.0; d];
    if largest == f64::NEG_INFINITY {
        return (out, f64::NEG_INFINITY);
    }
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    for (&j, power) in keys.iter().zip(&powers) {
        for (out, v) in out.iter_mut().zip(value(j)) {
            *out += power / sum * v;
        }
    }
    (out, largest + sum.ln())
}

/// Attention in the precision of its inputs: scores and sums in f32, the probabilities and the result rounded to the
/// problem's element type, one matrix after the other.
pub fn plain(problem: &Problem, q: &[f64], k: &[f64], v: &[f64]) -> Output {
    every_row(problem, |row| plain_row(problem, q, k, v, row))
}

/// One row of [`plain`].
pub fn plain_row(problem: &Problem, q: &[f64], k: &[f64], v: &[f64], row: Row) -> (Vec<f64>, f64) {
    let Shape { s_k, d, .. } = problem.shape;
    let keys: Vec<usize> = (0..s_k).filter(|&j| sees(problem, row.i, j)).collect();
    let q = &q[row.of_query(problem)..][..d];
    let key = |j| &k[row.of_key(problem, j)..][..d];
    let value = |j| &v[row.of_key(problem, j)..][..d];

    let scores: Vec<f32> = keys.iter().map(|&j| problem.scale * dot_f32(q, key(j))).collect();
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    let mut out = vec![0f32; d];
    if largest == f32::NEG_INFINITY {
        return (vec![0.0; d], f64::NEG_INFINITY);
    }
    for (&j, power) in keys.iter().zip(&powers) {
        let probability = round_to(problem.dtype, power / sum);
        for (out, &v) in out.iter_mut().zip(value(j)) {
            *out += probability * v as f32;
        }
    }
    let rounded = out.into_iter().map(|out| f64::from(round_to(problem.dtype, out))).collect();
    (rounded, f64::from(largest + sum.ln()))
}

/// A query of a head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Batch.
    pub batch: usize,
    /// Head of q.
    pub head: usize,
    /// Query.
    pub i: usize,
}

impl Row {
    /// Offset of its elements in q and out.
    pub fn of_query(self, problem: &Problem) -> usize {
        let Shape { s_q, h_q, d, .. } = problem.shape;
        ((self.batch * s_q + self.i) * h_q + self.head) * d
    }

    /// Offset of a key's elements in k and v.
    pub fn of_key(self, problem: &Problem, j: usize) -> usize {
        let Shape { s_k, h_q, h_kv, d, .. } = problem.shape;
        ((self.batch * s_k + j) * h_kv + self.head / (h_q / h_kv)) * d
    }

    /// Offset of its element in lse.
    pub fn of_lse(self, problem: &Problem) -> usize {
        let Shape { s_q, h_q, .. } = problem.shape;
        (self.batch * h_q + self.head) * s_q + self.i
    }
}

fn every_row(problem: &Problem, compute: impl Fn(Row) -> (Vec<f64>, f64)) -> Output {
    let Shape { b, s_q, h_q, d, .. } = problem.shape;
    let mut result = Output { out: vec![0.0; b * s_q * h_q * d], lse: vec![0.0; b * h_q * s_q] };
    for batch in 0..b {
        for head in 0..h_q {
            for i in 0..s_q {
                let row = Row { batch, head, i };
                let (out, lse) = compute(row);
                result.out[row.of_query(problem)..][..d].copy_from_slice(&out);
                result.lse[row.of_lse(problem)] = lse;
            }
        }
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
