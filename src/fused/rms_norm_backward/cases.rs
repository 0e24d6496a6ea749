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
    case!("no weights",          F32,  [5, 640],    &[],    &[]),
    case!("weights",             F16,  [33, 128],   &[],    &[("weight", "f16")]),
    case!("weights of f32",      BF16, [7, 2048],   GEMMA,  &[("weight", "f32")]),
    case!("residual",            F32,  [9, 1024],   &[],    &[("weight", "f16"), ("addend", "f32")]),
    case!("residual of bf16",    BF16, [6, 4096],   GEMMA,  &[("weight", "bf16"), ("addend", "bf16")]),
    case!("odd length",          F16,  [11, 257],   &[],    &[("weight", "bf16")]),
    case!("longer than held",    F32,  [40, 9000],  &[],    &[("weight", "f32")]),
    case!("no rows",             F32,  [0, 64],     &[],    &[("weight", "f32")]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, 512 tokens",           BF16, [512, 640],    GEMMA, &[("weight", "bf16")]),
    case!("Llama 3 8B, 512 tokens, residual",   BF16, [512, 4096],   &[],   &[("weight", "bf16"), ("addend", "bf16")]),
];
