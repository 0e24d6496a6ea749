//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $s_k:literal, $h_q:literal, $h_kv:literal, $d:literal], $options:expr, $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s_q", $s_q), ("s_k", $s_k), ("h_q", $h_q), ("h_kv", $h_kv), ("d", $d), ("d_v", $d)],
            options: $options,
            extras: &[],
            gpu_only: $gpu_only,
        }
    };
}

const NONE: Set = &[];
const CAUSAL: Set = &[("causal", "true")];
const WINDOW: Set = &[("causal", "true"), ("window_left", "63")];
const BOTH: Set = &[("window_left", "17"), ("window_right", "40")];
const SCALE: Set = &[("causal", "true"), ("scale", "0.0625"), ("window_left", "127")];

/// Every instance, mask, grouping and unevenness at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("full",                F16,  [2, 128, 128, 2, 2, 64],  NONE,   false),
    case!("causal",              F16,  [1, 200, 200, 2, 2, 64],  CAUSAL, false),
    case!("grouped heads",       BF16, [1, 129, 129, 8, 2, 64],  CAUSAL, false),
    case!("one key-value head",  BF16, [1, 100, 140, 4, 1, 64],  NONE,   false),
    case!("full",                F16,  [1, 96, 96, 2, 1, 128],   NONE,   false),
    case!("causal",              BF16, [1, 150, 150, 2, 2, 128], CAUSAL, false),
    case!("more keys",           F16,  [1, 33, 300, 2, 1, 128],  CAUSAL, false),
    case!("fewer keys",          F16,  [1, 150, 70, 2, 2, 128],  CAUSAL, false),
    case!("window to the left",  F16,  [1, 230, 230, 2, 2, 128], WINDOW, false),
    case!("window on both sides", BF16, [1, 170, 190, 1, 1, 128], BOTH,  false),
    case!("one query",           BF16, [2, 1, 385, 4, 2, 64],    NONE,   false),
    case!("full",                F16,  [1, 70, 70, 2, 1, 256],   NONE,   false),
    case!("causal",              BF16, [1, 90, 90, 1, 1, 256],   CAUSAL, false),
    case!("Gemma 3 270M, local layer", F16, [1, 160, 160, 2, 1, 256], SCALE, false),
    case!("no keys",             F16,  [1, 40, 0, 2, 2, 64],     NONE,   false),
    case!("no queries",          F16,  [1, 0, 40, 2, 2, 64],     NONE,   false),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("GPT-2, 512 tokens",             F16,  [1, 512, 512, 12, 12, 64],    CAUSAL, false),
    case!("Llama 3 8B, 512 tokens",        BF16, [1, 512, 512, 32, 8, 128],    CAUSAL, false),
    case!("Gemma 3 270M, global layer",    F16,  [1, 512, 512, 4, 1, 256],     CAUSAL, false),
    case!("Gemma 3 270M, local layer",     F16,  [1, 1024, 1024, 4, 1, 256],   &[("causal", "true"), ("window_left", "511")], false),
    case!("Llama 3 8B, 4096 tokens",       BF16, [4, 4096, 4096, 32, 8, 128],  CAUSAL, true),
    case!("Llama 3 8B, 16384 tokens",      BF16, [1, 16384, 16384, 32, 8, 128], CAUSAL, true),
    case!("GPT-2, 1024 tokens, batch 16",  F16,  [16, 1024, 1024, 12, 12, 64], CAUSAL, true),
    case!("Gemma 2 9B, 4096 tokens",       BF16, [1, 4096, 4096, 16, 8, 256],  CAUSAL, true),
];
