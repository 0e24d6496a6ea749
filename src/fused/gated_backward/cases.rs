//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type of the gate, `[m, d]`, options, other inputs with their types.
macro_rules! case {
    ($name:literal, $dtype:ident, [$m:literal, $d:literal], $options:expr, $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("m", $m), ("d", $d)],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

const GELU: &[(&str, &str)] = &[("gelu", "true")];
const GELU_TANH: &[(&str, &str)] = &[("gelu_tanh", "true")];
const RELU2: &[(&str, &str)] = &[("relu2", "true")];

/// Every activation, type and mix, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("SwiGLU",              F16,  [3, 1024],  &[],        &[("up", "f16")]),
    case!("SwiGLU, mixed",       BF16, [5, 640],   &[],        &[("up", "f32")]),
    case!("GEGLU",               F32,  [4, 768],   GELU,       &[("up", "f32")]),
    case!("GEGLU, tanh",         BF16, [7, 2048],  GELU_TANH,  &[("up", "bf16")]),
    case!("squared ReLU, gated", F16,  [9, 333],   RELU2,      &[("up", "f16")]),
    case!("squared ReLU",        BF16, [2, 4096],  RELU2,      &[]),
    case!("SiLU",                F32,  [1, 1],     &[],        &[]),
    case!("no rows",             F32,  [0, 64],    GELU_TANH,  &[("up", "f32")]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, 512 tokens",        F16,  [512, 2048],   GELU_TANH, &[("up", "f16")]),
    case!("Llama 3 8B, 256 tokens",          BF16, [256, 14336],  &[],       &[("up", "bf16")]),
];
