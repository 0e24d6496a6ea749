//! The cases that `check` and `bench` go through, and their made-up input.

use crate::verify::{Case, HostTensor, Op, random};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s:literal, $h_k:literal, $h:literal, $d_k:literal, $d_v:literal], $options:expr, $extras:expr, $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s", $s), ("h_k", $h_k), ("h", $h), ("d_k", $d_k), ("d_v", $d_v), ("tokens", $b * $s)],
            options: $options,
            extras: $extras,
            gpu_only: $gpu_only,
        }
    };
}

const NONE: Set = &[];
const UNSCALED: Set = &[("scale", "1")];
const LINEAR: Set = &[("scale", "1"), ("feature_map", "elu_plus_one"), ("normaliser", "0.000001")];
const RELU: Set = &[("feature_map", "relu"), ("normaliser", "0.001"), ("chunk", "64")];
const EXP: Set = &[("feature_map", "exp"), ("normaliser", "0.001")];
const CHUNKS: Set = &[("chunk", "128")];
const HEADS: Set = &[("decay_heads", "retention")];
const STEPS: Set = &[("decay_steps", "normal")];
const STATE: Set = &[("decay_steps", "normal"), ("initial_state", "normal")];
const LENGTHS: Set = &[("decay_steps", "normal"), ("initial_state", "normal"), ("cu_seqlens", "0 100 100 229")];
const CHANNELS: Set = &[("decay_channels", "normal"), ("initial_state", "normal")];
const CHANNEL_LENGTHS: Set = &[("decay_channels", "normal"), ("cu_seqlens", "0 100 100 229")];
const MILD: Set = &[("decay_channels", "mild")];
const SUMS: Set = &[("initial_state", "normal"), ("initial_normaliser", "normal")];

/// Every instance, decay, feature map and unevenness at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("no decay",            F16,  [2, 100, 2, 2, 64, 64],     NONE,     NONE,    false),
    case!("no decay",            BF16, [1, 129, 2, 2, 128, 128],   NONE,     NONE,    false),
    case!("no decay",            F16,  [1, 65, 1, 1, 256, 256],    NONE,     NONE,    false),
    case!("uneven widths",       BF16, [1, 77, 1, 2, 48, 80],      NONE,     STATE,   false),
    case!("uneven widths",       F16,  [1, 40, 1, 1, 176, 16],     NONE,     STEPS,   false),
    case!("linear attention",    BF16, [1, 200, 2, 2, 64, 64],     LINEAR,   SUMS,    false),
    case!("linear attention",    F16,  [1, 130, 1, 1, 128, 96],    LINEAR,   NONE,    false),
    case!("relu",                F16,  [2, 150, 2, 2, 64, 64],     RELU,     NONE,    false),
    case!("exp",                 BF16, [1, 70, 2, 2, 32, 32],      EXP,      NONE,    false),
    case!("decay of heads",      BF16, [1, 300, 4, 4, 64, 128],    NONE,     HEADS,   false),
    case!("decay of steps",      F16,  [1, 256, 1, 4, 128, 64],    UNSCALED, STEPS,   false),
    case!("decay of steps",      BF16, [2, 65, 2, 4, 256, 64],     UNSCALED, STATE,   false),
    case!("chunks",              F16,  [2, 513, 1, 2, 64, 64],     CHUNKS,   STATE,   false),
    case!("chunks",              BF16, [1, 384, 2, 2, 128, 64],    CHUNKS,   HEADS,   false),
    case!("various lengths",     BF16, [3, 129, 1, 2, 64, 64],     CHUNKS,   LENGTHS, false),
    case!("decay of channels",   F16,  [1, 150, 2, 2, 64, 64],     NONE,     CHANNELS, false),
    case!("decay of channels",   BF16, [2, 99, 1, 2, 128, 64],     NONE,     CHANNELS, false),
    case!("decay of channels",   BF16, [1, 65, 1, 1, 256, 96],     NONE,     CHANNELS, false),
    case!("decay of channels",   F16,  [1, 50, 1, 1, 256, 64],     NONE,     CHANNELS, false),
    case!("decay of channels",   F16,  [1, 129, 1, 2, 80, 64],     NONE,     MILD,    false),
    case!("decay of channels",   BF16, [1, 257, 1, 1, 64, 128],    LINEAR,   MILD,    false),
    case!("chunks of channels",  BF16, [3, 129, 1, 2, 128, 64],    CHUNKS,   CHANNEL_LENGTHS, false),
    case!("no steps",            F16,  [2, 0, 2, 2, 64, 64],       NONE,     STATE,   false),
    case!("one step",            F16,  [1, 1, 2, 2, 64, 64],       NONE,     STATE,   false),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba-2 2.7B, 1024 tokens",          BF16, [1, 1024, 1, 80, 128, 64],   UNSCALED, STEPS,  false),
    case!("RetNet 6.7B, 1024 tokens",           BF16, [1, 1024, 16, 16, 256, 256], NONE,     HEADS,  false),
    case!("MiniMax-01, lightning, 1024 tokens", BF16, [1, 1024, 64, 64, 128, 128], UNSCALED, HEADS,  false),
    case!("linear attention, 1024 tokens",      F16,  [1, 1024, 8, 8, 64, 64],     LINEAR,   NONE,   false),
    case!("GLA 1.3B, 1024 tokens",              BF16, [1, 1024, 4, 4, 256, 256],   NONE,     MILD,   false),
    case!("Mamba-2 2.7B, 16384 tokens",         BF16, [1, 16384, 1, 80, 128, 64],  UNSCALED, STEPS,  true),
];

