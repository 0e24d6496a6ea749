//! The cases that `check` and `bench` go through, and their made-up input.

use crate::verify::{Case, HostTensor, Op, random};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s:literal, $h_k:literal, $h:literal, $d_k:literal, $d_v:literal], $options:expr, $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s", $s), ("h_k", $h_k), ("h", $h), ("d_k", $d_k), ("d_v", $d_v), ("tokens", $b * $s)],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

const NONE: Set = &[];
const UNSCALED: Set = &[("scale", "1")];
const CHUNKS: Set = &[("chunk", "64")];
const HEADS: Set = &[("decay_heads", "retention")];
const STEPS: Set = &[("decay_steps", "normal")];
const STATES: Set = &[("decay_steps", "normal"), ("initial_state", "normal"), ("d_final_state", "normal")];
const HEADS_STATES: Set = &[("decay_heads", "retention"), ("initial_state", "normal"), ("d_final_state", "normal")];
const CHANNELS: Set = &[("decay_channels", "normal"), ("initial_state", "normal"), ("d_final_state", "normal")];
const MILD: Set = &[("decay_channels", "mild")];
const CHANNEL_LENGTHS: Set = &[("decay_channels", "mild"), ("d_final_state", "normal"), ("cu_seqlens", "0 50 50 129")];
const LINEAR: Set = &[("scale", "1"), ("feature_map", "elu_plus_one"), ("normaliser", "0.000001")];
const MAPPED: Set = &[("feature_map", "elu_plus_one"), ("chunk", "64")];
const RELU: Set = &[("feature_map", "relu"), ("normaliser", "0.001"), ("chunk", "64")];
const EXP: Set = &[("feature_map", "exp"), ("normaliser", "0.001")];
const SUMS: Set = &[
    ("initial_state", "normal"),
    ("d_final_state", "normal"),
    ("initial_normaliser", "normal"),
    ("d_final_normaliser", "normal"),
];
const STEPS_SUMS: Set = &[
    ("decay_steps", "normal"),
    ("initial_normaliser", "normal"),
    ("d_final_normaliser", "normal"),
    ("cu_seqlens", "0 50 50 129"),
];
const CHANNELS_SUMS: Set =
    &[("decay_channels", "mild"), ("initial_normaliser", "normal"), ("d_final_normaliser", "normal")];
const LENGTHS: Set = &[
    ("decay_steps", "normal"),
    ("initial_state", "normal"),
    ("d_final_state", "normal"),
    ("cu_seqlens", "0 50 50 129"),
];

/// Every instance, decay, feature map and unevenness at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("no decay",          F16,  [1, 70, 2, 2, 64, 64],    NONE,     NONE),
    case!("no decay",          BF16, [1, 40, 1, 1, 128, 128],  NONE,     NONE),
    case!("uneven widths",     BF16, [2, 33, 1, 2, 48, 80],    NONE,     STATES),
    case!("wide values",       F16,  [1, 20, 1, 1, 32, 256],   NONE,     STATES),
    case!("wide keys",         BF16, [1, 20, 1, 1, 256, 32],   NONE,     STEPS),
    case!("decay of heads",    BF16, [2, 100, 2, 2, 64, 64],   NONE,     HEADS_STATES),
    case!("decay of steps",    F16,  [1, 100, 1, 4, 64, 64],   UNSCALED, STEPS),
    case!("chunks",            BF16, [1, 150, 1, 2, 64, 64],   CHUNKS,   STATES),
    case!("chunks",            F16,  [1, 130, 2, 2, 64, 64],   CHUNKS,   HEADS),
    case!("various lengths",   BF16, [3, 79, 1, 2, 64, 64],    CHUNKS,   LENGTHS),
    case!("decay of channels", F16,  [1, 70, 1, 2, 64, 48],    NONE,     CHANNELS),
    case!("decay of channels", BF16, [1, 50, 2, 2, 32, 128],   NONE,     CHANNELS),
    case!("decay of channels", BF16, [1, 20, 1, 1, 144, 256],  NONE,     CHANNELS),
    case!("mild decay",        F16,  [1, 70, 1, 1, 96, 32],    NONE,     MILD),
    case!("mild decay",        BF16, [2, 40, 1, 2, 64, 64],    NONE,     MILD),
    case!("various lengths",   BF16, [3, 79, 1, 2, 48, 64],    CHUNKS,   CHANNEL_LENGTHS),
    case!("linear attention",  BF16, [1, 150, 2, 2, 64, 64],   LINEAR,   SUMS),
    case!("linear attention",  F16,  [1, 70, 1, 2, 128, 96],   LINEAR,   NONE),
    case!("linear attention",  BF16, [1, 50, 1, 2, 64, 48],    LINEAR,   CHANNELS_SUMS),
    case!("elu plus one",      F16,  [1, 70, 1, 2, 48, 64],    MAPPED,   STATES),
    case!("relu",              F16,  [3, 79, 1, 2, 64, 64],    RELU,     STEPS_SUMS),
    case!("exp",               BF16, [1, 70, 2, 2, 32, 256],   EXP,      HEADS_STATES),
    case!("no steps",          F16,  [2, 0, 1, 2, 64, 64],     NONE,     STATES),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba-2 2.7B, 256 tokens, 8 heads",   BF16, [1, 256, 1, 8, 128, 64],   UNSCALED, STEPS),
    case!("RetNet 6.7B, 256 tokens, 2 heads",    BF16, [1, 256, 2, 2, 256, 256],  NONE,     HEADS),
    case!("GLA 1.3B, 256 tokens, 1 head",        BF16, [1, 256, 1, 1, 256, 256],  NONE,     MILD),
    case!("MiniMax-01, 256 tokens, 4 heads",     BF16, [1, 256, 4, 4, 128, 128],  UNSCALED, HEADS),
    case!("linear attention, 256 tokens",        F16,  [1, 256, 8, 8, 64, 64],    LINEAR,   NONE),
];

