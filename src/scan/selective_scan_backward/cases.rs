//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[b, s, dim, d_state, groups]`, options, other inputs with their types.
macro_rules! case {
    (
        $name:literal, $dtype:ident, [$b:literal, $s:literal, $dim:literal, $n:literal, $groups:literal],
        $options:expr, $extras:expr
    ) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[
                ("b", $b),
                ("s", $s),
                ("s_q", $s),
                ("dim", $dim),
                ("d_state", $n),
                ("groups", $groups),
                ("total", 100),
            ],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

type Set = &'static [(&'static str, &'static str)];
const SOFTPLUS: Set = &[("softplus", "true")];

#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("alone",          F32,  [1, 70, 40, 16, 1],   &[],        &[]),
    case!("Mamba",          BF16, [2, 65, 64, 16, 1],   SOFTPLUS,   &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
    case!("groups",         F16,  [1, 40, 96, 16, 3],   SOFTPLUS,   &[("D", "f32"), ("z", "f16"), ("delta_bias", "f32")]),
    case!("states",         F16,  [3, 33, 36, 12, 1],   SOFTPLUS,   &[("z", "f16"), ("initial_state", "f32"), ("d_final_state", "f32")]),
    case!("64 states",      F32,  [1, 45, 72, 64, 2],   SOFTPLUS,   &[("D", "f32")]),
    case!("128 states",     BF16, [1, 37, 20, 128, 1],  SOFTPLUS,   &[("z", "bf16")]),
    case!("256 states",     F16,  [1, 41, 20, 256, 1],  SOFTPLUS,   &[("D", "f32"), ("z", "f16"), ("d_final_state", "f32")]),
    case!("sequences",      F16,  [4, 60, 48, 16, 1],   SOFTPLUS,   &[("D", "f32"), ("z", "f16"), ("delta_bias", "f32"), ("initial_state", "f32"), ("cu_seqlens", "0 60 60 62 100")]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba 130M, 256 tokens",     BF16, [1, 256, 1536, 16, 1],    SOFTPLUS,   &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
    case!("Mamba 2.8B, 128 tokens",     BF16, [1, 128, 5120, 16, 1],    SOFTPLUS,   &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
];
