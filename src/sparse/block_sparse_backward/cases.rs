//! The cases that `check` and `bench` go through: those of the forward pass that have gradients.

use crate::sparse::block_sparse::cases::{BENCH_CASES as FORWARD_BENCH_CASES, CHECK_CASES as FORWARD_CHECK_CASES};
use crate::verify::Case;

/// The first 8 cases and the last 7, without those whose keys are wider than values.
pub(super) const CHECK_CASES: &[Case] = &[
    FORWARD_CHECK_CASES[0],
    FORWARD_CHECK_CASES[1],
    FORWARD_CHECK_CASES[2],
    FORWARD_CHECK_CASES[3],
    FORWARD_CHECK_CASES[4],
    FORWARD_CHECK_CASES[5],
    FORWARD_CHECK_CASES[6],
    FORWARD_CHECK_CASES[7],
    FORWARD_CHECK_CASES[8],
    FORWARD_CHECK_CASES[11],
    FORWARD_CHECK_CASES[12],
    FORWARD_CHECK_CASES[13],
    FORWARD_CHECK_CASES[14],
    FORWARD_CHECK_CASES[15],
    FORWARD_CHECK_CASES[16],
    FORWARD_CHECK_CASES[17],
];

/// Without the one of 8192 tokens: it takes the software device minutes.
pub(super) const BENCH_CASES: &[Case] = &[
    FORWARD_BENCH_CASES[0],
    FORWARD_BENCH_CASES[1],
    FORWARD_BENCH_CASES[3],
    FORWARD_BENCH_CASES[4],
    Case { gpu_only: true, ..FORWARD_BENCH_CASES[2] },
];
