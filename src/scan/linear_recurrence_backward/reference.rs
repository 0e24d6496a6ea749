//! The gradients as they are defined: backwards through every step, in double precision, sharing no code with the kernels.
//! And the same in f32 with operands of products rounded to the precision of the inputs, as tensor cores take them: the
//! yardstick for the kernels' error.

use half::{bf16, f16};

use super::{DecayKind, Problem, Shape};
use crate::DType;
use crate::scan::linear_recurrence::FeatureMap;

/// Input, row-major; what a problem does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// `[b, s, h_k, d_k]`, or `[total, h_k, d_k]`
    pub q: &'a [f64],
    /// Likewise.
    pub k: &'a [f64],
    /// `[b, s, h, d_v]`, or `[total, h, d_v]`
    pub v: &'a [f64],
    /// Likewise.
    pub d_out: &'a [f64],
    /// `[h]`, `[b, s, h]` or `[b, s, h, d_k]`, or `[total, ..]`
    pub decay: &'a [f64],
    /// `[b, h, d_k, d_v]`
    pub initial_state: &'a [f64],
    /// Likewise.
    pub d_final_state: &'a [f64],
    /// `[b, h, d_k]`
    pub initial_normaliser: &'a [f64],
    /// Likewise.
    pub d_final_normaliser: &'a [f64],
    /// `[b + 1]`
    pub cu_seqlens: &'a [i32],
}

/// Gradients, of the shapes of what they are gradients of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Of q.
    pub d_q: Vec<f64>,
    /// Of k.
    pub d_k: Vec<f64>,
    /// Of v.
    pub d_v: Vec<f64>,
    /// Of the decays, of each step and head in any case, and of channels where they have them: those of heads are their sums
    /// over steps.
    pub d_decay: Vec<f64>,
    /// Of the initial state.
    pub d_initial_state: Vec<f64>,
    /// Of the initial normaliser.
    pub d_initial_normaliser: Vec<f64>,
    /// How large what rows of `d_q`, `d_k` and `d_v`, and elements of `d_decay`, are sums of is, where it does not cancel: the
    /// root of the sum of squares.
    pub terms: [Vec<f64>; 4],
    /// Likewise of the sums of `d_decay` over the steps of a head.
    pub sum_terms: Vec<f64>,
}

/// A number of a precision, as f64, after every operation.
trait Precision {
    fn round(&self, x: f64) -> f64;
    fn operand(&self, x: f64) -> f64;
    fn result(&self, x: f64) -> f64;
}

struct Exact;

impl Precision for Exact {
    fn round(&self, x: f64) -> f64 {
        x
    }
    fn operand(&self, x: f64) -> f64 {
        x
    }
    fn result(&self, x: f64) -> f64 {
        x
    }
}

struct Plain(DType);

impl Precision for Plain {
    fn round(&self, x: f64) -> f64 {
        f64::from(x as f32)
    }
    fn operand(&self, x: f64) -> f64 {
        match self.0 {
            DType::F16 if x.is_finite() => f64::from(f32::from_bits(((x as f32).to_bits() + 0x1000) & 0xffff_e000)),
            _ => bf16::from_f64(x).to_f64(),
        }
    }
    fn result(&self, x: f64) -> f64 {
        if self.0 == DType::F16 { f16::from_f64(x).to_f64() } else { bf16::from_f64(x).to_f64() }
    }
}

/// The gradients in double precision.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Output {
    gradients(problem, inputs, &Exact)
}

/// The gradients in f32, those of q, k and v rounded to the problem's element type, and so are features and what is divided by the
/// normaliser; states are rounded to it, in f16 to as many bits of any exponent, where they are multiplied.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    gradients(problem, inputs, &Plain(problem.forward.dtype))
}

/// A head of a sequence: its input by step, after the feature map.
struct Head<'a, P> {
    problem: &'a Problem,
    inputs: &'a Inputs<'a>,
    precision: &'a P,
    head: usize,
    /// Number among those of all sequences.
    slot: usize,
    positions: std::ops::Range<usize>,
}

