//! The fused operators on the device that LLM_KERNELS_DEVICE names.

mod embedding;
mod gated;
mod gated_backward;
mod rms_norm;
mod rms_norm_backward;
mod rope;
mod sample;

#[path = "../support/mod.rs"]
mod support;

use support::{
    FLOATS, Tensor, alone, assert_checks, assert_embedded, assert_within, cases, download, get, is_modelled_a100,
    poisoned, queue, shared,
};

use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Counters, DeviceTensor, HostTensor, compare, random};
use llm_kernels::{DType, Layout, Limits, Operand, Resources, Result};

use DType::{BF16, F16, F32};

#[track_caller]
fn assert_close(got: &HostTensor, exact: &[f64], plain: &[f64], what: &dyn std::fmt::Debug) {
    assert_within(got, exact, plain, Tolerance::values(got.dtype), what);
}

/// Counters of `work`, which is launched alone; `None` on a GPU.
fn count(work: impl FnOnce() -> Result<()>) -> Option<Counters> {
    let _alone = alone();
    support::count(work)
}

/// What all operators of this family owe: every sector that is moved is used whole, bytes are those that the plan says,
/// at most 1.02 of those needed, and shared memory has no conflicts.
#[track_caller]
fn assert_thrifty(counters: &Counters, resources: &Resources, what: &dyn std::fmt::Debug) {
    let (moved, requested) = (get(counters, "global_bytes"), get(counters, "global_requested_bytes"));
    // More is requested than moved where lanes of a warp want the same.
    assert!(moved <= requested, "{what:?}: {moved} bytes moved, {requested} requested: sectors are not used whole");
    assert_eq!(Some(moved), resources.bytes_moved, "{what:?}: bytes moved are not those of the plan");
    let needed = resources.bytes_needed.unwrap();
    assert!(moved <= 1.02 * needed, "{what:?}: {moved} bytes moved, {needed} needed");
    let (taken, ideal) = (get(counters, "shared_wavefronts"), get(counters, "shared_ideal_wavefronts"));
    assert!(taken <= 1.01 * ideal, "{what:?}: {taken} wavefronts for {ideal}");
}

/// Thread instructions an element stay below a ceiling.
#[track_caller]
fn assert_instructions(counters: &Counters, elements: usize, ceiling: f64, what: &dyn std::fmt::Debug) {
    let each = get(counters, "thread_inst_executed") / elements as f64;
    eprintln!("{what:?}: {each:.2} thread instructions an element");
    assert!(each <= ceiling, "{what:?}: {each:.2} thread instructions an element, ceiling {ceiling}");
}
