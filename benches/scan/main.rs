//! Wall time of the scans on the device that LLM_KERNELS_DEVICE names. On the software device it is the time that this
//! machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for counters.

mod causal_conv1d;
mod causal_conv1d_backward;
mod linear_recurrence;
mod linear_recurrence_backward;
mod recurrent_step;
mod selective_scan;
mod selective_scan_backward;
mod selective_step;

#[path = "../support/mod.rs"]
mod support;

use support::bench;

criterion::criterion_group!(
    benches,
    causal_conv1d::bench,
    causal_conv1d_backward::bench,
    linear_recurrence::bench,
    linear_recurrence_backward::bench,
    recurrent_step::bench,
    selective_scan::bench,
    selective_scan_backward::bench,
    selective_step::bench
);
criterion::criterion_main!(benches);