impl<P: Precision> Head<'_, P> {
    fn key_row(&self, position: usize) -> usize {
        let Shape { h_k, h, .. } = self.problem.forward.shape;
        position * h_k + self.head / (h / h_k)
    }

    /// Features of q or k.
    fn features(&self, values: &[f64], position: usize) -> Vec<f64> {
        let Shape { d_k, .. } = self.problem.forward.shape;
        let row = &values[self.key_row(position) * d_k..][..d_k];
        match self.problem.forward.feature_map {
            FeatureMap::Identity => row.to_vec(),
            map => row.iter().map(|&x| self.precision.result(map.of(x))).collect(),
        }
    }

    /// A row of v or d_out.
    fn values<'a>(&self, values: &'a [f64], position: usize) -> &'a [f64] {
        let Shape { h, d_v, .. } = self.problem.forward.shape;
        &values[(position * h + self.head) * d_v..][..d_v]
    }

    fn given(&self, values: &[f64], size: usize) -> Vec<f64> {
        values.get(self.slot * size..(self.slot + 1) * size).map_or(vec![0.0; size], <[f64]>::to_vec)
    }

    /// Of every channel.
    fn decays(&self, position: usize) -> Vec<f64> {
        let Shape { h, d_k, .. } = self.problem.forward.shape;
        let row = position * h + self.head;
        let decay = |log: f64| self.precision.round(log.exp());
        match self.problem.forward.decay {
            None => vec![1.0; d_k],
            Some(DecayKind::Heads) => vec![decay(self.inputs.decay[self.head]); d_k],
            Some(DecayKind::Steps) => vec![decay(self.inputs.decay[row]); d_k],
            Some(DecayKind::Channels) => self.inputs.decay[row * d_k..][..d_k].iter().map(|&log| decay(log)).collect(),
        }
    }

    /// The states and normalisers before each step, and behind the last.
    fn states(&self) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let Shape { d_k, d_v, .. } = self.problem.forward.shape;
        let round = |x| self.precision.round(x);
        let mut states = vec![self.given(self.inputs.initial_state, d_k * d_v)];
        let mut normalisers = vec![self.given(self.inputs.initial_normaliser, d_k)];
        for (step, position) in self.positions.clone().enumerate() {
            let (k, v) = (self.features(self.inputs.k, position), self.values(self.inputs.v, position));
            let (decays, mut state, mut normaliser) =
                (self.decays(position), states[step].clone(), normalisers[step].clone());
            for (i, x) in state.iter_mut().enumerate() {
                *x = round(round(decays[i / d_v] * *x) + round(k[i / d_v] * v[i % d_v]));
            }
            for (channel, x) in normaliser.iter_mut().enumerate() {
                *x = round(round(decays[channel] * *x) + k[channel]);
            }
            states.push(state);
            normalisers.push(normaliser);
        }
        (states, normalisers)
    }
}

fn gradients(problem: &Problem, inputs: &Inputs, precision: &impl Precision) -> Output {
    let Shape { h_k, h, d_k, d_v } = problem.forward.shape;
    let sequences = problem.forward.sequences;
    let (positions, size) = (sequences.positions(), d_k * d_v);
    // Decays of a step and head.
    let width = if problem.forward.decay == Some(DecayKind::Channels) { d_k } else { 1 };
    let mut result = Output {
        d_q: vec![0.0; positions * h_k * d_k],
        d_k: vec![0.0; positions * h_k * d_k],
        d_v: vec![0.0; positions * h * d_v],
        d_decay: vec![0.0; positions * h * width],
        d_initial_state: vec![0.0; sequences.b * h * size],
        d_initial_normaliser: vec![0.0; sequences.b * h * d_k],
        terms: [positions * h_k, positions * h_k, positions * h, positions * h * width].map(|rows| vec![0.0; rows]),
        sum_terms: vec![0.0; h],
    };
    for (batch, head) in (0..sequences.b).flat_map(|batch| (0..h).map(move |head| (batch, head))) {
        let positions = match inputs.cu_seqlens.get(batch..batch + 2) {
            Some(&[begin, end]) => begin as usize..end as usize,
            _ => batch * sequences.s..(batch + 1) * sequences.s,
        };
        add_head(&Head { problem, inputs, precision, head, slot: batch * h + head, positions }, &mut result);
    }
    for gradient in [&mut result.d_q, &mut result.d_k, &mut result.d_v] {
        gradient.iter_mut().for_each(|x| *x = precision.result(*x));
    }
    result.sum_terms.iter_mut().for_each(|squares| *squares = squares.sqrt());
    result
}

