//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $s_k:literal, $h_q:literal, $h_kv:literal, $d:literal], $options:expr, $gpu_only:literal) => {
        case!($name, $dtype, [$b, $s_q, $s_k, $h_q, $h_kv, $d, $d], $options, NONE, $gpu_only)
    };
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $s_k:literal, $h_q:literal, $h_kv:literal, $d:literal, $d_v:literal], $options:expr, $extras:expr, $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s_q", $s_q), ("s_k", $s_k), ("h_q", $h_q), ("h_kv", $h_kv), ("d", $d), ("d_v", $d_v)],
            options: $options,
            extras: $extras,
            gpu_only: $gpu_only,
        }
    };
}

const NONE: Set = &[];
const CAUSAL: Set = &[("causal", "true")];
const WINDOW: Set = &[("causal", "true"), ("window_left", "63")];
const BOTH: Set = &[("window_left", "17"), ("window_right", "40")];
const SCALE: Set = &[("causal", "true"), ("scale", "0.0625"), ("window_left", "127")];
const SOFTCAP: Set = &[("causal", "true"), ("softcap", "2.5")];
const DROPOUT: Set = &[("causal", "true"), ("dropout_p", "0.1"), ("dropout_seed", "42")];
const SINKS: Set = &[("sinks", "normal")];
const ALIBI: Set = &[("alibi_slopes", "powers")];
const BIAS: Set = &[("bias", "b h_q")];
const BIAS_OF_HEADS: Set = &[("bias", "1 h_q f32")];
const BIAS_OF_BATCHES: Set = &[("bias", "b 1")];
const BIAS_OF_ALL: Set = &[("bias", "1 1")];
const TREE: Set = &[("mask_bits", "b 1")];
const PREFIX: Set = &[("prefix", "70")];
const LENGTHS: Set = &[("cu_seqlens_q", "0 100 100 229"), ("cu_seqlens_k", "0 33 40 300")];
const ALL: Set = &[
    ("sinks", "normal"),
    ("alibi_slopes", "powers"),
    ("bias", "1 1"),
    ("mask_bits", "1 h_q"),
    ("prefix", "50"),
    ("cu_seqlens_q", "0 60 61 140"),
    ("cu_seqlens_k", "0 60 150 229"),
];
const ALL_OPTIONS: Set = &[
    ("causal", "true"),
    ("window_left", "70"),
    ("softcap", "3"),
    ("dropout_p", "0.2"),
    ("dropout_seed", "12345678901"),
];

