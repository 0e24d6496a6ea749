//! The gradients as they are defined: naive, in double precision, sharing no code with the kernel. And the same in f32,
//! as one would write it: the yardstick for the kernel's error.

use super::super::gated::Activation;
use super::super::gated::reference::{activation, derivative, normal_cdf, plain_activation};
use super::super::rows::rounded;
use super::Problem;

/// Gradients, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Of `gate`.
    pub d_gate: Vec<f64>,
    /// Of `up`; of 1 where there is none.
    pub d_up: Vec<f64>,
}

/// In double precision, element by element.
pub fn reference(problem: &Problem, gate: &[f64], up: Option<&[f64]>, d_out: &[f64]) -> Output {
    let up = |i: usize| up.map_or(1.0, |up| up[i]);
    let each = gate.iter().zip(d_out).enumerate();
    let (d_gate, d_up) = each
        .map(|(i, (&gate, d_out))| {
            let function = problem.activation;
            (derivative(function, gate) * up(i) * d_out, activation(function, gate) * d_out)
        })
        .unzip();
    Output { d_gate, d_up }
}

/// In f32, rounded to the gradients' types.
pub fn plain(problem: &Problem, gate: &[f64], up: Option<&[f64]>, d_out: &[f64]) -> Output {
    let up = |i: usize| up.map_or(1.0, |up| up[i] as f32);
    let types = problem.types;
    let each = gate.iter().zip(d_out).enumerate();
    let (d_gate, d_up) = each
        .map(|(i, (&gate, &d_out))| {
            let (gate, d_out) = (gate as f32, d_out as f32);
            let d_gate = plain_derivative(problem.activation, gate) * up(i) * d_out;
            let d_up = plain_activation(problem.activation, gate) * d_out;
            (rounded(types.d_gate, d_gate), rounded(types.up.map_or(types.d_gate, |[_, d_up]| d_up), d_up))
        })
        .unzip();
    Output { d_gate, d_up }
}

fn plain_derivative(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            sigmoid + x * sigmoid * (1.0 - sigmoid)
        }
        Activation::Gelu => {
            let density = (-x * x / 2.0).exp() / std::f32::consts::TAU.sqrt();
            normal_cdf(x.into()) as f32 + x * density
        }
        Activation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            let tanh = (root * (x + 0.044715 * x * x * x)).tanh();
            (1.0 + tanh) / 2.0 + x / 2.0 * (1.0 - tanh * tanh) * root * (1.0 + 3.0 * 0.044715 * x * x)
        }
        Activation::Relu2 => 2.0 * x.max(0.0),
    }
}
