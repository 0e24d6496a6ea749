//! The gradients as they are defined: naive, in double precision, sharing no code with the kernel. And the same with every
//! number rounded to f32: the yardstick for the kernel's error.

use super::Problem;
pub use crate::scan::selective_scan::reference::Input;

use crate::fused::rows::rounded;
use crate::scan::causal_conv1d::reference::sequence;

/// What the gradients begin with, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// As u.
    pub d_out: &'a [f64],
    /// `[b, dim, d_state]`
    pub d_final_state: Option<&'a [f64]>,
}

/// Gradients, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// As u.
    pub d_u: Vec<f64>,
    /// As u.
    pub d_delta: Vec<f64>,
    /// As A.
    pub d_a: Vec<f64>,
    /// As B.
    pub d_b: Vec<f64>,
    /// As C.
    pub d_c: Vec<f64>,
    /// `[dim]`
    pub d_d: Vec<f64>,
    /// As u.
    pub d_z: Vec<f64>,
    /// `[dim]`
    pub d_delta_bias: Vec<f64>,
    /// `[b, dim, d_state]`
    pub d_initial_state: Vec<f64>,
}

impl Output {
    /// Each gradient, in the order of the fields.
    pub fn parts(&self) -> [&Vec<f64>; 9] {
        let Self { d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state } = self;
        [d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state]
    }

    /// The same to be changed.
    fn parts_mut(&mut self) -> [&mut Vec<f64>; 9] {
        let Self { d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state } = self;
        [d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state]
    }
}

/// In double precision.
pub fn reference(problem: &Problem, input: &Input, upstream: &Upstream) -> Output {
    gradients(problem, input, upstream, |x| x, |x| x)
}

/// In f32, rounded to the gradients' types.
pub fn plain(problem: &Problem, input: &Input, upstream: &Upstream) -> Output {
    let mut output = gradients(problem, input, upstream, |x| f64::from(x as f32), |x| x);
    let Problem { dtype, of_states: [b, c], .. } = *problem;
    for (values, dtype) in [
        (&mut output.d_u, dtype),
        (&mut output.d_delta, dtype),
        (&mut output.d_b, b),
        (&mut output.d_c, c),
        (&mut output.d_z, dtype),
    ] {
        values.iter_mut().for_each(|value| *value = rounded(dtype, *value as f32));
    }
    output
}

/// For each element of a gradient the sum of the magnitudes of its terms, which cancel in it: the largest for each
/// gradient, in the order of [`Output`]'s fields.
pub fn terms(problem: &Problem, input: &Input, upstream: &Upstream) -> [f64; 9] {
    let sums = gradients(problem, input, upstream, |x| x, f64::abs);
    sums.parts().map(|values| values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs())))
}

/// With every number that is computed rounded by `round`, and every term of a sum changed by `term`: to its magnitude.
fn gradients(
    problem: &Problem,
    input: &Input,
    upstream: &Upstream,
    round: impl Fn(f64) -> f64,
    term: impl Fn(f64) -> f64,
) -> Output {
    let shape = problem.shape;
    let (b, dim, d_state) = (shape.sequences.b, shape.dim, shape.d_state);
    let mut output = Output::default();
    let [of_u, of_a, of_b, of_vector, of_state] = [input.u.len(), input.a.len(), input.b.len(), dim, b * dim * d_state];
    let sizes = [of_u, of_u, of_a, of_b, of_b, of_vector, of_u, of_vector, of_state];
    output.parts_mut().into_iter().zip(sizes).for_each(|(values, size)| *values = vec![0.0; size]);
    for (batch, channel) in (0..b).flat_map(|batch| (0..dim).map(move |channel| (batch, channel))) {
        let positions = sequence(shape.sequences.s, input.cu_seqlens, batch);
        let state = (batch * dim + channel) * d_state..(batch * dim + channel + 1) * d_state;
        let group = channel / (dim / shape.groups);
        let skip = input.d.map_or(0.0, |d| d[channel]);
        let step = |position: usize| {
            let raw = round(input.delta[position * dim + channel] + input.delta_bias.map_or(0.0, |bias| bias[channel]));
            if problem.options.softplus {
                (round(raw.exp().ln_1p()), round(1.0 / (1.0 + (-raw).exp())))
            } else {
                (raw, 1.0)
            }
        };
        // The states after each position, behind the initial ones.
        let mut states = vec![input.initial_state.map_or(vec![0.0; d_state], |all| all[state.clone()].to_vec())];
        for position in positions.clone() {
            let ((delta, _), u) = (step(position), input.u[position * dim + channel]);
            let coefficient = |n: usize| input.b[(position * shape.groups + group) * d_state + n];
            let before = &states[states.len() - 1];
            let after = (0..d_state).map(|n| {
                let decay = round(round(delta * input.a[channel * d_state + n]).exp());
                round(round(decay * before[n]) + round(round(delta * u) * coefficient(n)))
            });
            let after = after.collect();
            states.push(after);
        }
        let mut dh = upstream.d_final_state.map_or(vec![0.0; d_state], |all| all[state.clone()].to_vec());
        dh.iter_mut().for_each(|x| *x = term(*x));
        for (at, position) in positions.enumerate().rev() {
            let ((delta, slope), channel_at) = (step(position), position * dim + channel);
            let (u, d_out) = (input.u[channel_at], upstream.d_out[channel_at]);
            let (h, before) = (&states[at + 1], &states[at]);
            let states_at = (position * shape.groups + group) * d_state;
            let (of_b, of_c) = (&input.b[states_at..][..d_state], &input.c[states_at..][..d_state]);
            let mut dy = term(d_out);
            if let Some(z) = input.z {
                let sigmoid = round(1.0 / (1.0 + (-z[channel_at]).exp()));
                let y = (0..d_state).fold(term(round(skip * u)), |y, n| round(y + term(round(of_c[n] * h[n]))));
                let slope = round(sigmoid * round(1.0 + round(z[channel_at] * round(1.0 - sigmoid))));
                output.d_z[channel_at] = round(term(round(d_out * slope)) * y);
                dy = term(round(d_out * round(z[channel_at] * sigmoid)));
            }
            let (mut sum_b, mut sum_a) = (0.0, 0.0);
            for n in 0..d_state {
                let a = input.a[channel * d_state + n];
                dh[n] = round(dh[n] + term(round(of_c[n] * dy)));
                sum_b = round(sum_b + term(round(dh[n] * of_b[n])));
                let (d_b, d_c) = (&mut output.d_b[states_at + n], &mut output.d_c[states_at + n]);
                *d_b = round(*d_b + term(round(dh[n] * round(delta * u))));
                *d_c = round(*d_c + term(round(dy * h[n])));
                dh[n] = round(dh[n] * round(round(delta * a).exp()));
                let w = term(round(dh[n] * before[n]));
                sum_a = round(sum_a + term(round(w * a)));
                let d_a = &mut output.d_a[channel * d_state + n];
                *d_a = round(*d_a + term(round(w * delta)));
            }
            let d_delta = round(round(sum_a + term(round(u * sum_b))) * slope);
            output.d_u[channel_at] = round(term(round(skip * dy)) + term(round(delta * sum_b)));
            output.d_delta[channel_at] = d_delta;
            output.d_d[channel] = round(output.d_d[channel] + term(round(dy * u)));
            output.d_delta_bias[channel] = round(output.d_delta_bias[channel] + d_delta);
        }
        output.d_initial_state[state].copy_from_slice(&dh);
    }
    output
}
