//! The gradients as they are defined: backwards through every step, in double precision, sharing no code with the kernels.
//! And the same in f32 with operands of products rounded to the precision of the inputs, as tensor cores take them: the
//! yardstick for the kernels' error.

use half::{bf16, f16};

use super::{DecayKind, Problem, Shape};
use crate::DType;

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
    /// How large what rows of `d_q`, `d_k` and `d_v`, and elements of `d_decay`, are sums of is, where it does not cancel: the
    /// root of the sum of squares.
    pub terms: [Vec<f64>; 4],
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

/// The gradients in f32, those of q, k and v rounded to the problem's element type; states are rounded to it, in f16 to as many
/// bits of any exponent, where they are multiplied.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    gradients(problem, inputs, &Plain(problem.forward.dtype))
}

fn gradients(problem: &Problem, inputs: &Inputs, precision: &impl Precision) -> Output {
    let Shape { h_k, h, d_k, d_v } = problem.forward.shape;
    let sequences = problem.forward.sequences;
    let (positions, size) = (sequences.positions(), d_k * d_v);
    let scale = f64::from(problem.forward.scale);
    let round = |x| precision.round(x);
    // Decays of a step and head.
    let width = if problem.forward.decay == Some(DecayKind::Channels) { d_k } else { 1 };
    let mut result = Output {
        d_q: vec![0.0; positions * h_k * d_k],
        d_k: vec![0.0; positions * h_k * d_k],
        d_v: vec![0.0; positions * h * d_v],
        d_decay: vec![0.0; positions * h * width],
        d_initial_state: vec![0.0; sequences.b * h * size],
        terms: [positions * h_k, positions * h_k, positions * h, positions * h * width].map(|rows| vec![0.0; rows]),
    };
    for (batch, head) in (0..sequences.b).flat_map(|batch| (0..h).map(move |head| (batch, head))) {
        let range = match inputs.cu_seqlens.get(batch..batch + 2) {
            Some(&[begin, end]) => begin as usize..end as usize,
            _ => batch * sequences.s..(batch + 1) * sequences.s,
        };
        let slot = (batch * h + head) * size;
        let given = |values: &[f64]| values.get(slot..slot + size).map_or(vec![0.0; size], <[f64]>::to_vec);
        let key_row = |position: usize| position * h_k + head / (h / h_k);
        let q = |position| &inputs.q[key_row(position) * d_k..][..d_k];
        let k = |position| &inputs.k[key_row(position) * d_k..][..d_k];
        let v = |position: usize| &inputs.v[(position * h + head) * d_v..][..d_v];
        let d_out = |position: usize| &inputs.d_out[(position * h + head) * d_v..][..d_v];
        let decay = |position: usize, channel: usize| match problem.forward.decay {
            None => 1.0,
            Some(DecayKind::Heads) => round(inputs.decay[head].exp()),
            Some(_) => round(inputs.decay[(position * h + head) * width + channel % width].exp()),
        };
        // The state before each step, and behind the last.
        let mut states = vec![given(inputs.initial_state)];
        for position in range.clone() {
            let mut next = states[states.len() - 1].clone();
            for (i, state) in next.iter_mut().enumerate() {
                *state = round(
                    round(decay(position, i / d_v) * *state) + round(k(position)[i / d_v] * v(position)[i % d_v]),
                );
            }
            states.push(next);
        }
        // The gradient of the state behind the step.
        let mut gradient = given(inputs.d_final_state);
        // Of what the gradient of a decay adds up in the kernel, squared: all from its step on.
        let mut squares = vec![0.0; width];
        for (i, (state, d_state)) in states[states.len() - 1].iter().zip(&gradient).enumerate() {
            squares[i / d_v % width] += (state * d_state).powi(2);
        }
        for (step, position) in range.enumerate().rev() {
            let (before, behind) = (&states[step], &states[step + 1]);
            for (i, d_state) in gradient.iter_mut().enumerate() {
                *d_state = round(*d_state + round(scale * q(position)[i / d_v] * d_out(position)[i % d_v]));
            }
            let (mut of_v, mut of_v_squares) = (vec![0.0; d_v], vec![0.0; d_v]);
            let (mut q_terms, mut k_terms) = (0.0f64, 0.0f64);
            for channel in 0..d_k {
                let (mut of_q, mut of_k, mut q_squares, mut k_squares) = (0.0, 0.0, 0.0, 0.0);
                for column in 0..d_v {
                    let i = channel * d_v + column;
                    let q_term = round(scale * precision.operand(behind[i]) * d_out(position)[column]);
                    let k_term = round(precision.operand(gradient[i]) * v(position)[column]);
                    let v_term = round(precision.operand(gradient[i]) * k(position)[channel]);
                    (of_q, of_k) = (round(of_q + q_term), round(of_k + k_term));
                    of_v[column] = round(of_v[column] + v_term);
                    (q_squares, k_squares) = (q_squares + q_term * q_term, k_squares + k_term * k_term);
                    of_v_squares[column] += v_term * v_term;
                }
                result.d_q[key_row(position) * d_k + channel] += of_q;
                result.d_k[key_row(position) * d_k + channel] += of_k;
                (q_terms, k_terms) = (q_terms.max(q_squares), k_terms.max(k_squares));
                squares[channel % width] +=
                    q(position)[channel].powi(2) * q_squares + k(position)[channel].powi(2) * k_squares;
            }
            let row = position * h + head;
            result.d_v[row * d_v..][..d_v].copy_from_slice(&of_v);
            for (i, (a, b)) in gradient.iter().zip(before).enumerate() {
                let sum = &mut result.d_decay[row * width + i / d_v % width];
                *sum = round(*sum + round(decay(position, i / d_v) * a * b));
            }
            for (terms, squares) in result.terms[3][row * width..].iter_mut().zip(&squares) {
                *terms = squares.sqrt();
            }
            let v_terms = of_v_squares.into_iter().fold(0.0, f64::max);
            for (terms, (row, squares)) in result.terms.iter_mut().zip([
                (key_row(position), q_terms),
                (key_row(position), k_terms),
                (row, v_terms),
            ]) {
                terms[row] = (terms[row] * terms[row] + squares).sqrt();
            }
            for (i, d_state) in gradient.iter_mut().enumerate() {
                *d_state = round(decay(position, i / d_v) * *d_state);
            }
        }
        result.d_initial_state[slot..slot + size].copy_from_slice(&gradient);
    }
    for gradient in [&mut result.d_q, &mut result.d_k, &mut result.d_v] {
        gradient.iter_mut().for_each(|x| *x = precision.result(*x));
    }
    result
}

/// The gradient of the decays of heads, the sums over all steps, and the sizes of their terms: errors of steps are not
/// independent, since each has those of all later ones, so that their sizes add up.
pub fn sum_over_steps(problem: &Problem, output: &Output) -> (Vec<f64>, Vec<f64>) {
    let h = problem.forward.shape.h;
    let of_heads = |steps: &[f64]| (0..h).map(|head| steps.iter().skip(head).step_by(h.max(1)).sum()).collect();
    (of_heads(&output.d_decay), of_heads(&output.terms[3]))
}
