//! The merge as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as one
//! would write it: the yardstick for the kernel's error.

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

/// The merge in double precision, of `parts_out` `[n, b, s_q, h_q, d]` and `parts_lse` `[n, b, h_q, s_q]`, row-major.
///
/// A part with an lse of minus infinity adds nothing, whatever its row holds; without any other part the row is 0 and
/// its lse minus infinity.
pub fn reference(problem: &Problem, parts_out: &[f64], parts_lse: &[f64]) -> Output {
    every_row(problem, parts_out, parts_lse, |parts| {
        let seen: Vec<_> = parts.iter().filter(|(_, lse)| *lse != f64::NEG_INFINITY).collect();
        let largest = seen.iter().fold(f64::NEG_INFINITY, |a, (_, b)| if a.is_nan() || a > *b { a } else { *b });
        let sum: f64 = seen.iter().map(|(_, lse)| (lse - largest).exp()).sum();
        let mut out = vec![0.0; problem.shape.d];
        if seen.is_empty() {
            return (out, f64::NEG_INFINITY);
        }
        for (part, lse) in seen {
            for (out, x) in out.iter_mut().zip(*part) {
                *out += (lse - largest).exp() / sum * x;
            }
        }
        (out, largest + sum.ln())
    })
}

/// The merge in f32, the result rounded to the problem's element type.
pub fn plain(problem: &Problem, parts_out: &[f64], parts_lse: &[f64]) -> Output {
    every_row(problem, parts_out, parts_lse, |parts| {
        let seen: Vec<_> = parts.iter().filter(|(_, lse)| *lse != f64::NEG_INFINITY).collect();
        let largest = seen.iter().fold(f32::NEG_INFINITY, |largest, (_, lse)| largest.max(*lse as f32));
        let sum: f32 = seen.iter().map(|(_, lse)| (*lse as f32 - largest).exp()).sum();
        let mut out = vec![0f32; problem.shape.d];
        if seen.is_empty() {
            return (vec![0.0; problem.shape.d], f64::NEG_INFINITY);
        }
        for (part, lse) in seen {
            let weight = (*lse as f32 - largest).exp() / sum;
            for (out, &x) in out.iter_mut().zip(*part) {
                *out += weight * x as f32;
            }
        }
        (out.into_iter().map(|x| rounded(problem.dtype, x)).collect(), f64::from(largest + sum.ln()))
    })
}

/// Computes each row from its parts: their rows and their logarithms.
fn every_row(
    problem: &Problem,
    parts_out: &[f64],
    parts_lse: &[f64],
    compute: impl Fn(&[(&[f64], f64)]) -> (Vec<f64>, f64),
) -> Output {
    let Shape { n, b, s_q, h_q, d } = problem.shape;
    let rows = b * s_q * h_q;
    let mut result = Output { out: vec![0.0; rows * d], lse: vec![0.0; rows] };
    for batch in 0..b {
        for i in 0..s_q {
            for head in 0..h_q {
                let row = (batch * s_q + i) * h_q + head;
                let lse_row = (batch * h_q + head) * s_q + i;
                let part = |part| (&parts_out[(part * rows + row) * d..][..d], parts_lse[part * rows + lse_row]);
                let (out, lse) = compute(&(0..n).map(part).collect::<Vec<_>>());
                result.out[row * d..][..d].copy_from_slice(&out);
                result.lse[lse_row] = lse;
            }
        }
    }
    result
}

fn rounded(dtype: DType, x: f32) -> f64 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f64(),
        DType::BF16 => bf16::from_f32(x).to_f64(),
        _ => x.into(),
    }
}
