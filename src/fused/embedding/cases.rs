//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[m, n, d]`, options.
macro_rules! case {
    ($name:literal, $dtype:ident, [$m:literal, $n:literal, $d:literal], $options:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("m", $m), ("n", $n), ("d", $d)],
            options: $options,
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every type, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("f16",         F16,  [33, 100, 640],  &[("scale", "25.25")]),
    case!("bf16",        BF16, [7, 50, 4096],   &[]),
    case!("f32",         F32,  [5, 1000, 96],   &[("scale", "-0.5")]),
    case!("odd length",  F16,  [9, 10, 77],     &[]),
    case!("one",         F32,  [1, 1, 1],       &[]),
    case!("none",        F32,  [0, 4, 8],       &[]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, 512 tokens",  BF16, [512, 16384, 640],   &[("scale", "25.25")]),
    case!("Llama 3 8B, 128 tokens",    BF16, [128, 4096, 4096],   &[]),
];