/// Numbers of the standard normal distribution, and the case's extras.
pub(super) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let size = |name| case.size(op.path, name);
    let (b, s, h, d_k, d_v) = (size("b")?, size("s")?, size("h")?, size("d_k")?, size("d_v")?);
    let offsets = case.extras.iter().find(|(name, _)| *name == "cu_seqlens").map(|&(_, text)| text);
    let total: Option<usize> = offsets.and_then(|text| text.rsplit(' ').next()?.parse().ok());
    let positions = total.map_or(vec![b, s], |total| vec![total]);
    let normal = |name: &str, dtype, seed, shape: &[usize], map: fn(f64) -> f64| {
        let values: Vec<_> = random::normal(seed, shape.iter().product()).into_iter().map(map).collect();
        HostTensor::from_f64(name, dtype, shape, &values)
    };
    if total.is_some() {
        for (tensor, seed) in inputs.iter_mut().zip(1..) {
            let shape = [&positions, &tensor.shape[2..]].concat();
            *tensor = normal(&tensor.name, tensor.dtype, seed, &shape, |x| x);
        }
    }
    for &(name, text) in case.extras {
        inputs.push(match name {
            "decay_heads" => {
                HostTensor::from_slice(name, &[h], &crate::scan::linear_recurrence::retention_log_decays(h))
            }
            "decay_steps" => {
                normal(name, DType::F32, 11, &[&positions[..], &[h]].concat(), |x| -0.1 * (-1.2 * x).exp())
            }
            "decay_channels" => {
                let map =
                    if text == "mild" { |x: f64| -0.01 * (-1.2 * x).exp() } else { |x: f64| -0.1 * (-1.2 * x).exp() };
                normal(name, DType::F32, 12, &[&positions[..], &[h, d_k]].concat(), map)
            }
            "initial_normaliser" => normal(name, DType::F32, 15, &[b, h, d_k], f64::abs),
            "d_final_normaliser" => normal(name, DType::F32, 16, &[b, h, d_k], |x| x),
            "initial_state" => normal(name, DType::F32, 13, &[b, h, d_k, d_v], |x| x),
            "d_final_state" => normal(name, DType::F32, 14, &[b, h, d_k, d_v], |x| x),
            "cu_seqlens" => {
                let numbers: Vec<i32> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
                HostTensor::from_slice(name, &[numbers.len()], &numbers)
            }
            _ => return Err(Error::Binding { op: op.path, problem: format!("case {:?} has extra {name}", case.name) }),
        });
    }
    Ok(inputs)
}
