//! The gradients as they are defined: naive, in double precision, sharing no code with the kernels. And the same in the
//! precision of the kernels' inputs, as one would write it without any fusion: the yardstick for their error.

use half::{bf16, f16};

use super::super::flash_forward::reference::{self as forward, Row};
use super::{Problem, Shape};
use crate::DType;

/// What the gradients are made of, row-major. With the exact `out` and `lse` they are the exact gradients.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Those of the forward pass.
    pub forward: forward::Inputs<'a>,
    /// `[b, s_q, h_q, d_v]`, or `[total_q, h_q, d_v]`
    pub out: &'a [f64],
    /// `[b, h_q, s_q]`, or `[h_q, total_q]`
    pub lse: &'a [f64],
    /// As out.
    pub d_out: &'a [f64],
}

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients {
    /// As q.
    pub d_q: Vec<f64>,
    /// As k.
    pub d_k: Vec<f64>,
    /// As v.
    pub d_v: Vec<f64>,
    /// `[h_q]`; empty without sinks.
    pub d_sinks: Vec<f64>,
    /// As bias; empty without one.
    pub d_bias: Vec<f64>,
}

/// A key-value head of a batch, with the query heads that it serves: what gradients of q, k and v depend on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Batch.
    pub batch: usize,
    /// Head of k and v.
    pub kv_head: usize,
}

/// The gradients in double precision.
///
/// For every query `i`, head `h` and seen key `j`, with `t = scale q_i k_j` and its score `s`: `p = exp(s - lse_i)`,
/// `dp = keep d_out_i v_j`, `ds = p (dp - delta_i)` with `delta_i = out_i d_out_i` and `keep` the factor of dropout, 1
/// without; then `d_v_j` is the sum of `p keep d_out_i`, the bias's gradient of `ds`; and with `dt = ds (1 -
/// tanh(t / softcap)^2)`, or `ds`, `d_q_i` is the sum of `scale dt k_j` and `d_k_j` of `scale dt q_i`. A sink's is the sum
/// of `-exp(sink - lse_i) delta_i`. A query whose lse is minus infinity sees no key.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Gradients {
    every_group(problem, |group, gradients| reference_group(problem, inputs, group, gradients))
}

/// One group of [`reference()`]: its rows of `gradients`, which are zeros before, and what it adds to those of sinks and
/// bias.
pub fn reference_group(problem: &Problem, inputs: &Inputs, group: Group, gradients: &mut Gradients) {
    let Shape { d, d_v, .. } = problem.shape;
    let scale = f64::from(problem.scale);
    let forward = &inputs.forward;
    for row in rows(problem, inputs, group) {
        let (query, of_out) = (row.of_query(problem, forward), row.of_out(problem, forward));
        let (q, out, d_out) = (&forward.q[query..][..d], &inputs.out[of_out..][..d_v], &inputs.d_out[of_out..][..d_v]);
        let lse = inputs.lse[row.of_lse(problem, forward)];
        if lse == f64::NEG_INFINITY {
            continue;
        }
        let delta = dot(out, d_out);
        for j in forward.seen(problem, row) {
            let key = forward.key(problem, row, j);
            let (k, v) = (&forward.k[key * d..][..d], &forward.v[key * d_v..][..d_v]);
            let t = scale * dot(q, k);
            let (capped, slope) = match problem.softcap.map(f64::from) {
                Some(cap) => (cap * (t / cap).tanh(), 1.0 - (t / cap).tanh().powi(2)),
                None => (t, 1.0),
            };
            let p = (capped + forward.bias(problem, row, j) - lse).exp();
            let keep = keep(problem, row, j);
            let ds = p * (keep * dot(d_out, v) - delta);
            if let Some(bias) = problem.bias {
                gradients.d_bias[bias.row(row.batch, row.head, row.i) + j] += ds;
            }
            for c in 0..d {
                gradients.d_q[query + c] += scale * ds * slope * k[c];
                gradients.d_k[key * d + c] += scale * ds * slope * q[c];
            }
            for (d_v, d_out) in gradients.d_v[key * d_v..].iter_mut().zip(d_out) {
                *d_v += p * keep * d_out;
            }
        }
        if problem.sinks {
            gradients.d_sinks[row.head] -= (forward.sink(row) - lse).exp() * delta;
        }
    }
}

/// The gradients in the precision of the inputs: sums in f32, probabilities, their gradients and the results rounded to
/// the problem's element type; those of sinks and bias are f32.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Gradients {
    every_group(problem, |group, gradients| plain_group(problem, inputs, group, gradients))
}

