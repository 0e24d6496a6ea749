//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident, [$n:literal, $b:literal, $s_q:literal, $h_q:literal, $d:literal], $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("n", $n), ("b", $b), ("s_q", $s_q), ("h_q", $h_q), ("d", $d)],
            options: &[],
            extras: &[],
            gpu_only: $gpu_only,
        }
    };
}

/// Every type, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("two parts",       F16,  [2, 1, 64, 4, 64],   false),
    case!("two parts",       BF16, [2, 2, 33, 3, 128],  false),
    case!("two parts",       F32,  [2, 1, 40, 2, 256],  false),
    case!("many parts",      F32,  [37, 1, 5, 3, 72],   false),
    case!("one part",        F16,  [1, 1, 100, 2, 8],   false),
    case!("no parts",        BF16, [0, 1, 10, 2, 64],   false),
    case!("no queries",      F16,  [3, 1, 0, 2, 64],    false),
    case!("one query",       F32,  [8, 5, 1, 8, 128],   false),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Llama 3 8B, decoding, 8 splits",        F32,  [8, 16, 1, 32, 128],      false),
    case!("Llama 3 70B, decoding, 16 splits",      F32,  [16, 8, 1, 64, 128],      false),
    case!("Llama 3 8B, prefill in 2 parts",        BF16, [2, 1, 512, 32, 128],     false),
    case!("Gemma 3 270M, prefill in 2 parts",      F16,  [2, 1, 512, 4, 256],      false),
    case!("Llama 3 8B, 16384 tokens in 2 parts",   BF16, [2, 1, 16384, 32, 128],   true),
];
