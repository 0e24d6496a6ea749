//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident = $text:literal, $format:literal, [$rows:literal, $n:literal, $k:literal]) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("rows", $rows), ("n", $n), ("k", $k)],
            options: &[("format", $format), ("k", stringify!($k)), ("dtype", $text)],
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every format, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("gathered rows", F32 = "f32", "q4_0",   [7, 30, 96]),
    case!("gathered rows", F16 = "f16", "q4_1",   [7, 30, 64]),
    case!("gathered rows", BF16 = "bf16", "q5_0",   [7, 30, 640]),
    case!("gathered rows", F32 = "f32", "q5_1",   [7, 30, 160]),
    case!("gathered rows", F16 = "f16", "q8_0",   [7, 30, 8192]),
    case!("gathered rows", F32 = "f32", "q2_k",   [7, 30, 256]),
    case!("gathered rows", F16 = "f16", "q3_k",   [7, 30, 768]),
    case!("gathered rows", BF16 = "bf16", "q4_k",   [7, 30, 512]),
    case!("gathered rows", F32 = "f32", "q5_k",   [7, 30, 4352]),
    case!("gathered rows", F16 = "f16", "q6_k",   [7, 30, 1280]),
    case!("gathered rows", F32 = "f32", "iq4_nl", [7, 30, 32]),
    case!("gathered rows", F32 = "f32", "iq4_xs", [7, 30, 256]),
    case!("no rows",       F32 = "f32", "q8_0",   [0, 30, 64]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, embedding of 512 tokens", F32 = "f32", "q8_0", [512, 4096, 640]),
    case!("Llama 3 8B, embedding of 128 tokens",   F16 = "f16", "q4_k", [128, 1024, 4096]),
    case!("Llama 3 8B, embedding of 128 tokens",   F16 = "f16", "q6_k", [128, 1024, 4096]),
];
