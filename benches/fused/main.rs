//! Wall time of the fused operators on the device that LLM_KERNELS_DEVICE names. On the software device it is the time that
//! this machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for counters.

mod embedding;
mod gated;
mod gated_backward;
mod rms_norm;
mod rms_norm_backward;
mod rope;
mod sample;

#[path = "../support/mod.rs"]
mod support;

use support::bench;

criterion::criterion_group!(
    benches,
    rms_norm::bench,
    rms_norm_backward::bench,
    rope::bench,
    gated::bench,
    gated_backward::bench,
    embedding::bench,
    sample::bench
);
criterion::criterion_main!(benches);
