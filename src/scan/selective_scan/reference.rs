//! The scan as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as one would
//! write it: the yardstick for the kernel's error.

use super::Problem;
use crate::fused::rows::rounded;
use crate::scan::causal_conv1d::reference::sequence;

/// Input, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[b, s, dim]`, or `[total, dim]`
    pub u: &'a [f64],
    /// As u.
    pub delta: &'a [f64],
    /// `[dim, d_state]`
    pub a: &'a [f64],
    /// `[b, s, groups, d_state]`, or `[total, groups, d_state]`
    pub b: &'a [f64],
    /// As B.
    pub c: &'a [f64],
    /// `[dim]`
    pub d: Option<&'a [f64]>,
    /// As u.
    pub z: Option<&'a [f64]>,
    /// `[dim]`
    pub delta_bias: Option<&'a [f64]>,
    /// `[b, dim, d_state]`
    pub initial_state: Option<&'a [f64]>,
    /// `[b + 1]`; empty where all sequences have one length.
    pub cu_seqlens: &'a [i32],
}

/// Result of some channels, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[positions, channels]`
    pub out: Vec<f64>,
    /// `[b, channels, d_state]`
    pub final_state: Vec<f64>,
}

/// In double precision, of the channels asked for.
pub fn reference(problem: &Problem, input: &Input, channels: &[usize]) -> Output {
    let step = |delta: f64| if problem.options.softplus { delta.exp().ln_1p() } else { delta };
    let mut output =
        Output { out: vec![0.0; problem.shape.sequences.positions() * channels.len()], ..Output::default() };
    for batch in 0..problem.shape.sequences.b {
        for (column, &channel) in channels.iter().enumerate() {
            let mut h = initial_state(problem, input, batch, channel);
            for position in sequence(problem.shape.sequences.s, input.cu_seqlens, batch) {
                let at = position * problem.shape.dim + channel;
                let delta = step(input.delta[at] + input.delta_bias.map_or(0.0, |bias| bias[channel]));
                let mut y = input.d.map_or(0.0, |d| d[channel]) * input.u[at];
                for (n, h) in h.iter_mut().enumerate() {
                    let (a, [b, c]) = coefficients(problem, input, position, channel, n);
                    *h = (delta * a).exp() * *h + delta * b * input.u[at];
                    y += c * *h;
                }
                let gate = input.z.map_or(1.0, |z| z[at] / (1.0 + (-z[at]).exp()));
                output.out[position * channels.len() + column] = y * gate;
            }
            output.final_state.extend(h);
        }
    }
    output
}

/// In f32, rounded to u's type.
pub fn plain(problem: &Problem, input: &Input, channels: &[usize]) -> Output {
    let step = |delta: f32| if problem.options.softplus { delta.exp().ln_1p() } else { delta };
    let mut output =
        Output { out: vec![0.0; problem.shape.sequences.positions() * channels.len()], ..Output::default() };
    for batch in 0..problem.shape.sequences.b {
        for (column, &channel) in channels.iter().enumerate() {
            let mut h: Vec<f32> = initial_state(problem, input, batch, channel).iter().map(|&h| h as f32).collect();
            for position in sequence(problem.shape.sequences.s, input.cu_seqlens, batch) {
                let at = position * problem.shape.dim + channel;
                let u = input.u[at] as f32;
                let delta = step(input.delta[at] as f32 + input.delta_bias.map_or(0.0, |bias| bias[channel]) as f32);
                let mut y = input.d.map_or(0.0, |d| d[channel]) as f32 * u;
                for (n, h) in h.iter_mut().enumerate() {
                    let (a, [b, c]) = coefficients(problem, input, position, channel, n);
                    *h = (delta * a as f32).exp() * *h + delta * b as f32 * u;
                    y += c as f32 * *h;
                }
                let gate = input.z.map_or(1.0, |z| z[at] as f32 / (1.0 + (-z[at] as f32).exp()));
                output.out[position * channels.len() + column] = rounded(problem.dtype, y * gate);
            }
            output.final_state.extend(h.into_iter().map(f64::from));
        }
    }
    output
}

/// How many positions ago, on average, what a state holds came in, were all that comes in equal: the largest of all states
/// of some channels. So many errors of decays a state carries.
pub fn mean_age(problem: &Problem, input: &Input, channels: &[usize]) -> f64 {
    let step = |delta: f64| if problem.options.softplus { delta.exp().ln_1p() } else { delta };
    let mut largest = 0f64;
    for (batch, &channel) in (0..problem.shape.sequences.b).flat_map(|b| channels.iter().map(move |c| (b, c))) {
        // Of each state: what it holds, and that weighed by age.
        let mut held = vec![(1.0, 0.0); problem.shape.d_state];
        for position in sequence(problem.shape.sequences.s, input.cu_seqlens, batch) {
            let at = position * problem.shape.dim + channel;
            let delta = step(input.delta[at] + input.delta_bias.map_or(0.0, |bias| bias[channel]));
            for (n, (sum, aged)) in held.iter_mut().enumerate() {
                let decay = (delta * input.a[channel * problem.shape.d_state + n]).exp();
                (*sum, *aged) = (decay * *sum + 1.0, decay * (*aged + *sum));
                largest = largest.max(*aged / *sum);
            }
        }
    }
    largest
}

fn initial_state(problem: &Problem, input: &Input, batch: usize, channel: usize) -> Vec<f64> {
    let d_state = problem.shape.d_state;
    let at = (batch * problem.shape.dim + channel) * d_state;
    input.initial_state.map_or(vec![0.0; d_state], |state| state[at..at + d_state].to_vec())
}

/// A's element, and those of B and C.
fn coefficients(problem: &Problem, input: &Input, position: usize, channel: usize, n: usize) -> (f64, [f64; 2]) {
    let shape = problem.shape;
    let group = channel / (shape.dim / shape.groups);
    let at = (position * shape.groups + group) * shape.d_state + n;
    (input.a[channel * shape.d_state + n], [input.b[at], input.c[at]])
}
