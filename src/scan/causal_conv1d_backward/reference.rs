//! The gradients as they are defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as
//! one would write it: the yardstick for the kernel's error.

use super::Problem;
use crate::fused::rows::rounded;
use crate::scan::causal_conv1d::reference::sequence;

/// Input, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[b, s, dim]`, or `[total, dim]`
    pub x: &'a [f64],
    /// `[dim, width]`
    pub weight: &'a [f64],
    /// `[dim]`
    pub bias: Option<&'a [f64]>,
    /// `[b, dim, width - 1]`
    pub initial_state: Option<&'a [f64]>,
    /// As x.
    pub d_out: &'a [f64],
    /// `[b, dim, width - 1]`
    pub d_final_state: Option<&'a [f64]>,
    /// `[b + 1]`; empty where all sequences have one length.
    pub cu_seqlens: &'a [i32],
}

/// Gradients, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// As x.
    pub d_x: Vec<f64>,
    /// `[dim, width]`
    pub d_weight: Vec<f64>,
    /// `[dim]`
    pub d_bias: Vec<f64>,
    /// `[b, dim, width - 1]`
    pub d_initial_state: Vec<f64>,
}

/// In double precision.
pub fn reference(problem: &Problem, input: &Input) -> Output {
    gradients(problem, input, |x| x)
}

/// In f32, rounded to the gradients' types.
pub fn plain(problem: &Problem, input: &Input) -> Output {
    let mut output = gradients(problem, input, |x| f64::from(x as f32));
    let x = problem.types.x;
    for (values, dtype) in [
        (&mut output.d_x, x),
        (&mut output.d_initial_state, x),
        (&mut output.d_weight, problem.d_weight),
        (&mut output.d_bias, problem.d_bias.unwrap_or(problem.d_weight)),
    ] {
        values.iter_mut().for_each(|value| *value = rounded(dtype, *value as f32));
    }
    output
}

/// With every number that is computed rounded by `round`.
fn gradients(problem: &Problem, input: &Input, round: impl Fn(f64) -> f64) -> Output {
    let (dim, width, b) = (problem.shape.dim, problem.shape.width, problem.shape.sequences.b);
    let before = width - 1;
    let mut output = Output {
        d_x: vec![0.0; input.x.len()],
        d_weight: vec![0.0; dim * width],
        d_bias: vec![0.0; dim],
        d_initial_state: vec![0.0; b * dim * before],
    };
    for batch in 0..b {
        let positions = sequence(problem.shape.sequences.s, input.cu_seqlens, batch);
        for channel in 0..dim {
            let state = (batch * dim + channel) * before..(batch * dim + channel + 1) * before;
            // The state's inputs, then the sequence's, as one row; and its gradient.
            let mut x = input.initial_state.map_or(vec![0.0; before], |all| all[state.clone()].to_vec());
            x.extend(positions.clone().map(|position| input.x[position * dim + channel]));
            let mut d_x = vec![0.0; x.len()];
            if let Some(d_final_state) = input.d_final_state {
                d_x[positions.len()..].copy_from_slice(&d_final_state[state.clone()]);
            }
            let weight = &input.weight[channel * width..][..width];
            for (at, position) in positions.clone().enumerate() {
                let mut g = input.d_out[position * dim + channel];
                if problem.options.silu {
                    let bias = input.bias.map_or(0.0, |bias| bias[channel]);
                    let y = (0..width).fold(bias, |sum, j| round(sum + round(weight[j] * x[at + j])));
                    let sigmoid = round(1.0 / round(1.0 + round((-y).exp())));
                    g = round(g * round(sigmoid * round(1.0 + round(y * round(1.0 - sigmoid)))));
                }
                output.d_bias[channel] = round(output.d_bias[channel] + g);
                for j in 0..width {
                    d_x[at + j] = round(d_x[at + j] + round(weight[j] * g));
                    let sum = &mut output.d_weight[channel * width + j];
                    *sum = round(*sum + round(g * x[at + j]));
                }
            }
            output.d_initial_state[state].copy_from_slice(&d_x[..before]);
            for (position, d_x) in positions.clone().zip(&d_x[before..]) {
                output.d_x[position * dim + channel] = *d_x;
            }
        }
    }
    output
}

/// The largest magnitudes of sums of terms' magnitudes, which cancel in the gradients: of inputs and states, of weights
/// and of the bias.
pub fn terms(problem: &Problem, input: &Input) -> [f64; 3] {
    let (dim, width) = (problem.shape.dim, problem.shape.width);
    let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    // |silu'| is at most 1.1.
    let sums = |with: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; dim];
        input.d_out.iter().enumerate().for_each(|(at, d_out)| sums[at % dim.max(1)] += 1.1 * d_out.abs() * with(at));
        largest(&sums)
    };
    let x = largest(input.x).max(largest(input.initial_state.unwrap_or_default()));
    let d_x = 1.1 * width as f64 * largest(input.d_out) * largest(input.weight);
    [
        d_x + largest(input.d_final_state.unwrap_or_default()),
        sums(&|at| x.min(1.0).max(input.x[at].abs())),
        sums(&|_| 1.0),
    ]
}
