//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type of the rows, `[m, d]`, options, other inputs with their types.
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

/// Weights are distances from 1.
const GEMMA: &[(&str, &str)] = &[("weight_offset", "1")];

/// Every type and mix, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("no weights",          F32,  [5, 640],    &[],                    &[]),
    case!("weights",             F16,  [33, 128],   &[],                    &[("weight", "f16")]),
    case!("weights of f32",      BF16, [7, 2048],   GEMMA,                  &[("weight", "f32")]),
    case!("residual",            F16,  [9, 1024],   &[("epsilon", "1e-5")], &[("weight", "f16"), ("residual", "f32")]),
    case!("residual of bf16",    BF16, [6, 4096],   &[],                    &[("weight", "bf16"), ("residual", "bf16")]),
    case!("behind a sublayer",   F16,  [4, 640],    GEMMA,                  &[("weight", "f32"), ("addend", "f32")]),
    case!("before and behind",   F32,  [3, 96],     &[],                    &[("residual", "f16"), ("addend", "bf16")]),
    case!("odd length",          F16,  [11, 257],   &[],                    &[("weight", "bf16"), ("residual", "f16")]),
    case!("one element",         BF16, [3, 1],      &[],                    &[("weight", "f32")]),
    case!("longer than held",    F32,  [2, 20000],  &[],                    &[("weight", "f32"), ("residual", "f32")]),
    case!("no rows",             F32,  [0, 64],     &[],                    &[]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, decoding",             F32,  [1, 640],      GEMMA, &[("weight", "f32")]),
    case!("Gemma 3 270M, 512 tokens, behind",   F16,  [512, 640],    GEMMA, &[("weight", "f32"), ("addend", "f32")]),
    case!("Gemma 3 270M, heads of q, 2048 tokens", F16, [8192, 256], GEMMA, &[("weight", "f16")]),
    case!("Llama 3 8B, 2048 tokens, residual",  BF16, [2048, 4096],  &[],   &[("weight", "bf16"), ("residual", "bf16")]),
    case!("Llama 3 405B, 256 tokens",           BF16, [256, 16384],  &[],   &[("weight", "bf16")]),
];
