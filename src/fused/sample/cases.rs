//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[m, n]`, options.
macro_rules! case {
    ($name:literal, $dtype:ident, [$m:literal, $n:literal], $options:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("m", $m), ("n", $n)],
            options: $options,
            extras: &[],
            gpu_only: false,
        }
    };
}

const GREEDY: &[(&str, &str)] = &[("temperature", "0")];
const NUCLEUS: &[(&str, &str)] = &[("temperature", "0.8"), ("top_p", "0.9"), ("seed", "42")];

/// Every type and filter, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("largest",       F32,  [5, 1000],    GREEDY),
    case!("all",           F16,  [33, 640],    &[("seed", "7")]),
    case!("top-k",         BF16, [20, 5000],   &[("top_k", "50"), ("seed", "8")]),
    case!("top-p",         F32,  [20, 5000],   NUCLEUS),
    case!("min-p",         F16,  [20, 5000],   &[("min_p", "0.05"), ("seed", "9"), ("step", "3")]),
    case!("all filters",   F32,  [20, 5001],   &[("top_k", "64"), ("top_p", "0.95"), ("min_p", "0.01"), ("temperature", "1.5")]),
    case!("one token",     F32,  [3, 1],       &[("top_p", "0.5")]),
    case!("long rows",     F32,  [2, 100000],  NUCLEUS),
    case!("no rows",       BF16, [0, 64],      &[]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, largest",       F32, [1, 262144],  GREEDY),
    case!("Gemma 3 270M, top-p 0.9",     F32, [1, 262144],  NUCLEUS),
    case!("Llama 3 8B, 16 rows, top-k",  F16, [16, 128256], &[("top_k", "40"), ("temperature", "0.7")]),
];