/// One group of [`plain`].
pub fn plain_group(problem: &Problem, inputs: &Inputs, group: Group, gradients: &mut Gradients) {
    let Shape { d, d_v: width, .. } = problem.shape;
    let (scale, dtype) = (problem.scale, problem.dtype);
    let forward = &inputs.forward;
    let keys = forward.keys(problem, group.batch);
    // f32 sums of this group's keys.
    let (mut d_k, mut d_v) = (vec![0f32; keys.length * d], vec![0f32; keys.length * width]);
    let add = |sum: &mut f64, x: f32| *sum = (*sum as f32 + x).into();
    for row in rows(problem, inputs, group) {
        let (query, of_out) = (row.of_query(problem, forward), row.of_out(problem, forward));
        let q = to_f32(&forward.q[query..][..d]);
        let [out, d_out] = [inputs.out, inputs.d_out].map(|tensor| to_f32(&tensor[of_out..][..width]));
        let lse = inputs.lse[row.of_lse(problem, forward)] as f32;
        let mut d_q = vec![0f32; d];
        if lse > f32::NEG_INFINITY || lse.is_nan() {
            let delta = dot_f32(&out, &d_out);
            for j in forward.seen(problem, row) {
                let key = forward.key(problem, row, j);
                let (k, v) = (to_f32(&forward.k[key * d..][..d]), to_f32(&forward.v[key * width..][..width]));
                let t = scale * dot_f32(&q, &k);
                let (capped, slope) = match problem.softcap {
                    Some(cap) => (cap * (t / cap).tanh(), 1.0 - (t / cap).tanh().powi(2)),
                    None => (t, 1.0),
                };
                let p = (capped + forward.bias(problem, row, j) as f32 - lse).exp();
                let keep = keep(problem, row, j) as f32;
                let ds = p * (keep * dot_f32(&d_out, &v) - delta);
                if let Some(bias) = problem.bias {
                    add(&mut gradients.d_bias[bias.row(row.batch, row.head, row.i) + j], ds);
                }
                let (ds, p) = (rounded(dtype, ds * slope), rounded(dtype, p * keep));
                for c in 0..d {
                    d_q[c] += ds * k[c];
                    d_k[j * d + c] += ds * q[c];
                }
                for c in 0..width {
                    d_v[j * width + c] += p * d_out[c];
                }
            }
            if problem.sinks {
                add(&mut gradients.d_sinks[row.head], -(forward.sink(row) as f32 - lse).exp() * delta);
            }
        }
        for (gradient, sum) in gradients.d_q[query..][..d].iter_mut().zip(d_q) {
            *gradient = rounded(dtype, scale * sum).into();
        }
    }
    for j in 0..keys.length {
        let key = key_row(problem, inputs, group, j);
        for c in 0..d {
            gradients.d_k[key * d + c] = rounded(dtype, scale * d_k[j * d + c]).into();
        }
        for c in 0..width {
            gradients.d_v[key * width + c] = rounded(dtype, d_v[j * width + c]).into();
        }
    }
}

/// The factor of a probability: 1 without dropout.
fn keep(problem: &Problem, row: Row, j: usize) -> f64 {
    match problem.dropout {
        Some(dropout) if dropout.keeps(row.batch, row.head, row.i, j) => dropout.scale.into(),
        Some(_) => 0.0,
        None => 1.0,
    }
}

/// Index of key `j` of a group among the rows of k and v.
pub fn key_row(problem: &Problem, inputs: &Inputs, group: Group, j: usize) -> usize {
    (inputs.forward.keys(problem, group.batch).begin + j) * problem.shape.h_kv + group.kv_head
}

/// The queries of a group.
pub fn rows(problem: &Problem, inputs: &Inputs, Group { batch, kv_head }: Group) -> impl Iterator<Item = Row> + use<> {
    let Shape { h_q, h_kv, .. } = problem.shape;
    let (heads, queries) = (h_q / h_kv, inputs.forward.queries(problem, batch).length);
    (kv_head * heads..(kv_head + 1) * heads).flat_map(move |head| (0..queries).map(move |i| Row { batch, head, i }))
}

/// The magnitude that terms of `d_q`, `d_k`, `d_v`, `d_sinks` and `d_bias` have before they cancel: for `ds`, of `d_out v`
/// and `delta`, whose difference may leave nothing.
pub fn terms(problem: &Problem, inputs: &Inputs) -> [f64; 5] {
    let largest = |values: &[f64]| values.iter().filter(|x| x.is_finite()).fold(0f64, |a, b| a.max(b.abs()));
    let forward = &inputs.forward;
    let [q, k, v, d_out] = [forward.q, forward.k, forward.v, inputs.d_out].map(largest);
    let Shape { b, s_q, h_q, d_v, .. } = problem.shape;
    let keep = problem.dropout.map_or(1.0, |dropout| f64::from(dropout.scale));
    let ds = keep * d_out * v * (d_v as f64).sqrt();
    let d_score = f64::from(problem.scale).abs() * ds;
    // Terms of both signs add up as their number's root does.
    let summed = problem.bias.map_or(1, |bias| b / bias.b.max(1) * (h_q / bias.h_q.max(1)));
    [d_score * k, d_score * q, keep * d_out, ds * ((b * s_q) as f64).sqrt(), ds * (summed as f64).sqrt()]
}

/// Zeros.
pub fn zeros(problem: &Problem) -> Gradients {
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
    let [queries, keys] = problem.totals.unwrap_or([b * s_q, b * s_k]);
    Gradients {
        d_q: vec![0.0; queries * h_q * d],
        d_k: vec![0.0; keys * h_kv * d],
        d_v: vec![0.0; keys * h_kv * d_v],
        d_sinks: vec![0.0; if problem.sinks { h_q } else { 0 }],
        d_bias: vec![0.0; problem.bias.map_or(0, |bias| bias.b * bias.h_q * bias.s_q * bias.columns)],
    }
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
