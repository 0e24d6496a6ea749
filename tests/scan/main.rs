//! The scans on the device that LLM_KERNELS_DEVICE names.

mod causal_conv1d;
mod causal_conv1d_backward;
mod linear_recurrence;
mod selective_scan;
mod selective_scan_backward;
mod selective_step;
mod support;

use llm_kernels::Queue;
use llm_kernels::verify;

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}
