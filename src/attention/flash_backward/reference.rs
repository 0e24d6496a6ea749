//! The gradients as they are defined: naive, in double precision, sharing no code with the kernels. And the same in the
//! precision of the kernels' inputs, as one would write it without any fusion: the yardstick for their error.

use half::{bf16, f16};

use super::super::flash_forward::reference::{self as forward, Row};
use super::{Problem, Shape};
use crate::DType;

/// What the gradients are made of, row-major. With the exact `out` and `lse` they are the exact gradients.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[b, s_q, h_q, d]`
    pub q: &'a [f64],
    /// `[b, s_k, h_kv, d]`
    pub k: &'a [f64],
    /// `[b, s_k, h_kv, d]`
    pub v: &'a [f64],
    /// `[b, s_q, h_q, d]`
    pub out: &'a [f64],
    /// `[b, h_q, s_q]`
    pub lse: &'a [f64],
    /// `[b, s_q, h_q, d]`
    pub d_out: &'a [f64],
}

impl<'a> Inputs<'a> {
    /// That of the forward pass.
    pub fn forward(&self) -> forward::Inputs<'a> {
        forward::Inputs { q: self.q, k: self.k, v: self.v, ..forward::Inputs::default() }
    }
}

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients {
    /// `[b, s_q, h_q, d]`
    pub d_q: Vec<f64>,
    /// `[b, s_k, h_kv, d]`
    pub d_k: Vec<f64>,
    /// `[b, s_k, h_kv, d]`
    pub d_v: Vec<f64>,
}

/// A key-value head of a batch, with the query heads that it serves: what gradients depend on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Batch.
    pub batch: usize,
    /// Head of k and v.
    pub kv_head: usize,
}

/// The gradients in double precision.
///
/// For every query `i`, head `h` and seen key `j`: `p = exp(scale q_i k_j - lse_i)`, `ds = p (d_out_i v_j - delta_i)`
/// with `delta_i = out_i d_out_i`; then `d_v_j` is the sum of `p d_out_i`, `d_q_i` of `scale ds k_j` and `d_k_j` of
/// `scale ds q_i`. A query whose lse is minus infinity sees no key.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Gradients {
    every_group(problem, |group, gradients| reference_group(problem, inputs, group, gradients))
}

/// One group of [`reference()`]: its rows of `gradients`, which are zeros before.
pub fn reference_group(problem: &Problem, inputs: &Inputs, group: Group, gradients: &mut Gradients) {
    let Shape { d, .. } = problem.shape;
    let scale = f64::from(problem.scale);
    let forward = inputs.forward();
    for row in rows(problem, group) {
        let query = query_row(problem, row);
        let [q, out, d_out] = [inputs.q, inputs.out, inputs.d_out].map(|tensor| &tensor[query..][..d]);
        let lse = inputs.lse[row.of_lse(problem, &forward)];
        if lse == f64::NEG_INFINITY {
            continue;
        }
        let delta = dot(out, d_out);
        for j in (0..problem.shape.s_k).filter(|&j| forward.sees(problem, row, j)) {
            let key = key_row(problem, group, j);
            let (k, v) = (&inputs.k[key..][..d], &inputs.v[key..][..d]);
            let p = (scale * dot(q, k) - lse).exp();
            let ds = p * (dot(d_out, v) - delta);
            for c in 0..d {
                gradients.d_v[key + c] += p * d_out[c];
                gradients.d_q[query + c] += scale * ds * k[c];
                gradients.d_k[key + c] += scale * ds * q[c];
            }
        }
    }
}

/// The gradients in the precision of the inputs: sums in f32, probabilities, their gradients and the results rounded to
/// the problem's element type.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Gradients {
    every_group(problem, |group, gradients| plain_group(problem, inputs, group, gradients))
}

