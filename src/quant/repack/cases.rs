//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident, $source:literal, $codes:literal, $group:literal, [$n:literal, $k:literal]) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("n", $n), ("k", $k)],
            options: &[
                ("source", $source),
                ("codes", $codes),
                ("group", stringify!($group)),
                ("n", stringify!($n)),
                ("k", stringify!($k)),
            ],
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every source and kind of codes, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("uneven",  F16,  "gptq",    "int4", 32,  [40, 96]),
    case!("a group", BF16, "gptq",    "int8", 320, [24, 320]),
    case!("uneven",  F16,  "gptq_v2", "int4", 64,  [136, 192]),
    case!("uneven",  F16,  "awq",     "int4", 128, [72, 384]),
    case!("uneven",  BF16, "nf4",     "nf4",  64,  [37, 192]),
    case!("no rows", F16,  "nf4",     "nf4",  64,  [0, 64]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Llama 3 8B, keys, GPTQ", F16,  "gptq", "int4", 128, [1024, 4096]),
    case!("Llama 3 8B, keys, AWQ",  F16,  "awq",  "int4", 128, [1024, 4096]),
    case!("Llama 3 8B, keys, NF4",  BF16, "nf4",  "nf4",  64,  [1024, 4096]),
];
