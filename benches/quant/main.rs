//! Wall time of products with quantised weights on the device that LLM_KERNELS_DEVICE names. On the software device it is
//! the time that this machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for
//! counters.

mod gguf;
mod gguf_rows;
mod quantize;
mod repack;
mod weight_only;

#[path = "../support/mod.rs"]
mod support;

use support::bench;

criterion::criterion_group!(benches, gguf::bench, gguf_rows::bench, quantize::bench, repack::bench, weight_only::bench);
criterion::criterion_main!(benches);
