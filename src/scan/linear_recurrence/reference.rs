//! The recurrence as it is defined: step by step, in double precision, sharing no code with the kernel. And the same in f32
//! with operands of products rounded to the precision of the inputs, as tensor cores take them: the yardstick for the
//! kernel's error.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign};

use half::{bf16, f16};

use super::{DecayKind, FeatureMap, Problem, Shape};
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
    /// `[h]`, `[b, s, h]` or `[b, s, h, d_k]`, or `[total, ..]`
    pub decay: &'a [f64],
    /// `[b, h, d_k, d_v]`
    pub initial_state: &'a [f64],
    /// `[b, h, d_k]`
    pub initial_normaliser: &'a [f64],
    /// `[b + 1]`
    pub cu_seqlens: &'a [i32],
}

/// Result of a reference: row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[b, s, h, d_v]`, or `[total, h, d_v]`
    pub out: Vec<f64>,
    /// `[b, h, d_k, d_v]`
    pub state: Vec<f64>,
    /// `[b, h, d_k]`
    pub normaliser: Vec<f64>,
    /// How large what a row of `out` is the sum of is, where it does not cancel: `[b, s, h]`, or `[total, h]`.
    pub terms: Vec<f64>,
}

/// What a head of a sequence gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadOutput {
    /// `[s, d_v]`
    pub out: Vec<f64>,
    /// `[d_k, d_v]`
    pub state: Vec<f64>,
    /// `[d_k]`
    pub normaliser: Vec<f64>,
    /// `[s]`: the largest root of a sum of squares of the products that an element of a row adds up.
    pub terms: Vec<f64>,
}

/// A number of a precision.
trait Real:
    Copy + Add<Output = Self> + Mul<Output = Self> + Div<Output = Self> + AddAssign + MulAssign + Into<f64>
{
    fn new(x: f64) -> Self;
}

impl Real for f64 {
    fn new(x: f64) -> Self {
        x
    }
}

impl Real for f32 {
    fn new(x: f64) -> Self {
        x as f32
    }
}

impl FeatureMap {
    /// What a number is replaced by.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::EluPlusOne if x < 0.0 => x.exp(),
            Self::EluPlusOne => x + 1.0,
            Self::Relu if x < 0.0 => 0.0,
            Self::Relu => x,
            Self::Exp => x.exp(),
        }
    }

    /// The slope of [`FeatureMap::of`]; where relu has two, at 0, that of the numbers below.
    pub fn slope(self, x: f64) -> f64 {
        match self {
            Self::Identity => 1.0,
            Self::EluPlusOne if x < 0.0 => x.exp(),
            Self::EluPlusOne => 1.0,
            Self::Relu => f64::from(x > 0.0),
            Self::Exp => x.exp(),
        }
    }
}

impl Inputs<'_> {
    /// The positions of a sequence.
    pub fn positions(&self, problem: &Problem, batch: usize) -> std::ops::Range<usize> {
        match self.cu_seqlens.get(batch..batch + 2) {
            Some(&[begin, end]) => begin as usize..end as usize,
            _ => batch * problem.sequences.s..(batch + 1) * problem.sequences.s,
        }
    }

    /// The logarithm of a decay.
    fn log_decay(&self, problem: &Problem, position: usize, head: usize, channel: usize) -> f64 {
        let Shape { h, d_k, .. } = problem.shape;
        match problem.decay {
            None => 0.0,
            Some(DecayKind::Heads) => self.decay[head],
            Some(DecayKind::Steps) => self.decay[position * h + head],
            Some(DecayKind::Channels) => self.decay[(position * h + head) * d_k + channel],
        }
    }
}

/// The recurrence in double precision.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Output {
    every_head(problem, inputs, reference_head)
}

/// A head of a sequence of [`reference()`].
pub fn reference_head(problem: &Problem, inputs: &Inputs, batch: usize, head: usize) -> HeadOutput {
    recur::<f64>(problem, inputs, batch, head, |x| x, |x| x)
}

/// The recurrence in f32: mapped features and the result are rounded to the problem's element type, and so is the state where
/// it is multiplied, in f16 to as many bits of any exponent.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    every_head(problem, inputs, plain_head)
}

