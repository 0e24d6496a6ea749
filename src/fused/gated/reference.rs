//! Gated units as they are defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as
//! one would write it: the yardstick for the kernel's error.

use super::super::rows::rounded;
use super::{Activation, Problem};

/// `activation(x)` in double precision.
pub fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => x * normal_cdf(x),
        Activation::GeluTanh => x * (1.0 + (tanh_argument(x)).tanh()) / 2.0,
        Activation::Relu2 => x.max(0.0) * x,
    }
}

/// Its derivative.
pub fn derivative(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            sigmoid + x * sigmoid * (1.0 - sigmoid)
        }
        Activation::Gelu => normal_cdf(x) + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt(),
        Activation::GeluTanh => {
            let (tanh, root) = (tanh_argument(x).tanh(), (2.0 / std::f64::consts::PI).sqrt());
            (1.0 + tanh) / 2.0 + x / 2.0 * (1.0 - tanh * tanh) * root * (1.0 + 3.0 * 0.044715 * x * x)
        }
        Activation::Relu2 => 2.0 * x.max(0.0),
    }
}

fn tanh_argument(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))
}

/// The normal distribution's probability of less than `x`, by series and continued fraction.
pub fn normal_cdf(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 3.0 {
        // Phi(x) = 1/2 + density * (x + x^3/3 + x^5/(3 5) + ...)
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= x * x / (2 * n + 1) as f64;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    if x.is_nan() {
        return x;
    }
    // The tail: density / (|x| + 1/(|x| + 2/(|x| + 3/...)))
    let fraction = (1..200).rev().fold(x.abs(), |fraction, n| x.abs() + f64::from(n) / fraction);
    let tail = if density == 0.0 { 0.0 } else { density / fraction };
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// `activation(gate) * up` in double precision, element by element.
pub fn reference(problem: &Problem, gate: &[f64], up: Option<&[f64]>) -> Vec<f64> {
    let up = |i: usize| up.map_or(1.0, |up| up[i]);
    gate.iter().enumerate().map(|(i, &gate)| activation(problem.activation, gate) * up(i)).collect()
}

/// The same in f32, rounded to the result's type.
pub fn plain(problem: &Problem, gate: &[f64], up: Option<&[f64]>) -> Vec<f64> {
    let up = |i: usize| up.map_or(1.0, |up| up[i] as f32);
    let value = |i: usize, gate: f64| plain_activation(problem.activation, gate as f32) * up(i);
    gate.iter().enumerate().map(|(i, &gate)| rounded(problem.types.out, value(i, gate))).collect()
}

/// `activation(x)` in f32.
pub fn plain_activation(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        // There is no f32 function for it: the exact one, rounded.
        Activation::Gelu => x * normal_cdf(x.into()) as f32,
        Activation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            0.5 * x * (1.0 + (root * (x + 0.044715 * x * x * x)).tanh())
        }
        Activation::Relu2 => x.max(0.0) * x,
    }
}
