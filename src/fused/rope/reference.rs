//! The rotation as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as one
//! would write it: the yardstick for the kernel's error.

use super::super::rows::rounded;
use super::{Problem, Shape};

/// The rotated heads `[b, s, h, d]` in double precision, of `x` `[b, s, h, d]`, `positions` `[b, s]` and
/// `inverse_frequencies` `[n]`.
pub fn reference(problem: &Problem, x: &[f64], positions: &[f64], inverse_frequencies: &[f64]) -> Vec<f64> {
    let options = problem.options;
    let mut out = x.to_vec();
    every_pair(problem, |token, pair, [i, j]| {
        let angle = positions[token] * inverse_frequencies[pair] * if options.inverse { -1.0 } else { 1.0 };
        let (sine, cosine) = angle.sin_cos();
        let magnitude = f64::from(options.magnitude);
        out[i] = magnitude * (x[i] * cosine - x[j] * sine);
        out[j] = magnitude * (x[j] * cosine + x[i] * sine);
    });
    out
}

/// The same in f32, rounded to the result's type.
pub fn plain(problem: &Problem, x: &[f64], positions: &[f64], inverse_frequencies: &[f64]) -> Vec<f64> {
    let options = problem.options;
    let mut out = x.to_vec();
    every_pair(problem, |token, pair, [i, j]| {
        let angle = positions[token] as f32 * inverse_frequencies[pair] as f32;
        let (sine, cosine) = (if options.inverse { -angle } else { angle }).sin_cos();
        let (sine, cosine) = (sine * options.magnitude, cosine * options.magnitude);
        let (a, b) = (x[i] as f32, x[j] as f32);
        out[i] = (a * cosine - b * sine).into();
        out[j] = (b * cosine + a * sine).into();
    });
    out.into_iter().map(|x| rounded(problem.dtype, x as f32)).collect()
}

/// Calls `rotate(token, pair, [index of one element, index of the other])` for every pair of every head.
fn every_pair(problem: &Problem, mut rotate: impl FnMut(usize, usize, [usize; 2])) {
    let Shape { b, s, h, d, n } = problem.shape;
    for token in 0..b * s {
        for head in 0..h {
            let start = (token * h + head) * d;
            for pair in 0..n {
                let pair_of_row = if problem.options.interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + n] };
                rotate(token, pair, pair_of_row.map(|element| start + element));
            }
        }
    }
}
