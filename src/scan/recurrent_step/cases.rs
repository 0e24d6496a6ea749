//! The cases that `check` and `bench` go through, and their made-up input.

use crate::verify::{Case, HostTensor, Op, random};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $h_k:literal, $h:literal, $d_k:literal, $d_v:literal], $options:expr, $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("h_k", $h_k), ("h", $h), ("d_k", $d_k), ("d_v", $d_v), ("tokens", $b)],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

const NONE: Set = &[];
const UNSCALED: Set = &[("scale", "1")];
const LINEAR: Set = &[("scale", "1"), ("feature_map", "elu_plus_one"), ("normaliser", "0.000001")];
const EXP: Set = &[("feature_map", "exp"), ("normaliser", "0.001")];
const RELU: Set = &[("feature_map", "relu")];
const HEADS: Set = &[("decay_heads", "retention")];
const STEPS: Set = &[("decay_steps", "normal")];
const CHANNELS: Set = &[("decay_channels", "normal")];
const SUMS: Set = &[("normaliser", "normal")];

/// Every instance, decay and feature map at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("no decay",          F16,  [2, 2, 2, 64, 64],     NONE,     NONE),
    case!("uneven widths",     BF16, [1, 1, 3, 48, 80],     RELU,     STEPS),
    case!("decay of heads",    F32,  [3, 4, 4, 256, 256],   NONE,     HEADS),
    case!("decay of steps",    BF16, [2, 1, 8, 128, 64],    UNSCALED, STEPS),
    case!("decay of channels", F16,  [2, 4, 4, 128, 256],   NONE,     CHANNELS),
    case!("linear attention",  BF16, [2, 2, 4, 64, 160],    LINEAR,   SUMS),
    case!("linear attention",  F32,  [1, 2, 2, 16, 16],     EXP,      SUMS),
    case!("no sequences",      F16,  [0, 2, 2, 64, 64],     NONE,     STEPS),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba-2 2.7B, 8 sequences",          BF16, [8, 1, 80, 128, 64],   UNSCALED, STEPS),
    case!("RetNet 6.7B, 8 sequences",           BF16, [8, 16, 16, 256, 256], NONE,     HEADS),
    case!("MiniMax-01, lightning, 8 sequences", BF16, [8, 64, 64, 128, 128], UNSCALED, HEADS),
    case!("GLA 1.3B, 8 sequences",              BF16, [8, 4, 4, 256, 256],   NONE,     CHANNELS),
    case!("linear attention, 8 sequences",      F16,  [8, 8, 8, 64, 64],     LINEAR,   SUMS),
];

/// Numbers of the standard normal distribution, and the case's extras.
pub(super) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let size = |name| case.size(op.path, name);
    let (b, h, d_k) = (size("b")?, size("h")?, size("d_k")?);
    for &(name, _) in case.extras {
        let normal = |seed, shape: &[usize], map: fn(f64) -> f64| {
            let values: Vec<_> = random::normal(seed, shape.iter().product()).into_iter().map(map).collect();
            HostTensor::from_f64(name, DType::F32, shape, &values)
        };
        let log_decay = |x: f64| -0.1 * (-1.2 * x).exp();
        inputs.push(match name {
            "decay_heads" => {
                let decays = crate::scan::linear_recurrence::retention_log_decays(h);
                HostTensor::from_slice(name, &[h], &decays)
            }
            "decay_steps" => normal(11, &[b, h], log_decay),
            "decay_channels" => normal(12, &[b, h, d_k], log_decay),
            "normaliser" => normal(13, &[b, h, d_k], f64::abs),
            _ => return Err(Error::Binding { op: op.path, problem: format!("case {:?} has extra {name}", case.name) }),
        });
    }
    Ok(inputs)
}
