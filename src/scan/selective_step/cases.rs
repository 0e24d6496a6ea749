//! The cases that `check` and `bench` go through.

use crate::DType;
use crate::verify::Case;

/// Name, type, `[b, dim, d_state, groups]`, other inputs with their types.
macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $dim:literal, $n:literal, $groups:literal], $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s_q", 1), ("dim", $dim), ("d_state", $n), ("groups", $groups)],
            options: &[("softplus", "true")],
            extras: $extras,
            gpu_only: false,
        }
    };
}

#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("alone",          F32,  [1, 40, 16, 1],   &[]),
    case!("Mamba",          BF16, [3, 64, 16, 1],   &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
    case!("groups",         F16,  [2, 96, 12, 3],   &[("D", "f32"), ("z", "f16"), ("delta_bias", "f32")]),
    case!("64 states",      F32,  [5, 72, 64, 2],   &[("D", "f32")]),
    case!("256 states",     BF16, [2, 56, 256, 1],  &[("z", "bf16")]),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Mamba 130M, batch of 64",    BF16, [64, 1536, 16, 1],    &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
    case!("Mamba 2.8B, batch of 16",    BF16, [16, 5120, 16, 1],    &[("D", "f32"), ("z", "bf16"), ("delta_bias", "f32")]),
];
