//! The convolution as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as
//! one would write it: the yardstick for the kernel's error.

use std::ops::Range;

use super::Problem;
use crate::fused::rows::rounded;

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
    /// `[b + 1]`; empty where all sequences have one length.
    pub cu_seqlens: &'a [i32],
}

/// Result, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// As x.
    pub out: Vec<f64>,
    /// `[b, dim, width - 1]`
    pub final_state: Vec<f64>,
}

/// The positions of a sequence.
pub(crate) fn sequence(problem_s: usize, cu_seqlens: &[i32], batch: usize) -> Range<usize> {
    match cu_seqlens {
        [] => batch * problem_s..(batch + 1) * problem_s,
        _ => cu_seqlens[batch] as usize..cu_seqlens[batch + 1] as usize,
    }
}

/// In double precision.
pub fn reference(problem: &Problem, input: &Input) -> Output {
    let convolve = |terms: &mut dyn Iterator<Item = (f64, f64)>, bias: f64| {
        let sum = bias + terms.map(|(weight, x)| weight * x).sum::<f64>();
        if problem.options.silu { sum / (1.0 + (-sum).exp()) } else { sum }
    };
    convolution(problem, input, &convolve)
}

/// In f32, rounded to x's type.
pub fn plain(problem: &Problem, input: &Input) -> Output {
    let convolve = |terms: &mut dyn Iterator<Item = (f64, f64)>, bias: f64| {
        let sum = bias as f32 + terms.map(|(weight, x)| weight as f32 * x as f32).sum::<f32>();
        let out = if problem.options.silu { sum / (1.0 + (-sum).exp()) } else { sum };
        rounded(problem.types.x, out)
    };
    convolution(problem, input, &convolve)
}

/// What of weights, inputs and bias gives an output.
type Convolve<'a> = &'a dyn Fn(&mut dyn Iterator<Item = (f64, f64)>, f64) -> f64;

fn convolution(problem: &Problem, input: &Input, convolve: Convolve) -> Output {
    let (dim, width) = (problem.shape.dim, problem.shape.width);
    let mut output = Output::default();
    for batch in 0..problem.shape.sequences.b {
        let positions = sequence(problem.shape.sequences.s, input.cu_seqlens, batch);
        // The input at a position from the first of the sequence on; those before are the state's.
        let x = |position: isize, channel: usize| match usize::try_from(position) {
            Ok(position) => input.x[(positions.start + position) * dim + channel],
            Err(_) => {
                let at = (batch * dim + channel) * (width - 1) + (position + width as isize - 1) as usize;
                input.initial_state.map_or(0.0, |state| state[at])
            }
        };
        let before = 1 - width as isize;
        for position in 0..positions.len() as isize {
            for channel in 0..dim {
                let term = |j: usize| (input.weight[channel * width + j], x(position + before + j as isize, channel));
                let bias = input.bias.map_or(0.0, |bias| bias[channel]);
                output.out.push(convolve(&mut (0..width).map(term), bias));
            }
        }
        for channel in 0..dim {
            output.final_state.extend((before..0).map(|j| x(positions.len() as isize + j, channel)));
        }
    }
    output
}