/// Every instance, mask, grouping, feature and unevenness at least once.
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
    case!("keys wider than values", BF16, [1, 70, 90, 2, 2, 192, 128], CAUSAL, NONE, false),
    case!("values wider than keys", F16,  [1, 70, 90, 2, 1, 40, 72], CAUSAL, NONE, false),
    case!("head dim 8",          F16,  [1, 70, 70, 2, 1, 8, 8],   CAUSAL, NONE, false),
    case!("head dim 80",         BF16, [1, 70, 130, 2, 1, 80, 80], NONE,  NONE, false),
    case!("head dim 200",        F16,  [1, 70, 70, 2, 2, 200, 200], CAUSAL, NONE, false),
    case!("sinks",               BF16, [2, 70, 90, 4, 2, 64, 64], WINDOW, SINKS, false),
    case!("softcap",             F16,  [1, 70, 130, 2, 1, 128, 128], SOFTCAP, NONE, false),
    case!("ALiBi",               BF16, [1, 70, 90, 4, 4, 64, 64], NONE, ALIBI, false),
    case!("bias",                F16,  [2, 66, 101, 2, 1, 128, 128], NONE, BIAS, false),
    case!("bias of f32, of heads", BF16, [2, 66, 100, 2, 2, 64, 64], CAUSAL, BIAS_OF_HEADS, false),
    case!("bias of batches",     F16,  [2, 66, 100, 4, 2, 64, 64], CAUSAL, BIAS_OF_BATCHES, false),
    case!("bias of all",         BF16, [2, 40, 70, 4, 2, 256, 256], WINDOW, BIAS_OF_ALL, false),
    case!("custom mask",         F16,  [2, 66, 101, 2, 2, 64, 64], NONE, TREE, false),
    case!("prefix",              BF16, [1, 110, 130, 2, 1, 64, 64], CAUSAL, PREFIX, false),
    case!("dropout",             F16,  [2, 70, 100, 2, 1, 64, 64], DROPOUT, NONE, false),
    case!("various lengths",     BF16, [3, 129, 260, 4, 2, 128, 128], CAUSAL, LENGTHS, false),
    case!("all features",        F16,  [3, 79, 90, 4, 2, 64, 64], ALL_OPTIONS, ALL, false),
    case!("all features",        BF16, [3, 79, 90, 4, 2, 128, 96], ALL_OPTIONS, ALL, false),
    case!("all features",        BF16, [3, 79, 90, 2, 2, 256, 136], ALL_OPTIONS, ALL, false),
    case!("full",                F32,  [2, 70, 130, 2, 1, 64],   NONE,   false),
    case!("causal",              F32,  [1, 100, 100, 4, 2, 128], CAUSAL, false),
    case!("window to the left",  F32,  [1, 100, 100, 2, 1, 256], WINDOW, false),
    case!("keys wider than values", F32, [1, 50, 60, 2, 2, 192, 128], CAUSAL, SINKS, false),
    case!("head dim 40 and 72",  F32,  [1, 70, 90, 2, 1, 40, 72], BOTH, NONE, false),
    case!("head dim 8",          F32,  [1, 70, 70, 2, 1, 8, 8],   CAUSAL, NONE, false),
    case!("softcap",             F32,  [1, 70, 90, 2, 1, 128, 128], SOFTCAP, NONE, false),
    case!("ALiBi",               F32,  [1, 70, 90, 2, 2, 96, 96], NONE, ALIBI, false),
    case!("bias",                F32,  [2, 66, 101, 2, 1, 64, 64], NONE, BIAS, false),
    case!("bias of all",         F32,  [2, 40, 70, 4, 2, 64, 64], WINDOW, BIAS_OF_ALL, false),
    case!("custom mask",         F32,  [2, 66, 70, 2, 2, 64, 64], NONE, TREE, false),
    case!("dropout",             F32,  [2, 70, 50, 2, 1, 256, 200], DROPOUT, NONE, false),
    case!("various lengths",     F32,  [3, 129, 260, 2, 1, 128, 128], CAUSAL, LENGTHS, false),
    case!("all features",        F32,  [3, 79, 90, 4, 2, 64, 64], ALL_OPTIONS, ALL, false),
    case!("all features",        F32,  [3, 79, 90, 2, 2, 128, 120], ALL_OPTIONS, ALL, false),
    case!("all features",        F32,  [3, 79, 90, 2, 1, 136, 256], ALL_OPTIONS, ALL, false),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("GPT-2, 512 tokens",             F16,  [1, 512, 512, 12, 12, 64],    CAUSAL, false),
    case!("Llama 3 8B, 512 tokens",        BF16, [1, 512, 512, 32, 8, 128],    CAUSAL, false),
    case!("Llama 3 8B, 3 prompts",         BF16, [3, 300, 300, 32, 8, 128, 128], CAUSAL, &[("cu_seqlens_q", "0 300 350 512"), ("cu_seqlens_k", "0 300 350 512")], false),
    case!("Llama 3 70B, 256 tokens",       BF16, [1, 256, 256, 64, 8, 128],    CAUSAL, false),
    case!("Gemma 3 270M, global layer",    F16,  [1, 512, 512, 4, 1, 256],     CAUSAL, false),
    case!("Gemma 3 270M, local layer",     F16,  [1, 1024, 1024, 4, 1, 256],   &[("causal", "true"), ("window_left", "511")], false),
    case!("Gemma 2 9B, softcap",           BF16, [1, 256, 256, 16, 8, 256, 256], &[("causal", "true"), ("softcap", "50")], NONE, false),
    case!("Qwen3 8B, 512 tokens",          BF16, [1, 512, 512, 32, 8, 128],    CAUSAL, false),
    case!("DeepSeek-V3, 256 tokens",       BF16, [1, 256, 256, 128, 128, 192, 128], CAUSAL, NONE, false),
    case!("GPT-OSS 20B, window and sinks", BF16, [1, 256, 256, 64, 8, 64, 64], &[("causal", "true"), ("window_left", "127")], SINKS, false),
    case!("Llama 3 8B, 256 tokens, f32",   F32,  [1, 256, 256, 32, 8, 128],    CAUSAL, false),
    case!("Llama 3 8B, 4096 tokens",       BF16, [4, 4096, 4096, 32, 8, 128],  CAUSAL, true),
    case!("Llama 3 8B, 16384 tokens",      BF16, [1, 16384, 16384, 32, 8, 128], CAUSAL, true),
    case!("Llama 3 70B, 8192 tokens",      BF16, [1, 8192, 8192, 64, 8, 128],  CAUSAL, true),
    case!("Qwen3 8B, 8192 tokens",         BF16, [1, 8192, 8192, 32, 8, 128],  CAUSAL, true),
    case!("DeepSeek-V3, 4096 tokens",      BF16, [1, 4096, 4096, 128, 128, 192, 128], CAUSAL, NONE, true),
    case!("GPT-2, 1024 tokens, batch 16",  F16,  [16, 1024, 1024, 12, 12, 64], CAUSAL, true),
    case!("Gemma 2 9B, 4096 tokens",       BF16, [1, 4096, 4096, 16, 8, 256],  CAUSAL, true),
];
