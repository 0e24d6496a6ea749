//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[b, s, dim, width]`, options, other inputs with their types.
macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s:literal, $dim:literal, $width:literal], $options:expr, $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[
                ("b", $b),
                ("s", $s),
                ("s_q", $s),
                ("dim", $dim),
                ("width", $width),
                ("width - 1", $width - 1),
                ("total", 100),
            ],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

const SILU: &[(&str, &str)] = &[("silu", "true")];
const UPDATE: &[(&str, &str)] = &[("silu", "true"), ("update", "true")];

#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("alone",              F32,  [2, 50, 40, 4],   &[],    &[]),
    case!("width 2",            F16,  [1, 33, 64, 2],   SILU,   &[("bias", "f16")]),
    case!("width 3",            BF16, [3, 70, 16, 3],   SILU,   &[("bias", "f32"), ("weight", "f32")]),
    case!("state",              F16,  [2, 40, 48, 4],   SILU,   &[("bias", "f16"), ("initial_state", "f16")]),
    case!("update",             BF16, [5, 1, 72, 4],    UPDATE, &[("bias", "bf16"), ("initial_state", "bf16")]),
    case!("update of a few",    F32,  [3, 7, 24, 3],    UPDATE, &[("initial_state", "f32")]),
    case!("sequences",          F16,  [4, 60, 80, 4],   SILU,   &[("bias", "f16"), ("initial_state", "f16"), ("cu_seqlens", "0 60 60 62 100")]),
    case!("odd channels",       BF16, [2, 21, 37, 4],   SILU,   &[("bias", "bf16"), ("initial_state", "bf16")]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba 130M, 2048 tokens",    BF16, [1, 2048, 1536, 4],   SILU,   &[("bias", "bf16")]),
    case!("Mamba 2.8B, 1024 tokens",    BF16, [1, 1024, 5120, 4],   SILU,   &[("bias", "bf16")]),
    case!("Mamba 2.8B, step of 64",     BF16, [64, 1, 5120, 4],     UPDATE, &[("bias", "bf16"), ("initial_state", "bf16")]),
];
