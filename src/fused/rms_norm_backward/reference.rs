//! The gradients as they are defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as
//! one would write it: the yardstick for the kernel's error.

use super::super::rows::rounded;
use super::Problem;
use crate::DType;

/// Input, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[num_rows, d]`
    pub x: &'a [f64],
    /// `[d]`
    pub weight: Option<&'a [f64]>,
    /// `[num_rows, d]`
    pub d_out: &'a [f64],
    /// What `d_x` holds before, `[num_rows, d]`, if it is added to.
    pub addend: Option<&'a [f64]>,
}

/// Gradients, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[num_rows, d]`
    pub d_x: Vec<f64>,
    /// `[d]`
    pub d_weight: Vec<f64>,
}

/// In double precision: `d_x = r (g - x r mean(g x r))`, `d_weight = sum of d_out x r`.
pub fn reference(problem: &Problem, input: &Input) -> Output {
    let d = problem.d;
    let mut output = Output { d_x: Vec::new(), d_weight: vec![0.0; d] };
    for row in 0..problem.num_rows {
        let (x, d_out) = (&input.x[row * d..][..d], &input.d_out[row * d..][..d]);
        let mean = x.iter().map(|x| x * x).sum::<f64>() / d as f64;
        let r = 1.0 / (mean + f64::from(problem.options.epsilon)).sqrt();
        let weight = |j: usize| input.weight.map_or(1.0, |w| w[j] + f64::from(problem.options.weight_offset));
        let projection = (0..d).map(|j| d_out[j] * weight(j) * x[j] * r).sum::<f64>() / d as f64;
        for j in 0..d {
            let d_x = r * (d_out[j] * weight(j) - x[j] * r * projection);
            output.d_x.push(input.addend.map_or(0.0, |a| a[row * d + j]) + d_x);
            output.d_weight[j] += d_out[j] * x[j] * r;
        }
    }
    output
}

/// In f32, rounded to the gradients' types.
pub fn plain(problem: &Problem, input: &Input) -> Output {
    let d = problem.d;
    let (mut d_x, mut d_weight) = (Vec::new(), vec![0f32; d]);
    for row in 0..problem.num_rows {
        let narrow = |values: &[f64]| values[row * d..][..d].iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let (x, d_out) = (narrow(input.x), narrow(input.d_out));
        let mean = x.iter().map(|x| x * x).sum::<f32>() / d as f32;
        let r = 1.0 / (mean + problem.options.epsilon).sqrt();
        let weight = |j: usize| input.weight.map_or(1.0, |w| w[j] as f32 + problem.options.weight_offset);
        let projection = (0..d).map(|j| d_out[j] * weight(j) * x[j] * r).sum::<f32>() / d as f32;
        for j in 0..d {
            let own = r * (d_out[j] * weight(j) - x[j] * r * projection);
            d_x.push(rounded(problem.types.d_x, input.addend.map_or(0.0, |a| a[row * d + j] as f32) + own));
            d_weight[j] += d_out[j] * x[j] * r;
        }
    }
    let dtype = problem.types.d_weight.unwrap_or(DType::F32);
    Output { d_x, d_weight: d_weight.into_iter().map(|sum| rounded(dtype, sum)).collect() }
}

/// The largest magnitudes of terms, which cancel in the gradients: of `d_x` and of `d_weight`.
pub fn terms(problem: &Problem, input: &Input) -> [f64; 2] {
    let d = problem.d;
    let (mut of_rows, mut of_weights) = (0f64, vec![0.0; d]);
    for (x, d_out) in input.x.chunks(d.max(1)).zip(input.d_out.chunks(d.max(1))) {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / d as f64;
        let r = 1.0 / (mean + f64::from(problem.options.epsilon)).sqrt();
        for j in 0..d {
            let weight = input.weight.map_or(1.0, |w| w[j] + f64::from(problem.options.weight_offset));
            of_rows = of_rows.max((r * d_out[j] * weight).abs());
            of_weights[j] += (d_out[j] * x[j] * r).abs();
        }
    }
    [of_rows, of_weights.into_iter().fold(0.0, f64::max)]
}
