//! The product as it is defined: naive, in double precision, sharing no code with the kernels. And the same in f32, as
//! one would write it: the yardstick for the kernels' error.

use half::{bf16, f16};

use super::Problem;
use crate::DType;

/// Dequantised weights `[n, k]` and activations `[m, k]`, row-major, with the bias `[n]`, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// As [`GroupedMatrix::dequantised`](crate::quant::GroupedMatrix::dequantised) gives them; for [`plain`] as
    /// [`GroupedMatrix::rounded`](crate::quant::GroupedMatrix::rounded) does.
    pub w: &'a [f64],
    /// Rounded to their type.
    pub x: &'a [f64],
    /// Rounded to its type.
    pub bias: Option<&'a [f64]>,
}

/// The product `[m, n]` in double precision.
pub fn reference(problem: &Problem, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> Vec<f64> {
    let k = problem.format.k;
    let element = |row: usize, column: usize| {
        let (x, w) = (&inputs.x[row * k..][..k], &inputs.w[column * k..][..k]);
        let sum: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
        sum + inputs.bias.map_or(0.0, |bias| bias[column])
    };
    rows.flat_map(|row| (0..problem.format.n).map(move |column| (row, column))).map(|(i, j)| element(i, j)).collect()
}

/// The largest size that sums have on the way to an element: the root of the sum of its products' squares. Elements that are
/// not finite count for nothing.
pub fn terms(problem: &Problem, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> f64 {
    let squares = |values: &[f64]| values.iter().map(|value| value * value).collect::<Vec<_>>();
    let (w, x) = (squares(inputs.w), squares(inputs.x));
    let bias = inputs.bias.map(squares);
    let sums = reference(problem, &Inputs { w: &w, x: &x, bias: bias.as_deref() }, rows);
    sums.into_iter().filter(|sum| sum.is_finite()).fold(0.0, f64::max).sqrt()
}

/// The product in f32 of weights in the activations' type, rounded to the result's.
pub fn plain(problem: &Problem, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> Vec<f64> {
    let k = problem.format.k;
    let w: Vec<f32> = inputs.w.iter().map(|&w| w as f32).collect();
    rows.flat_map(|row| {
        let x: Vec<f32> = inputs.x[row * k..][..k].iter().map(|&x| x as f32).collect();
        let element = |column: usize| {
            let sum: f32 = x.iter().zip(&w[column * k..][..k]).map(|(x, w)| x * w).sum();
            rounded(problem.y_dtype, sum + inputs.bias.map_or(0.0, |bias| bias[column] as f32))
        };
        (0..problem.format.n).map(element).collect::<Vec<_>>()
    })
    .collect()
}

fn rounded(dtype: DType, x: f32) -> f64 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f64(),
        DType::BF16 => bf16::from_f32(x).to_f64(),
        _ => x.into(),
    }
}