/// Numbers of the standard normal distribution, and the case's extras.
pub(super) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let size = |name| case.size(op.path, name);
    let (b, s, h, d_k, d_v) = (size("b")?, size("s")?, size("h")?, size("d_k")?, size("d_v")?);
    let offsets = case.extras.iter().find(|(name, _)| *name == "cu_seqlens").map(|&(_, text)| text);
    let total: Option<usize> = offsets.and_then(|text| text.rsplit(' ').next()?.parse().ok());
    let positions = total.map_or(vec![b, s], |total| vec![total]);
    if total.is_some() {
        for (tensor, seed) in inputs.iter_mut().zip(1..) {
            let shape = [&positions, &tensor.shape[2..]].concat();
            *tensor = normal(&tensor.name, tensor.dtype, seed, &shape, |x| x);
        }
    }
    for &(name, text) in case.extras {
        let of_positions = |rest: &[usize]| [&positions, rest].concat();
        inputs.push(match name {
            "decay_heads" => {
                let decays: Vec<_> = super::retention_log_decays(h).into_iter().map(f64::from).collect();
                HostTensor::from_f64(name, DType::F32, &[h], &decays)
            }
            "decay_steps" => normal(name, DType::F32, 11, &of_positions(&[h]), log_decay),
            "decay_channels" => {
                let map = if text == "mild" { |x: f64| 0.1 * log_decay(x) } else { log_decay };
                normal(name, DType::F32, 12, &of_positions(&[h, d_k]), map)
            }
            "initial_state" => normal(name, DType::F32, 13, &[b, h, d_k, d_v], |x| x),
            "initial_normaliser" => normal(name, DType::F32, 14, &[b, h, d_k], f64::abs),
            "cu_seqlens" => {
                let numbers: Vec<i32> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
                HostTensor::from_slice(name, &[numbers.len()], &numbers)
            }
            _ => return Err(Error::Binding { op: op.path, problem: format!("case {:?} has extra {name}", case.name) }),
        });
    }
    Ok(inputs)
}

/// From -0.002 to -2.5, for x from 3 to -3: some steps forget much, most little.
fn log_decay(x: f64) -> f64 {
    -0.1 * (-1.2 * x).exp()
}

fn normal(name: &str, dtype: DType, seed: u64, shape: &[usize], map: impl Fn(f64) -> f64) -> HostTensor {
    let values: Vec<_> = random::normal(seed, shape.iter().product()).into_iter().map(map).collect();
    HostTensor::from_f64(name, dtype, shape, &values)
}
