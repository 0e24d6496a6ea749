//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident, $codes:literal, $group:literal, [$m:literal, $n:literal, $k:literal] $(, $option:literal = $value:literal)*) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("m", $m), ("n", $n), ("k", $k)],
            options: &[("codes", $codes), ("group", stringify!($group)), ("n", stringify!($n)) $(, ($option, $value))*],
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every kind of codes, every kernel, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("one row",      F16,  "int4", 128, [1, 67, 640]),
    case!("one row",      BF16, "int4", 32,  [1, 67, 96]),
    case!("eight rows",   F16,  "int8", 64,  [8, 40, 512]),
    case!("three rows",   BF16, "int8", 320, [3, 40, 320]),
    case!("12 rows",      F16,  "int4", 128, [12, 130, 1024]),
    case!("twenty rows",  BF16, "int4", 64,  [20, 130, 512]),
    case!("40 rows",      F16,  "int8", 128, [40, 130, 256]),
    case!("130 rows",     BF16, "int4", 32,  [130, 130, 160]),
    case!("one row",      F16,  "nf4",  64,  [1, 40, 320]),
    case!("30 rows",      BF16, "nf4",  64,  [30, 40, 320]),
    case!("no rows",      F16,  "int4", 32,  [0, 30, 64]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Llama 3 8B, attention output",          F16,  "int4", 128, [1, 4096, 4096]),
    case!("Llama 3 8B, attention output, groups of 32", BF16, "int4", 32, [1, 4096, 4096]),
    case!("Llama 3 8B, attention output, 8 bits",  F16,  "int8", 128, [1, 4096, 4096]),
    case!("Llama 3 8B, attention output, NF4",     BF16, "nf4",  64,  [1, 4096, 4096]),
    case!("Llama 3 8B, keys, 8 rows",              F16,  "int4", 128, [8, 1024, 4096]),
    case!("Llama 3 8B, keys, 16 rows",             F16,  "int4", 128, [16, 1024, 4096]),
    case!("Llama 3 8B, keys, 64 rows",             F16,  "int4", 128, [64, 1024, 4096]),
    case!("Llama 3 8B, keys, 256 rows",            BF16, "int4", 128, [256, 1024, 4096]),
];