/// One group of [`plain`].
pub fn plain_group(problem: &Problem, inputs: &Inputs, group: Group, gradients: &mut Gradients) {
    let Shape { s_k, d, .. } = problem.shape;
    let (scale, dtype) = (problem.scale, problem.dtype);
    // f32 sums of this group's keys, [s_k, d].
    let (mut d_k, mut d_v) = (vec![0f32; s_k * d], vec![0f32; s_k * d]);
    let forward = inputs.forward();
    for row in rows(problem, group) {
        let query = query_row(problem, row);
        let [q, out, d_out] = [inputs.q, inputs.out, inputs.d_out].map(|tensor| to_f32(&tensor[query..][..d]));
        let lse = inputs.lse[row.of_lse(problem, &forward)] as f32;
        let mut d_q = vec![0f32; d];
        if lse > f32::NEG_INFINITY || lse.is_nan() {
            let delta = dot_f32(&out, &d_out);
            for j in (0..s_k).filter(|&j| forward.sees(problem, row, j)) {
                let key = key_row(problem, group, j);
                let (k, v) = (to_f32(&inputs.k[key..][..d]), to_f32(&inputs.v[key..][..d]));
                let p = (scale * dot_f32(&q, &k) - lse).exp();
                let ds = rounded(dtype, p * (dot_f32(&d_out, &v) - delta));
                let p = rounded(dtype, p);
                for c in 0..d {
                    d_v[j * d + c] += p * d_out[c];
                    d_q[c] += ds * k[c];
                    d_k[j * d + c] += ds * q[c];
                }
            }
        }
        for (gradient, sum) in gradients.d_q[query..][..d].iter_mut().zip(d_q) {
            *gradient = rounded(dtype, scale * sum).into();
        }
    }
    for j in 0..s_k {
        let key = key_row(problem, group, j);
        for c in 0..d {
            gradients.d_k[key + c] = rounded(dtype, scale * d_k[j * d + c]).into();
            gradients.d_v[key + c] = rounded(dtype, d_v[j * d + c]).into();
        }
    }
}

/// Offset of a row in q, out and d_out.
pub fn query_row(problem: &Problem, row: Row) -> usize {
    let Shape { s_q, h_q, d, .. } = problem.shape;
    ((row.batch * s_q + row.i) * h_q + row.head) * d
}

/// Offset of key `j` of a group in k and v.
pub fn key_row(problem: &Problem, group: Group, j: usize) -> usize {
    let Shape { s_k, h_kv, d, .. } = problem.shape;
    ((group.batch * s_k + j) * h_kv + group.kv_head) * d
}

/// The queries of a group.
pub fn rows(problem: &Problem, Group { batch, kv_head }: Group) -> impl Iterator<Item = Row> {
    let Shape { s_q, h_q, h_kv, .. } = problem.shape;
    let heads = h_q / h_kv;
    (kv_head * heads..(kv_head + 1) * heads).flat_map(move |head| (0..s_q).map(move |i| Row { batch, head, i }))
}

/// The magnitude that terms of `d_q`, `d_k` and `d_v` have before they cancel: for `ds`, of `d_out v` and `delta`, whose
/// difference may leave nothing.
pub fn terms(problem: &Problem, inputs: &Inputs) -> [f64; 3] {
    let largest = |values: &[f64]| values.iter().filter(|x| x.is_finite()).fold(0f64, |a, b| a.max(b.abs()));
    let [q, k, v, d_out] = [inputs.q, inputs.k, inputs.v, inputs.d_out].map(largest);
    let d_score = f64::from(problem.scale).abs() * d_out * v * (problem.shape.d as f64).sqrt();
    [d_score * k, d_score * q, d_out]
}

/// Zeros.
pub fn zeros(problem: &Problem) -> Gradients {
    let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = problem.shape;
    let keys = vec![0.0; b * s_k * h_kv * d];
    Gradients { d_q: vec![0.0; b * s_q * h_q * d], d_k: keys.clone(), d_v: keys }
}

fn every_group(problem: &Problem, compute: impl Fn(Group, &mut Gradients)) -> Gradients {
    let mut gradients = zeros(problem);
    for batch in 0..problem.shape.b {
        for kv_head in 0..problem.shape.h_kv {
            compute(Group { batch, kv_head }, &mut gradients);
        }
    }
    gradients
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn to_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn rounded(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}
