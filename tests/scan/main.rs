//! The scans on the device that LLM_KERNELS_DEVICE names.

mod linear_recurrence;

use llm_kernels::Queue;
use llm_kernels::verify;

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}
