//! The norm as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as one
//! would write it: the yardstick for the kernel's error.

use super::super::rows::rounded;
use super::Problem;
use crate::DType;

/// Input, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[num_rows, d]`
    pub x: &'a [f64],
    /// `[num_rows, d]`
    pub residual: Option<&'a [f64]>,
    /// `[d]`
    pub weight: Option<&'a [f64]>,
    /// What `out` holds before, `[num_rows, d]`, if it is added to.
    pub addend: Option<&'a [f64]>,
}

/// Result, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[num_rows, d]`
    pub out: Vec<f64>,
    /// What is normalised, `[num_rows, d]`.
    pub sum: Vec<f64>,
}

/// In double precision.
pub fn reference(problem: &Problem, input: &Input) -> Output {
    let mut output = Output::default();
    for row in 0..problem.num_rows {
        let at = |j: usize| row * problem.d + j;
        let s: Vec<f64> = (0..problem.d).map(|j| input.x[at(j)] + input.residual.map_or(0.0, |r| r[at(j)])).collect();
        let mean = s.iter().map(|s| s * s).sum::<f64>() / problem.d as f64;
        let root = (mean + f64::from(problem.options.epsilon)).sqrt();
        for j in 0..problem.d {
            let weight = input.weight.map_or(1.0, |w| w[j] + f64::from(problem.options.weight_offset));
            output.out.push(input.addend.map_or(0.0, |a| a[at(j)]) + s[j] / root * weight);
        }
        output.sum.extend(s);
    }
    output
}

/// In f32, with results rounded to their types.
pub fn plain(problem: &Problem, input: &Input) -> Output {
    let types = problem.types;
    let mut output = Output::default();
    for row in 0..problem.num_rows {
        let at = |j: usize| row * problem.d + j;
        let sum = |j: usize| match input.residual {
            Some(residual) => {
                rounded(types.residual.unwrap_or(DType::F32), residual[at(j)] as f32 + input.x[at(j)] as f32) as f32
            }
            None => input.x[at(j)] as f32,
        };
        let s: Vec<f32> = (0..problem.d).map(sum).collect();
        let mean = s.iter().map(|s| s * s).sum::<f32>() / problem.d as f32;
        let root = (mean + problem.options.epsilon).sqrt();
        for j in 0..problem.d {
            let weight = input.weight.map_or(1.0, |w| w[j] as f32 + problem.options.weight_offset);
            let y = input.addend.map_or(0.0, |a| a[at(j)] as f32) + s[j] / root * weight;
            output.out.push(rounded(types.out, y));
        }
        output.sum.extend(s.into_iter().map(f64::from));
    }
    output
}
