//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident, $format:literal, [$m:literal, $n:literal, $k:literal] $(, $option:literal = $value:literal)*) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("m", $m), ("n", $n), ("k", $k)],
            options: &[("format", $format), ("k", stringify!($k)) $(, ($option, $value))*],
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every format, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("one row",      F32,  "q4_0",   [1, 67, 640]),
    case!("one row",      F16,  "q4_1",   [1, 67, 96]),
    case!("one row",      BF16, "q5_0",   [1, 67, 640]),
    case!("two rows",     F32,  "q5_1",   [2, 67, 352]),
    case!("one row",      F16,  "q8_0",   [1, 67, 2048]),
    case!("eight rows",   F32,  "q2_k",   [8, 40, 512]),
    case!("one row",      F16,  "q3_k",   [1, 40, 768]),
    case!("three rows",   BF16, "q4_k",   [3, 40, 1024]),
    case!("one row",      F32,  "q5_k",   [1, 40, 2048]),
    case!("one row",      F16,  "q6_k",   [1, 40, 2304]),
    case!("one row",      F32,  "iq4_nl", [1, 67, 32]),
    case!("one row",      F32,  "iq4_xs", [1, 40, 512]),
    case!("twenty rows",  F16,  "q4_k",   [20, 130, 512]),
    case!("exact",        F32,  "q4_k",   [1, 67, 1024], "activations" = "exact"),
    case!("exact",        F16,  "q6_k",   [5, 40, 512], "activations" = "exact"),
    case!("exact",        BF16, "q5_0",   [1, 67, 640], "activations" = "exact"),
    case!("exact, many",  F16,  "q4_k",   [70, 720, 512], "activations" = "exact"),
    case!("exact, many",  F32,  "q5_0",   [2000, 67, 96], "activations" = "exact"),
    case!("no rows",      F32,  "q8_0",   [0, 30, 64]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, feed-forward up",        F32, "q5_0",   [1, 2048, 640]),
    case!("Gemma 3 270M, feed-forward down",      F32, "q6_k",   [1, 640, 2048]),
    case!("Llama 3 8B, attention output",         F16, "q4_k",   [1, 4096, 4096]),
    case!("Llama 3 8B, attention output",         F16, "q4_0",   [1, 4096, 4096]),
    case!("Llama 3 8B, attention output",         F16, "q8_0",   [1, 4096, 4096]),
    case!("Llama 3 8B, keys, 8 rows",             F16, "q4_k",   [8, 1024, 4096]),
    case!("Llama 3 8B, keys",                     F16, "q6_k",   [1, 1024, 4096]),
    case!("Llama 3 8B, keys, exact",              F16, "q4_k",   [1, 1024, 4096], "activations" = "exact"),
    case!("Llama 3 8B, attention output, exact, 256 rows", F16, "q4_k", [256, 4096, 4096], "activations" = "exact"),
];
