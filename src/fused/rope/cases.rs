//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[b, s, h, d, n]`, options.
macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s:literal, $h:literal, $d:literal, $n:literal], $options:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s", $s), ("h", $h), ("d", $d), ("n", $n)],
            options: $options,
            extras: &[],
            gpu_only: false,
        }
    };
}

const INTERLEAVED: &[(&str, &str)] = &[("interleaved", "true")];
const INVERSE: &[(&str, &str)] = &[("inverse", "true")];
const BOTH: &[(&str, &str)] = &[("interleaved", "true"), ("inverse", "true"), ("magnitude", "1.25")];
const GLOBAL: &[(&str, &str)] = &[("base", "1000000")];

/// Every type, kind and direction, whole and partial.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("halves",              F16,  [1, 33, 5, 64, 32],    &[]),
    case!("halves, backward",    BF16, [2, 17, 4, 256, 128],  INVERSE),
    case!("halves of f32",       F32,  [1, 9, 4, 128, 64],    GLOBAL),
    case!("interleaved",         F16,  [2, 16, 3, 128, 64],   INTERLEAVED),
    case!("interleaved of f32",  F32,  [1, 5, 2, 80, 40],     BOTH),
    case!("partial",             BF16, [1, 12, 8, 128, 16],   &[]),
    case!("partial, odd",        F16,  [1, 12, 3, 75, 13],    INTERLEAVED),
    case!("one pair",            F32,  [3, 2, 1, 2, 1],       &[]),
    case!("no tokens",           F16,  [1, 0, 4, 64, 32],     &[]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, q, decoding",     F16,  [1, 1, 4, 256, 128],     GLOBAL),
    case!("Gemma 3 270M, q, 512 tokens",   F16,  [1, 512, 4, 256, 128],   GLOBAL),
    case!("Llama 3 8B, q, 512 tokens",     BF16, [1, 512, 32, 128, 64],   &[("base", "500000")]),
    case!("GPT-J 6B, 512 tokens, partial", F16,  [1, 512, 16, 256, 32],   INTERLEAVED),
];