/// A head of a sequence of [`plain`].
pub fn plain_head(problem: &Problem, inputs: &Inputs, batch: usize, head: usize) -> HeadOutput {
    let rounded = |x: f64| match problem.dtype {
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::BF16 => bf16::from_f64(x).to_f64(),
        _ => f64::from(x as f32),
    };
    let operand = |x: f32| match problem.dtype {
        DType::F16 if x.is_finite() => f32::from_bits((x.to_bits() + 0x1000) & 0xffff_e000),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    };
    recur(problem, inputs, batch, head, rounded, operand)
}

fn recur<R: Real>(
    problem: &Problem,
    inputs: &Inputs,
    batch: usize,
    head: usize,
    rounded: impl Fn(f64) -> f64,
    operand: impl Fn(R) -> R,
) -> HeadOutput {
    let Shape { h_k, h, d_k, d_v } = problem.shape;
    let key_head = head / (h / h_k);
    let slot = batch * h + head;
    let initial = |values: &[f64], width: usize| -> Vec<R> {
        let given = values.get(slot * width..(slot + 1) * width);
        given.map_or(vec![R::new(0.0); width], |given| given.iter().map(|&x| R::new(x)).collect())
    };
    let mut state = initial(inputs.initial_state, d_k * d_v);
    let mut normaliser = initial(inputs.initial_normaliser, d_k);
    let (mut result, mut terms) = (Vec::new(), Vec::new());
    for position in inputs.positions(problem, batch) {
        let row = (position * h_k + key_head) * d_k;
        let mapped = |x: &f64| R::new(rounded(problem.feature_map.of(*x)));
        let q: Vec<R> = inputs.q[row..row + d_k].iter().map(mapped).collect();
        let k: Vec<R> = inputs.k[row..row + d_k].iter().map(mapped).collect();
        let v = &inputs.v[(position * h + head) * d_v..][..d_v];
        let mut out = vec![R::new(0.0); d_v];
        let mut sum = R::new(0.0);
        let mut squares = vec![0.0; d_v];
        for channel in 0..d_k {
            let decay = R::new(inputs.log_decay(problem, position, head, channel).exp());
            normaliser[channel] = decay * normaliser[channel] + k[channel];
            sum += q[channel] * normaliser[channel];
            for (column, state) in state[channel * d_v..][..d_v].iter_mut().enumerate() {
                *state = decay * *state + k[channel] * R::new(v[column]);
                let term = q[channel] * operand(*state);
                out[column] += term;
                squares[column] += term.into() * term.into();
            }
        }
        let scale = R::new(problem.scale.into());
        let divisor = problem.normaliser.map_or(R::new(1.0), |epsilon| scale * sum + R::new(epsilon.into()));
        result.extend(out.into_iter().map(|out| rounded((scale * out / divisor).into())));
        terms.push(squares.into_iter().fold(0.0, f64::max).sqrt() * (scale / divisor).into().abs());
    }
    let numbers = |values: Vec<R>| values.into_iter().map(Into::into).collect();
    HeadOutput { out: result, state: numbers(state), normaliser: numbers(normaliser), terms }
}

fn every_head(
    problem: &Problem,
    inputs: &Inputs,
    compute: impl Fn(&Problem, &Inputs, usize, usize) -> HeadOutput,
) -> Output {
    let Shape { h, d_k, d_v, .. } = problem.shape;
    let b = problem.sequences.b;
    let mut result = Output {
        out: vec![0.0; problem.sequences.positions() * h * d_v],
        state: vec![0.0; b * h * d_k * d_v],
        normaliser: vec![0.0; b * h * d_k],
        terms: vec![0.0; problem.sequences.positions() * h],
    };
    for (batch, head) in (0..b).flat_map(|batch| (0..h).map(move |head| (batch, head))) {
        let computed = compute(problem, inputs, batch, head);
        for ((row, terms), position) in
            computed.out.chunks(d_v).zip(computed.terms).zip(inputs.positions(problem, batch))
        {
            result.out[(position * h + head) * d_v..][..d_v].copy_from_slice(row);
            result.terms[position * h + head] = terms;
        }
        let slot = batch * h + head;
        result.state[slot * d_k * d_v..][..d_k * d_v].copy_from_slice(&computed.state);
        result.normaliser[slot * d_k..][..d_k].copy_from_slice(&computed.normaliser);
    }
    result
}
