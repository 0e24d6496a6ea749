//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

macro_rules! case {
    ($name:literal, $dtype:ident, $to:literal, $group:literal, $zeros:literal, [$n:literal, $k:literal] $(, $extra:literal)?) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("n", $n), ("k", $k)],
            options: &[("to", $to), ("group", stringify!($group)), ("zeros", $zeros) $(, ($extra, "true"))?],
            extras: &[],
            gpu_only: false,
        }
    };
}

/// Every target, and uneven sizes.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("uneven",  F32,  "int4", 32,  "false", [40, 96]),
    case!("uneven",  F16,  "int4", 64,  "true",  [37, 192]),
    case!("a group", BF16, "int8", 320, "false", [24, 320]),
    case!("uneven",  F32,  "int8", 128, "true",  [24, 384]),
    case!("uneven",  BF16, "nf4",  64,  "false", [37, 192]),
    case!("uneven",  F32,  "i8",   32,  "false", [7, 1032]),
    case!("uneven",  F16,  "e4m3", 32,  "false", [7, 72]),
    case!("checkpoint", BF16, "nf4_blocks", 64, "false", [37, 192]),
    case!("checkpoint", F16,  "nf4_blocks", 64, "false", [37, 768], "nested"),
    case!("no rows", F16,  "nf4",  64,  "false", [0, 64]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Llama 3 8B, keys, 4 bits",      BF16, "int4", 128, "true",  [1024, 4096]),
    case!("Llama 3 8B, keys, NF4",         BF16, "nf4",  64,  "false", [1024, 4096]),
    case!("Llama 3 8B, keys, NF4 checkpoint", BF16, "nf4_blocks", 64, "false", [1024, 4096], "nested"),
    case!("Llama 3 8B, 512 tokens, int8",  BF16, "i8",   32,  "false", [512, 4096]),
    case!("Llama 3 8B, 512 tokens, e4m3",  BF16, "e4m3", 32,  "false", [512, 4096]),
];
