//! Wall time of attention on the device that LLM_KERNELS_DEVICE names. On the software device it is the time that
//! this machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for counters.

mod append_kv;
mod decode;
mod flash_backward;
mod flash_forward;
mod merge;

#[path = "../support/mod.rs"]
mod support;

use support::bench;

criterion::criterion_group!(
    benches,
    append_kv::bench,
    decode::bench,
    flash_forward::bench,
    flash_backward::bench,
    merge::bench
);
criterion::criterion_main!(benches);