/// The gradients of a head of a sequence, backwards through its steps.
fn add_head(of: &Head<impl Precision>, result: &mut Output) {
    let (inputs, forward, precision) = (of.inputs, &of.problem.forward, of.precision);
    let Shape { h, d_k, d_v, .. } = forward.shape;
    let (scale, round) = (f64::from(forward.scale), |x| precision.round(x));
    let width = if forward.decay == Some(DecayKind::Channels) { d_k } else { 1 };
    let (states, normalisers) = of.states();
    // The gradients of the state and the normaliser behind the step, and the latter's terms, squared.
    let mut gradient = of.given(inputs.d_final_state, d_k * d_v);
    let mut d_normaliser = of.given(inputs.d_final_normaliser, d_k);
    let mut d_normaliser_squares: Vec<f64> = d_normaliser.iter().map(|x| x * x).collect();
    // Of what the gradient of a decay adds up in the kernel, squared: all of its chunk from its step on, and the state behind.
    let mut squares = vec![0.0; width];
    let chunk = of.problem.decay_chunk();
    for (step, position) in of.positions.clone().enumerate().rev() {
        let (q, k) = (of.features(inputs.q, position), of.features(inputs.k, position));
        let (v, d_out) = (of.values(inputs.v, position), of.values(inputs.d_out, position));
        let (before, behind, decays) = (&states[step], &states[step + 1], of.decays(position));
        let normaliser = &normalisers[step + 1];
        if position + 1 == of.positions.end || (step + 1) % chunk == 0 {
            squares.fill(0.0);
            for (i, (state, d_state)) in behind.iter().zip(&gradient).enumerate() {
                squares[i / d_v % width] += (state * d_state).powi(2);
            }
            for (i, (sum, d_sum)) in normaliser.iter().zip(&d_normaliser).enumerate() {
                squares[i % width] += (sum * d_sum).powi(2);
            }
        }
        // Of what is divided, scale S d_out, and its terms, squared.
        let (mut of_numerator, mut numerator_squares) = (vec![0.0; d_k], vec![0.0; d_k]);
        for (i, &state) in behind.iter().enumerate() {
            let term = round(scale * precision.operand(state) * d_out[i % d_v]);
            of_numerator[i / d_v] = round(of_numerator[i / d_v] + term);
            numerator_squares[i / d_v] += term * term;
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (a, b)| round(sum + round(a * b)));
        let divisor = forward.normaliser.map(|epsilon| round(scale * dot(&q, normaliser)) + f64::from(epsilon));
        let (mut of_q, mut q_squares) = (of_numerator.clone(), numerator_squares.clone());
        let mut d_numerator = d_out.to_vec();
        if let Some(divisor) = divisor {
            let d_divisor = round(-dot(&q, &of_numerator) / divisor.powi(2));
            let d_divisor_squares =
                q.iter().zip(&numerator_squares).map(|(q, squares)| q * q * squares).sum::<f64>() / divisor.powi(4);
            for channel in 0..d_k {
                let (numerator, of_sum) = (round(of_numerator[channel] / divisor), scale * normaliser[channel]);
                of_q[channel] = round(numerator + round(of_sum * d_divisor));
                q_squares[channel] = numerator_squares[channel] / divisor.powi(2)
                    + numerator * numerator
                    + of_sum * of_sum * d_divisor_squares;
                d_normaliser[channel] = round(d_normaliser[channel] + round(scale * d_divisor * q[channel]));
                d_normaliser_squares[channel] += (scale * q[channel]).powi(2) * d_divisor_squares;
            }
            d_numerator.iter_mut().for_each(|x| *x = precision.result(*x / divisor));
        }
        for (i, d_state) in gradient.iter_mut().enumerate() {
            *d_state = round(*d_state + round(scale * q[i / d_v] * d_numerator[i % d_v]));
        }
        let (mut of_v, mut of_v_squares) = (vec![0.0; d_v], vec![0.0; d_v]);
        let key_row = of.key_row(position);
        let mut row_squares = [0.0f64; 2];
        for channel in 0..d_k {
            let (mut of_k, mut k_squares) = (0.0, 0.0);
            for column in 0..d_v {
                let d_state = precision.operand(gradient[channel * d_v + column]);
                let (k_term, v_term) = (round(d_state * v[column]), round(d_state * k[channel]));
                (of_k, of_v[column]) = (round(of_k + k_term), round(of_v[column] + v_term));
                k_squares += k_term * k_term;
                of_v_squares[column] += v_term * v_term;
            }
            if divisor.is_some() {
                k_squares += of_k * of_k + d_normaliser_squares[channel];
                of_k = round(of_k + d_normaliser[channel]);
            }
            squares[channel % width] += q[channel].powi(2) * q_squares[channel] + k[channel].powi(2) * k_squares;
            let element = key_row * d_k + channel;
            let slopes = [inputs.q, inputs.k].map(|row| forward.feature_map.slope(row[element]));
            result.d_q[element] += slopes[0] * of_q[channel];
            result.d_k[element] += slopes[1] * of_k;
            row_squares[0] = row_squares[0].max(slopes[0].powi(2) * q_squares[channel]);
            row_squares[1] = row_squares[1].max(slopes[1].powi(2) * k_squares);
        }
        let row = position * h + of.head;
        result.d_v[row * d_v..][..d_v].copy_from_slice(&of_v);
        let v_squares = of_v_squares.into_iter().fold(0.0, f64::max);
        let terms = [(key_row, row_squares[0]), (key_row, row_squares[1]), (row, v_squares)];
        // Heads that share a row add up.
        for (all, (row, squares)) in result.terms.iter_mut().zip(terms) {
            all[row] = (all[row] * all[row] + squares).sqrt();
        }
        for (i, (d_state, state)) in gradient.iter_mut().zip(before).enumerate() {
            *d_state = round(decays[i / d_v] * *d_state);
            let sum = &mut result.d_decay[row * width + i / d_v % width];
            *sum = round(*sum + round(*d_state * state));
        }
        for (channel, (d_sum, sum)) in d_normaliser.iter_mut().zip(&normalisers[step]).enumerate() {
            *d_sum = round(decays[channel] * *d_sum);
            d_normaliser_squares[channel] *= decays[channel].powi(2);
            let d_decay = &mut result.d_decay[row * width + channel % width];
            *d_decay = round(*d_decay + round(*d_sum * sum));
        }
        for (terms, squares) in result.terms[3][row * width..].iter_mut().zip(&squares) {
            *terms = squares.sqrt();
        }
        // A difference is in the gradients of all steps of its chunk up to its own.
        result.sum_terms[of.head] += (2 * (step % chunk) + 1) as f64 * squares[0];
    }
    result.d_initial_state[of.slot * d_k * d_v..][..d_k * d_v].copy_from_slice(&gradient);
    result.d_initial_normaliser[of.slot * d_k..][..d_k].copy_from_slice(&d_normaliser);
}

/// The gradient of the decays of heads: the sums over all steps.
pub fn sum_over_steps(problem: &Problem, output: &Output) -> Vec<f64> {
    let h = problem.forward.shape.h;
    (0..h).map(|head| output.d_decay.iter().skip(head).step_by(h.max(1)).sum()).collect()
}
