//! The product as it is defined: naive, in double precision, sharing no code with the kernels. And the same in f32, as
//! one would write it: the yardstick for the kernels' error.

use half::{bf16, f16};

use super::{Activations, Problem};
use crate::DType;

/// Dequantised weights `[n, k]` and activations `[m, k]`, row-major, with the bias `[n]`, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// As [`Format::dequantise`](crate::Format::dequantise) gives them.
    pub w: &'a [f32],
    /// Rounded to their type.
    pub x: &'a [f64],
    /// Rounded to its type.
    pub bias: Option<&'a [f64]>,
}

/// Activations of a block of 32 as integers of 8 bits and a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedBlock {
    /// From -127 to 127.
    pub q: [i32; 32],
    /// What they are multiplied with.
    pub scale: f32,
}

impl QuantisedBlock {
    /// Integers nearest to `x * (127 / largest)`, both operations rounded to f32: bit for bit what the kernel gives. Numbers
    /// below 2^-60 are multiplied by 2^60 first, since that factor would be infinite.
    pub fn new(x: &[f64]) -> Self {
        let largest = x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        if x.iter().any(|x| !x.is_finite()) {
            return Self { q: [0; 32], scale: f32::NAN };
        }
        let largest = largest as f32;
        let lift = if largest < 2.0_f32.powi(-60) { 2.0_f32.powi(60) } else { 1.0 };
        let inverse = if largest > 0.0 { 127.0 / (largest * lift) } else { 0.0 };
        let q = |i: usize| (x[i] as f32 * lift * inverse).round_ties_even() as i32;
        Self { q: std::array::from_fn(q), scale: largest / 127.0 }
    }
}

/// The product `[m, n]` in double precision, of the activations as they are.
pub fn reference(problem: &Problem, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> Vec<f64> {
    let k = problem.k;
    let element = |row: usize, column: usize| {
        let (x, w) = (&inputs.x[row * k..][..k], &inputs.w[column * k..][..k]);
        let sum: f64 = x.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum();
        sum + inputs.bias.map_or(0.0, |bias| bias[column])
    };
    rows.flat_map(|row| (0..problem.n).map(move |column| (row, column))).map(|(i, j)| element(i, j)).collect()
}

/// The largest size that sums have on the way to an element: the root of the sum of its products' squares. Elements that are
/// not finite count for nothing.
pub fn terms(problem: &Problem, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> f64 {
    let k = problem.k;
    let squares = |row: usize, column: usize| -> f64 {
        let (x, w) = (&inputs.x[row * k..][..k], &inputs.w[column * k..][..k]);
        x.iter().zip(w).map(|(x, w)| (x * f64::from(*w)).powi(2)).sum()
    };
    let all = rows.flat_map(|row| (0..problem.n).map(move |column| squares(row, column)));
    all.filter(|sum| sum.is_finite()).fold(0.0, f64::max).sqrt()
}

/// The product in f32, rounded to the result's type: of quantised activations if the problem says so, or, where those are
/// multiplied as `elements` bf16 ([`Plan::elements`](super::Plan::elements)), of activations and weights rounded to that.
pub fn plain(problem: &Problem, elements: DType, inputs: &Inputs, rows: impl Iterator<Item = usize>) -> Vec<f64> {
    let k = problem.k;
    let rounds = problem.activations == Activations::Q8 && elements == DType::BF16;
    let weight = move |w: f32| if rounds { bf16::from_f32(w).to_f32() } else { w };
    rows.flat_map(|row| {
        let x = &inputs.x[row * k..][..k];
        let x: Vec<f32> = match problem.activations {
            Activations::Exact => x.iter().map(|&x| x as f32).collect(),
            Activations::Q8 if rounds => x.iter().map(|&x| bf16::from_f64(x).to_f32()).collect(),
            Activations::Q8 => x.chunks(32).flat_map(dequantised).collect(),
        };
        let element = move |column: usize| {
            let w = &inputs.w[column * k..][..k];
            let sum: f32 = x.iter().zip(w).map(|(x, w)| x * weight(*w)).sum();
            rounded(problem.y_dtype, sum + inputs.bias.map_or(0.0, |bias| bias[column] as f32))
        };
        (0..problem.n).map(element)
    })
    .collect()
}

fn dequantised(x: &[f64]) -> Vec<f32> {
    let block = QuantisedBlock::new(x);
    block.q.iter().map(|&q| q as f32 * block.scale).collect()
}

fn rounded(dtype: DType, x: f32) -> f64 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f64(),
        DType::BF16 => bf16::from_f32(x).to_f64(),
        _ => x.into(),
    }
}
